/* Memory, streams and events. The streams do not synchronise with the default stream, which nothing here uses. alloc
 * and release belong to one thread; copies and events may come from any. */
#include "backend/cuda/cuda.h"

#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>

struct event {
    cudaEvent_t event;
};

/* Device memory handed out: for the count, and for what is still out at the end. */
struct cuda_block {
    struct cuda_block *next;
    void *pointer;
    size_t bytes;
};

static struct cuda_backend *of(struct backend *be)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    cuda_bind(cuda);
    return cuda;
}

static vt_status out_of_memory(const struct cuda_backend *cuda, const char *what, size_t bytes)
{
    size_t available = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&available, &total);
    return VT_FAIL(VT_E_MEMORY, "cuda: no memory for %s: %zu bytes on top of %zu; %zu of the GPU's %zu are free", what,
                   bytes, cuda->base.allocated_bytes, available, total);
}

static vt_status alloc_device(struct cuda_backend *cuda, size_t bytes, const char *what, void **pointer)
{
    struct cuda_block *block = calloc(1, sizeof *block);
    if (!block)
        return VT_FAIL(VT_E_MEMORY, "cuda: no host memory for the record of %s", what);
    cudaError_t error = cudaMalloc(&block->pointer, bytes);
    if (error != cudaSuccess) {
        free(block);
        return error == cudaErrorMemoryAllocation ? out_of_memory(cuda, what, bytes) : cuda_fail((int)error, what);
    }
    block->bytes = bytes;
    block->next = cuda->blocks;
    cuda->blocks = block;
    cuda->base.allocated_bytes += bytes;
    CUDA_TRY(cudaMemsetAsync(block->pointer, 0, bytes, cuda_stream(cuda)));
    CUDA_TRY(cudaStreamSynchronize(cuda_stream(cuda)));
    *pointer = block->pointer;
    return VT_OK;
}

static vt_status alloc_host(size_t bytes, const char *what, void **pointer)
{
    cudaError_t error = cudaHostAlloc(pointer, bytes, cudaHostAllocPortable);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return VT_FAIL(VT_E_MEMORY, "cuda: no pinned host memory for %s: %zu bytes (ulimit -l, or the machine is full)",
                       what, bytes);
    }
    if (error != cudaSuccess)
        return cuda_fail((int)error, what);
    memset(*pointer, 0, bytes);
    return VT_OK;
}

static vt_status memory_alloc(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer)
{
    struct cuda_backend *cuda = of(be);
    bytes = bytes ? bytes : 1;
    return kind == MEMORY_DEVICE ? alloc_device(cuda, bytes, what, pointer) : alloc_host(bytes, what, pointer);
}

static void memory_release(struct backend *be, enum memory_kind kind, void *pointer)
{
    struct cuda_backend *cuda = of(be);
    if (!pointer)
        return;
    if (kind == MEMORY_HOST) {
        cuda_note(cuda, (int)cudaFreeHost(pointer), "cudaFreeHost");
        return;
    }
    struct cuda_block **link = &cuda->blocks;
    while (*link && (*link)->pointer != pointer)
        link = &(*link)->next;
    struct cuda_block *block = *link;
    VT_CHECKF(block != NULL, "released memory that was not allocated here");
    *link = block->next;
    cuda->base.allocated_bytes -= block->bytes;
    cuda_note(cuda, (int)cudaFree(pointer), "cudaFree");
    free(block);
}

static vt_status reserve_workspace(struct backend *be)
{
    struct cuda_backend *cuda = of(be);
    if (cuda->workspace && cuda->workspace_reserved >= be->workspace_bytes)
        return VT_OK;
    size_t bytes = be->workspace_bytes ? be->workspace_bytes : 1;
    if (cuda->graphs)
        return VT_FAIL(VT_E_UNSUPPORTED, "cuda: a workspace of %zu bytes instead of %zu while %d graphs use it", bytes,
                       cuda->workspace_reserved, cuda->graphs);
    (void)cudaFree(cuda->workspace);
    cuda->workspace = NULL;
    cuda->workspace_reserved = 0;
    cudaError_t error = cudaMalloc(&cuda->workspace, bytes); /* 256-byte aligned */
    if (error == cudaErrorMemoryAllocation)
        return out_of_memory(cuda, "the workspace of the ops", bytes);
    if (error != cudaSuccess)
        return cuda_fail((int)error, "the workspace of the ops");
    cuda->workspace_reserved = bytes;
    return VT_OK;
}

static void copy(struct backend *be, enum stream stream, void *to, const void *from, size_t bytes, const char *what,
                 enum cudaMemcpyKind kind)
{
    struct cuda_backend *cuda = of(be);
    if (bytes)
        cuda_note(cuda, (int)cudaMemcpyAsync(to, from, bytes, kind, cuda->streams[stream]), what);
}

static void upload(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes)
{
    copy(be, stream, device, host, bytes, "upload", cudaMemcpyHostToDevice);
}

static void download(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes)
{
    copy(be, stream, host, device, bytes, "download", cudaMemcpyDeviceToHost);
}

