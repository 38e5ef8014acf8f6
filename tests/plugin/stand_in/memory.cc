/* Device and pinned memory, and copies. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include <memory>

enum { PAGES_FILLED = 8 << 20 };

static bool lies_in(const std::map<char *, size_t> &map, const void *pointer, size_t bytes)
{
    char *p = (char *)pointer;
    auto after = map.upper_bound(p);
    if (after == map.begin())
        return false;
    const auto &block = *std::prev(after);
    return p >= block.first && p + bytes <= block.first + block.second;
}

extern "C" bool stand_in_is_device(const void *pointer, size_t bytes)
{
    LOCKED;
    return lies_in(blocks, pointer, bytes);
}

static void need_device(const char *what, const void *pointer, size_t bytes)
{
    if (!lies_in(blocks, pointer, bytes))
        stand_in_broken("%s: %p, %zu bytes, is not in one allocation of the device", what, pointer, bytes);
}

extern "C" cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    LOCKED;
    (void)stand_in_device("cudaMalloc");
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    counts.allocations++;
    char *start = take_room(bytes);
    if (!start)
        return answer(cudaErrorMemoryAllocation);
    memset(start, 0xff, bytes < (size_t)PAGES_FILLED ? bytes : (size_t)PAGES_FILLED); /* NaN: cudaMalloc promises nothing */
    blocks[start] = bytes;
    *pointer = start;
    return cudaSuccess;
}

/* Waits for all work, as the real one does. Freed memory is not used again. */
extern "C" cudaError_t cudaFree(void *pointer)
{
    LOCKED;
    counts.other_waits += pointer != nullptr;
    if (!pointer)
        return cudaSuccess;
    (void)stand_in_device("cudaFree");
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    auto block = blocks.find((char *)pointer);
    if (block == blocks.end())
        stand_in_broken("cudaFree of %p, which was not allocated, or is free", pointer);
    run_everything();
    let_go(block->first, block->second);
    blocks.erase(block);
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    LOCKED;
    (void)stand_in_device("cudaHostAlloc"), (void)flags;
    counts.allocations++;
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    if (posix_memalign(pointer, 4096, bytes) != 0)
        return answer(cudaErrorMemoryAllocation);
    memset(*pointer, 0xff, bytes);
    pinned[(char *)*pointer] = bytes;
    return cudaSuccess;
}

extern "C" cudaError_t cudaFreeHost(void *pointer)
{
    LOCKED;
    (void)stand_in_device("cudaFreeHost");
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    if (pointer && !pinned.erase((char *)pointer))
        stand_in_broken("cudaFreeHost of %p, which was not allocated", pointer);
    run_everything();
    free(pointer);
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    LOCKED;
    (void)stand_in_device("cudaMemGetInfo");
    *total = (size_t)8 << 30;
    *available = *total;
    for (const auto &block : blocks)
        *available -= block.second;
    return cudaSuccess;
}

static void copy_bytes(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes); /* the sanitizer looks at both ends */
}

/* Pageable memory: the source is read before the call returns, the destination is written before it returns. Neither in a
 * capture, where backend.h leaves copies from and to the host out altogether. */
extern "C" cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    LOCKED;
    cudaStream_t s = real_stream("cudaMemcpyAsync", stream);
    bool up = kind == cudaMemcpyHostToDevice, down = kind == cudaMemcpyDeviceToHost;
    counts.copies++;
    counts.pageable += (up && !lies_in(pinned, from, bytes)) || (down && !lies_in(pinned, to, bytes));
    if (!up && !down && kind != cudaMemcpyDeviceToDevice)
        stand_in_broken("cudaMemcpyAsync of kind %d", (int)kind);
    if (!up)
        need_device("cudaMemcpyAsync, source", from, bytes);
    if (!down)
        need_device("cudaMemcpyAsync, destination", to, bytes);
    if ((up || down) && s->capture) {
        s->spoilt = true;
        return answer(cudaErrorStreamCaptureUnsupported);
    }
    if (up && !lies_in(pinned, from, bytes)) {
        auto staged = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
        return answer(put(s, {RUN, "upload", [=] { copy_bytes(to, staged->data(), bytes); }, COPY_US, nullptr, 0}));
    }
    cudaError_t error = put(s, {RUN, "copy", [=] { copy_bytes(to, from, bytes); }, COPY_US, nullptr, 0});
    if (error == cudaSuccess && down && !lies_in(pinned, to, bytes)) {
        counts.other_waits++;
        run_all(s);
    }
    return answer(error);
}

extern "C" cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                                         enum cudaMemcpyKind kind, cudaStream_t stream)
{
    LOCKED;
    cudaStream_t s = real_stream("cudaMemcpy2DAsync", stream);
    if (kind != cudaMemcpyDeviceToDevice)
        stand_in_broken("cudaMemcpy2DAsync of kind %d", (int)kind);
    if (width > to_pitch || width > from_pitch)
        return answer(cudaErrorInvalidPitchValue);
    counts.copies++;
    need_device("cudaMemcpy2DAsync, source", from, (height - 1) * from_pitch + width);
    need_device("cudaMemcpy2DAsync, destination", to, (height - 1) * to_pitch + width);
    return answer(put(s, {RUN, "rows",
                          [=] {
                              for (size_t r = 0; r < height; r++)
                                  copy_bytes((char *)to + r * to_pitch, (const char *)from + r * from_pitch, width);
                          },
                          COPY_US, nullptr, 0}));
}

extern "C" cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    LOCKED;
    need_device("cudaMemsetAsync", to, bytes);
    counts.copies++;
    return answer(put(real_stream("cudaMemsetAsync", stream), {RUN, "memset", [=] { memset(to, value, bytes); }, COPY_US, nullptr, 0}));
}
