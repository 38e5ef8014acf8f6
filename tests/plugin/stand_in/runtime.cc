#include "runtime.h"

#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <vector>

namespace simt
{
typedef void deferrer(void *stream, const char *name, const std::function<void()> &grid);
void set_deferrer(deferrer *deferrer);
} // namespace simt

enum { DEVICES = 2, GAP = 4096, ALIGN = 256, PAGES_FILLED = 8 << 20 };
static const size_t ARENA = (size_t)16 << 30;
static const double LAUNCH_US = 2, COPY_US = 5;

/* ---- what is in a stream ---- */
enum kind { RUN, RECORD, WAIT };
struct work {
    enum kind kind;
    const char *what;
    std::function<void()> run;
    double us;
    cudaEvent_t event;
    long generation;
};
struct CUstream_st {
    int device;
    std::deque<work> queue;
    bool running; /* its front is being looked at: a circle of waits */
    cudaGraph_t capture;
    pthread_t captor;
    bool spoilt; /* the capture */
};
struct CUevent_st {
    int device;
    unsigned flags;
    long recorded, passed; /* generations */
    double us;             /* of the last that passed */
};
struct CUgraph_st {
    std::vector<work> nodes;
};
struct CUgraphExec_st {
    int device;
    std::vector<work> nodes;
    int in_flight;
};

/* ---- who may touch what ---- */
static std::recursive_mutex mutex; /* over all that follows */
static char *arena, *arena_end;
static int depth; /* of calls of the mutex's holder */
static bool is_open;

static void protect(bool closed)
{
    if (closed == is_open && mprotect(arena, ARENA, closed ? PROT_NONE : PROT_READ | PROT_WRITE) != 0)
        stand_in_broken("mprotect failed");
    is_open = !closed;
}

/* Device memory is open from the first work that runs in a call to the call's end. */
struct locked {
    locked()
    {
        mutex.lock();
        depth++;
    }
    ~locked()
    {
        if (--depth == 0)
            protect(true);
        mutex.unlock();
    }
};
#define LOCKED locked lock

static std::set<cudaStream_t> streams;
static std::map<char *, size_t> blocks, pinned; /* by their starts */
static double now_us;
static std::mt19937 dice(7);
static struct {
    long kernels, products, copies, graphs; /* given to streams by the host */
    long event_waits, other_waits;          /* of the host: for an event; for a stream, the device, or a pageable copy down */
    long pageable, allocations;
} counts;
static thread_local int current = -1;
static thread_local cudaError_t last_error;
static thread_local std::set<cudaStream_t> capturing; /* by this thread */