static void copy_within(struct backend *be, enum stream stream, void *to, const void *from, size_t bytes)
{
    copy(be, stream, to, from, bytes, "copy", cudaMemcpyDeviceToDevice);
}

static void zero(struct backend *be, enum stream stream, void *device, size_t bytes)
{
    struct cuda_backend *cuda = of(be);
    if (bytes)
        cuda_note(cuda, (int)cudaMemsetAsync(device, 0, bytes, cuda->streams[stream]), "zero");
}

void cuda_copy_rows(struct cuda_backend *cuda, void *to, size_t to_stride, const void *from, size_t from_stride,
                    size_t row_bytes, int64_t rows)
{
    cuda_note(cuda,
              (int)cudaMemcpy2DAsync(to, to_stride, from, from_stride, row_bytes, (size_t)rows, cudaMemcpyDeviceToDevice,
                                     cuda_stream(cuda)),
              "cudaMemcpy2DAsync");
}

/* Waiting sleeps instead of spinning: the loader's threads need the core. */
static struct event *event_new(struct backend *be)
{
    struct cuda_backend *cuda = of(be);
    struct event *event = calloc(1, sizeof *event);
    VT_CHECK(event != NULL);
    cuda_note(cuda, (int)cudaEventCreateWithFlags(&event->event, cudaEventBlockingSync), "cudaEventCreate");
    return event;
}

static void event_free(struct backend *be, struct event *event)
{
    struct cuda_backend *cuda = of(be);
    if (event && event->event)
        cuda_note(cuda, (int)cudaEventDestroy(event->event), "cudaEventDestroy");
    free(event);
}

static void event_record(struct backend *be, enum stream stream, struct event *event)
{
    struct cuda_backend *cuda = of(be);
    cuda_note(cuda, (int)cudaEventRecord(event->event, cuda->streams[stream]), "cudaEventRecord");
}

static void stream_wait(struct backend *be, enum stream stream, struct event *event)
{
    struct cuda_backend *cuda = of(be);
    cuda_note(cuda, (int)cudaStreamWaitEvent(cuda->streams[stream], event->event, 0), "cudaStreamWaitEvent");
}

/* What is free, and what is ours already: nothing of that is counted twice in a plan of all that will be ours. */
static size_t memory_available(struct backend *be)
{
    struct cuda_backend *cuda = of(be);
    size_t available = 0, total = 0;
    if (cudaMemGetInfo(&available, &total) != cudaSuccess) {
        (void)cudaGetLastError(); /* a device that has failed says so at the next wait */
        return be->memory_bytes;
    }
    return available + be->allocated_bytes + cuda->workspace_reserved;
}

/* An error of the device comes up at whatever waits next; one of an enqueue was noted under its name. */
static vt_status report(struct cuda_backend *cuda, cudaError_t error)
{
    cuda_note(cuda, (int)error, "on the device, in work enqueued before");
    int first = __atomic_load_n(&cuda->error, __ATOMIC_ACQUIRE);
    if (first == cudaSuccess)
        return VT_OK;
    const char *what = __atomic_load_n(&cuda->error_what, __ATOMIC_ACQUIRE);
    return cuda_fail(first, what ? what : "an enqueue");
}

static vt_status event_wait(struct backend *be, struct event *event)
{
    struct cuda_backend *cuda = of(be);
    return report(cuda, cudaEventSynchronize(event->event));
}

/* A device error counts as passed: whoever waits next reports it. */
static bool event_passed(struct backend *be, struct event *event)
{
    (void)of(be);
    bool passed = cudaEventQuery(event->event) != cudaErrorNotReady;
    if (!passed)
        (void)cudaGetLastError();
    return passed;
}

static vt_status event_elapsed(struct backend *be, struct event *from, struct event *to, double *ms)
{
    float elapsed = 0;
    (void)of(be);
    CUDA_TRY(cudaEventElapsedTime(&elapsed, from->event, to->event));
    *ms = (double)elapsed;
    return VT_OK;
}

static vt_status synchronise(struct backend *be)
{
    struct cuda_backend *cuda = of(be);
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < STREAM_COUNT && error == cudaSuccess; i++)
        error = cudaStreamSynchronize(cuda->streams[i]);
    return report(cuda, error);
}

void cuda_memory_close(struct cuda_backend *cuda)
{
    while (cuda->blocks) {
        struct cuda_block *block = cuda->blocks;
        cuda->blocks = block->next;
        (void)cudaFree(block->pointer);
        free(block);
    }
    (void)cudaFree(cuda->workspace);
}

void cuda_memory_install(struct backend *be)
{
    be->alloc = memory_alloc;
    be->release = memory_release;
    be->reserve_workspace = reserve_workspace;
    be->memory_available = memory_available;
    be->upload = upload;
    be->download = download;
    be->copy = copy_within;
    be->zero = zero;
    be->event_new = event_new;
    be->event_free = event_free;
    be->event_record = event_record;
    be->stream_wait = stream_wait;
    be->event_wait = event_wait;
    be->event_passed = event_passed;
    be->event_elapsed = event_elapsed;
    be->synchronise = synchronise;
}
