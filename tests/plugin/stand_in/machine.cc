#include "machine.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <memory>
#include <mutex>
#include <random>

namespace simt
{
typedef void deferrer(void *stream, const char *name, const std::function<void()> &grid);
void set_deferrer(deferrer *deferrer);
} // namespace simt

enum { DEVICES = 2, GAP = 4096, ALIGN = 256 };
static const size_t ARENA = (size_t)16 << 30, LARGEST = (size_t)8 << 30;

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

locked::locked()
{
    mutex.lock();
    depth++;
}

locked::~locked()
{
    if (--depth == 0)
        protect(true);
    mutex.unlock();
}

std::set<cudaStream_t> streams;
std::map<char *, size_t> blocks, pinned;
static double now_us;
static std::mt19937 dice(7);
struct stand_in_counts counts;
thread_local int current = -1;
static thread_local cudaError_t last_error;
thread_local std::set<cudaStream_t> capturing;

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

cudaError_t answer(cudaError_t error)
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
void same_device(const char *function, int device)
{
    if (stand_in_device(function) != device)
        stand_in_broken("%s: the thread's device is %d, the object's %d", function, current, device);
}

cudaStream_t real_stream(const char *function, cudaStream_t stream)
{
    if (!stream || !streams.count(stream))
        stand_in_broken("%s on the default stream, or one that was destroyed", function);
    same_device(function, stream->device);
    return stream;
}

bool is_unsafe()
{
    for (cudaStream_t stream : capturing)
        stream->spoilt = true;
    return !capturing.empty();
}

/* ---- running ---- */
void run_nodes(const std::vector<work> &nodes)
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

void run_to(cudaEvent_t event, long generation)
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

void run_all(cudaStream_t stream)
{
    while (!stream->queue.empty())
        run_one(stream);
}

void run_everything()
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

cudaError_t put(cudaStream_t stream, work one)
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

char *take_room(size_t bytes)
{
    if (!arena) {
        arena = (char *)mmap(nullptr, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            stand_in_broken("no address space");
        arena_end = arena;
        simt::set_deferrer(defer);
    }
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN + GAP;
    if (bytes > LARGEST || arena_end + room > arena + ARENA)
        return nullptr;
    char *start = arena_end;
    arena_end += room;
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
    ASAN_POISON_MEMORY_REGION(start + bytes, room - bytes);
    protect(false);
    return start;
}

/* Not used again: whoever does is found out. */
void let_go(char *start, size_t bytes)
{
    uintptr_t first = ((uintptr_t)start + GAP - 1) / GAP * GAP, last = ((uintptr_t)start + bytes) / GAP * GAP;
    ASAN_POISON_MEMORY_REGION(start, bytes);
    if (last > first)
        (void)madvise((void *)first, last - first, MADV_DONTNEED);
}

extern "C" void stand_in_enqueue(cudaStream_t stream, const char *what, void (*run)(void *context), const void *context, size_t bytes,
                                 double us)
{
    LOCKED;
    counts.products++;
    std::shared_ptr<std::vector<char>> copy = std::make_shared<std::vector<char>>((const char *)context, (const char *)context + bytes);
    (void)answer(put(real_stream(what, stream), {RUN, what, [=] { run(copy->data()); }, us, nullptr, 0}));
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