extern "C" void stand_in_broken(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "stand-in GPU: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

static struct teller {
    ~teller()
    {
        if (getenv("VT_STAND_IN_COUNT"))
            fprintf(stderr,
                    "stand-in: kernels %ld products %ld copies %ld graphs %ld event-waits %ld other-waits %ld pageable %ld "
                    "allocations %ld\n",
                    counts.kernels, counts.products, counts.copies, counts.graphs, counts.event_waits, counts.other_waits,
                    counts.pageable, counts.allocations);
    }
} teller; /* at the end of the program */

static cudaError_t answer(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last_error = error;
    return error;
}

extern "C" int stand_in_device(const char *function)
{
    if (current < 0)
        stand_in_broken("%s on a thread that never set its device", function);
    return current;
}

/* Every thread says which device it means: the first one would be taken instead. */
static void same_device(const char *function, int device)
{
    if (stand_in_device(function) != device)
        stand_in_broken("%s: the thread's device is %d, the object's %d", function, current, device);
}

static cudaStream_t real_stream(const char *function, cudaStream_t stream)
{
    if (!stream || !streams.count(stream))
        stand_in_broken("%s on the default stream, or one that was destroyed", function);
    same_device(function, stream->device);
    return stream;
}

/* What CUDA calls potentially unsafe: not for a thread that captures. */
static bool unsafe(const char *function)
{
    (void)function;
    for (cudaStream_t stream : capturing)
        stream->spoilt = true;
    return !capturing.empty();
}


/* ---- running ---- */
static void run_nodes(const std::vector<work> &nodes)
{
    for (const work &node : nodes) {
        node.run();
        now_us += node.us;
    }
}

/* The front of a stream; false when it waits for another. */
static bool take_one(cudaStream_t stream)
{
    work &front = stream->queue.front();
    if (front.kind == WAIT && front.event->passed < front.generation)
        return false;
    work one = std::move(front);
    stream->queue.pop_front();
    if (one.kind == RECORD) {
        one.event->passed = one.generation;
        one.event->us = now_us;
    } else if (one.kind == RUN) {
        protect(false);
        one.run();
        now_us += one.us;
    }
    return true;
}

static bool has(cudaStream_t stream, cudaEvent_t event, long generation)
{
    for (const work &w : stream->queue)
        if (w.kind == RECORD && w.event == event && w.generation >= generation)
            return true;
    return false;
}

static void run_to(cudaEvent_t event, long generation);

static void run_one(cudaStream_t stream)
{
    if (stream->running)
        stand_in_broken("streams that wait for each other");
    stream->running = true;
    if (!take_one(stream)) {
        run_to(stream->queue.front().event, stream->queue.front().generation);
        (void)take_one(stream);
    }
    stream->running = false;
}

static void run_to(cudaEvent_t event, long generation)
{
    while (event->passed < generation) {
        cudaStream_t holder = nullptr;
        for (cudaStream_t stream : streams)
            if (has(stream, event, generation))
                holder = stream;
        if (!holder)
            stand_in_broken("a wait for an event that nothing will record");
        run_one(holder);
    }
}

static void run_all(cudaStream_t stream)
{
    while (!stream->queue.empty())
        run_one(stream);
}

static void run_everything()
{
    for (cudaStream_t stream : streams)
        run_all(stream);
}

/* As much as the order wants at once. */
static void let_run()
{
    static const char *order = getenv("VT_STAND_IN_ORDER");
    if (!order || strcmp(order, "lazy") == 0)
        return;
    bool eager = strcmp(order, "eager") == 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (cudaStream_t stream : streams)
            if (!stream->queue.empty() && (eager || dice() % 3 == 0))
                moved |= take_one(stream);
    }
}

static cudaError_t put(cudaStream_t stream, work one)
{
    if (!stream->capture) {
        stream->queue.push_back(std::move(one));
        let_run();
        return cudaSuccess;
    }
    if (!pthread_equal(stream->captor, pthread_self()))
        stand_in_broken("%s on a stream that another thread captures", one.what);
    if (stream->spoilt)
        return cudaErrorStreamCaptureInvalidated;
    if (one.kind != RUN) { /* backend.h: no events, no other stream */
        stream->spoilt = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    stream->capture->nodes.push_back(std::move(one));
    return cudaSuccess;
}

static void defer(void *stream, const char *name, const std::function<void()> &grid)
{
    LOCKED;
    cudaStream_t s = real_stream(name, (cudaStream_t)stream);
    counts.kernels++;
    (void)answer(put(s, {RUN, name, grid, LAUNCH_US, nullptr, 0}));
}

extern "C" void stand_in_enqueue(cudaStream_t stream, const char *what, void (*run)(void *context), const void *context, size_t bytes,
                                 double us)
{
    LOCKED;
    counts.products++;
    std::shared_ptr<std::vector<char>> copy = std::make_shared<std::vector<char>>((const char *)context, (const char *)context + bytes);
    (void)answer(put(real_stream(what, stream), {RUN, what, [=] { run(copy->data()); }, us, nullptr, 0}));
}

/* ---- memory ---- */
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
    if (unsafe("cudaMalloc"))
        return answer(cudaErrorStreamCaptureUnsupported);
    if (!arena) {
        arena = (char *)mmap(nullptr, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            stand_in_broken("no address space");
        arena_end = arena;
        simt::set_deferrer(defer);
    }
    counts.allocations++;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN + GAP;
    if (arena_end + room > arena + ARENA || bytes > ((size_t)1 << 33))
        return answer(cudaErrorMemoryAllocation);
    *pointer = arena_end;
    ASAN_UNPOISON_MEMORY_REGION(arena_end, bytes);
    ASAN_POISON_MEMORY_REGION(arena_end + bytes, room - bytes);
    blocks[arena_end] = bytes;
    protect(false);
    memset(arena_end, 0xff, bytes < (size_t)PAGES_FILLED ? bytes : (size_t)PAGES_FILLED); /* NaN: cudaMalloc promises nothing */
    arena_end += room;
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
    if (unsafe("cudaFree"))
        return answer(cudaErrorStreamCaptureUnsupported);
    auto block = blocks.find((char *)pointer);
    if (block == blocks.end())
        stand_in_broken("cudaFree of %p, which was not allocated, or is free", pointer);
    run_everything();
    ASAN_POISON_MEMORY_REGION(pointer, block->second);
    uintptr_t first = ((uintptr_t)pointer + GAP - 1) / GAP * GAP, last = ((uintptr_t)pointer + block->second) / GAP * GAP;
    if (last > first)
        (void)madvise((void *)first, last - first, MADV_DONTNEED);
    blocks.erase(block);
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    LOCKED;
    (void)stand_in_device("cudaHostAlloc"), (void)flags;
    counts.allocations++;
    if (unsafe("cudaHostAlloc"))
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
    if (unsafe("cudaFreeHost"))
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

/* ---- streams and events ---- */
extern "C" cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    LOCKED;
    int device = stand_in_device("cudaStreamCreateWithPriority");
    if (flags != cudaStreamNonBlocking || priority > 0 || priority < -5)
        return answer(cudaErrorInvalidValue);
    *stream = new CUstream_st{};
    (*stream)->device = device;
    streams.insert(*stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    (void)stand_in_device("cudaDeviceGetStreamPriorityRange");
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaStreamDestroy", stream);
    run_all(stream); /* what is in it still runs */
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaStreamSynchronize", stream);
    counts.other_waits++;
    if (unsafe("cudaStreamSynchronize"))
        return answer(cudaErrorStreamCaptureUnsupported);
    run_all(stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceSynchronize(void)
{
    LOCKED;
    (void)stand_in_device("cudaDeviceSynchronize");
    counts.other_waits++;
    if (unsafe("cudaDeviceSynchronize"))
        return answer(cudaErrorStreamCaptureUnsupported);
    run_everything();
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return answer(cudaErrorInvalidValue);
    *event = new CUevent_st{stand_in_device("cudaEventCreateWithFlags"), flags, 0, 0, 0};
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

extern "C" cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    LOCKED;
    same_device("cudaEventDestroy", event->device);
    if (event->recorded > event->passed)
        run_to(event, event->recorded); /* allowed; ours is freed, so first let it pass */
    for (cudaStream_t stream : streams)
        for (const work &w : stream->queue)
            if (w.event == event && w.kind == WAIT && w.generation > event->passed)
                stand_in_broken("cudaEventDestroy of an event that a stream will wait for");
    for (cudaStream_t stream : streams)
        for (work &w : stream->queue)
            if (w.event == event)
                w = work{RUN, "nothing", [] {}, 0, nullptr, 0};
    delete event;
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaEventRecord", stream);
    same_device("cudaEventRecord", event->device);
    if (stream->capture)
        return answer(put(stream, {RECORD, "cudaEventRecord", nullptr, 0, event, 0}));
    long generation = ++event->recorded;
    return answer(put(stream, {RECORD, "cudaEventRecord", nullptr, 0, event, generation}));
}

extern "C" cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    LOCKED;
    if (flags != 0)
        return answer(cudaErrorInvalidValue);
    return answer(put(real_stream("cudaStreamWaitEvent", stream), {WAIT, "cudaStreamWaitEvent", nullptr, 0, event, event->recorded}));
}

extern "C" cudaError_t cudaEventQuery(cudaEvent_t event)
{
    LOCKED;
    (void)stand_in_device("cudaEventQuery");
    if (unsafe("cudaEventQuery"))
        return answer(cudaErrorStreamCaptureUnsupported);
    return event->passed < event->recorded ? cudaErrorNotReady : cudaSuccess;
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    LOCKED;
    (void)stand_in_device("cudaEventSynchronize");
    counts.event_waits++;
    if (unsafe("cudaEventSynchronize"))
        return answer(cudaErrorStreamCaptureUnsupported);
    run_to(event, event->recorded);
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    LOCKED;
    if (!from->recorded || !to->recorded || ((from->flags | to->flags) & cudaEventDisableTiming))
        return answer(cudaErrorInvalidResourceHandle);
    if (from->passed < from->recorded || to->passed < to->recorded)
        return cudaErrorNotReady;
    *ms = (float)((to->us - from->us) / 1e3);
    return cudaSuccess;
}

/* ---- graphs ---- */
extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    LOCKED;
    (void)real_stream("cudaStreamBeginCapture", stream);
    if (stream->capture)
        return answer(cudaErrorIllegalState);
    if (mode != cudaStreamCaptureModeThreadLocal) /* other threads ask events meanwhile */
        stand_in_broken("a capture in mode %d", (int)mode);
    stream->capture = new CUgraph_st{};
    stream->captor = pthread_self();
    stream->spoilt = false;
    capturing.insert(stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    LOCKED;
    (void)real_stream("cudaStreamEndCapture", stream);
    *graph = nullptr;
    if (!stream->capture)
        return answer(cudaErrorIllegalState);
    if (!pthread_equal(stream->captor, pthread_self()))
        return answer(cudaErrorStreamCaptureWrongThread);
    capturing.erase(stream);
    cudaGraph_t made = stream->capture;
    stream->capture = nullptr;
    if (stream->spoilt) {
        delete made;
        return answer(cudaErrorStreamCaptureInvalidated);
    }
    *graph = made;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    LOCKED;
    int device = stand_in_device("cudaGraphInstantiate");
    if (flags != 0)
        return answer(cudaErrorInvalidValue);
    *exec = new CUgraphExec_st{device, graph->nodes, 0};
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaGraphUpload", stream);
    same_device("cudaGraphUpload", exec->device);
    return stream->capture ? answer(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaGraphLaunch", stream);
    if (stream->capture)
        return answer(cudaErrorStreamCaptureUnsupported);
    exec->in_flight++;
    counts.graphs++;
    return answer(put(stream, {RUN, "graph",
                               [=] {
                                   run_nodes(exec->nodes);
                                   exec->in_flight--;
                               },
                               LAUNCH_US, nullptr, 0}));
}

extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    LOCKED;
    if (exec->in_flight)
        stand_in_broken("cudaGraphExecDestroy of a graph in flight");
    delete exec;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

/* ---- the device ---- */
extern "C" cudaError_t cudaGetDeviceCount(int *count)
{
    *count = DEVICES;
    return cudaSuccess;
}

extern "C" cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= DEVICES)
        return answer(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}

/* Few multiprocessors and little cache: sums have several parts, and trials few copies. */
extern "C" cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= DEVICES)
        return answer(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Stand-in H100 number %d", device);
    p->uuid.bytes[0] = (char)(device + 1);
    p->major = 9;
    p->multiProcessorCount = 4;
    p->l2CacheSize = 4096;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = 227 << 10;
    p->totalGlobalMem = (size_t)8 << 30;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

extern "C" const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : "an error of the stand-in";
}

extern "C" const char *cudaGetErrorName(cudaError_t error)
{
    static thread_local char name[32];
    snprintf(name, sizeof name, "cudaError %d", (int)error);
    return name;
}
