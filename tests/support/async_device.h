/* A backend whose streams run beside the host, without a GPU: memory is that of `ref` strict, each stream is a thread that
 * works through its queue, events carry generations as CUDA's do (a wait means the record before it, later records do not
 * disturb it). Memory, copies, events, casts, and calls of a test's own (tests/plugin/async_ops.c makes all ops of them). It can
 * capture: what the capturing thread puts on the compute stream is kept, and whatever a GPU would refuse meanwhile aborts.
 * Failures of its own abort: it is a test's tool. */
#ifndef VT_ASYNC_DEVICE_H
#define VT_ASYNC_DEVICE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/clock.h"

enum { ASYNC_QUEUE = 1024 };

struct async_device;
struct event { /* generations */
    int64_t recorded, passed;
    double passed_ms;
};
struct async_task {
    void (*run)(struct async_device *device, struct async_task *task);
    void *to;
    const void *from;
    size_t bytes;
    int64_t count;
    enum dtype to_type, from_type;
    struct event *event;
    int64_t generation;
    void *context; /* of async_enqueue */
    int64_t number;
    void *owned;   /* freed after the run */
};
struct graph {
    struct async_task *tasks;
    int count, capacity;
};
struct async_stream {
    struct async_device *device;
    pthread_t thread;
    struct async_task tasks[ASYNC_QUEUE];
    int64_t put, taken, done;
};
struct async_device {
    struct backend base;
    struct backend *memory; /* ref strict */
    pthread_mutex_t mutex;  /* over queues and events */
    pthread_cond_t changed;
    bool quit;
    struct graph *capture; /* under way, by `capturing` */
    pthread_t capturing;
    int graphs;            /* not freed yet */
    int64_t launches;      /* of graphs */
    long launch_us;        /* what each costs its caller */
    struct async_stream streams[STREAM_COUNT];
};

static inline struct async_device *async_of(struct backend *be) { return (struct async_device *)be; }

static inline bool async_captures(struct async_device *device)
{
    pthread_mutex_lock(&device->mutex);
    bool mine = device->capture && pthread_equal(device->capturing, pthread_self());
    pthread_mutex_unlock(&device->mutex);
    return mine;
}

/* What waits, asks or allocates has no place in a capture. */
static inline void async_forbid(struct backend *be, const char *what)
{
    VT_CHECKF(!async_captures(async_of(be)), "%s while capturing", what);
}

static inline void async_keep(struct graph *graph, struct async_task task)
{
    if (graph->count == graph->capacity) {
        graph->capacity = graph->capacity ? 2 * graph->capacity : 64;
        graph->tasks = realloc(graph->tasks, (size_t)graph->capacity * sizeof task);
        VT_CHECK(graph->tasks);
    }
    graph->tasks[graph->count++] = task;
}

static inline void async_put(struct backend *be, enum stream stream, struct async_task task)
{
    struct async_device *device = async_of(be);
    struct async_stream *s = &device->streams[stream];
    if (async_captures(device)) {
        VT_CHECKF(stream == STREAM_COMPUTE && !task.event, "an event, or another stream, while capturing");
        async_keep(device->capture, task);
        return;
    }
    if (device->launch_us)
        usleep((useconds_t)device->launch_us);
    pthread_mutex_lock(&device->mutex);
    while (s->put - s->taken == ASYNC_QUEUE)
        pthread_cond_wait(&device->changed, &device->mutex);
    if (task.event && !task.generation) /* a record */
        task.generation = ++task.event->recorded;
    s->tasks[s->put++ % ASYNC_QUEUE] = task;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->mutex);
}

static inline void *async_loop(void *context)
{
    struct async_stream *s = context;
    struct async_device *device = s->device;
    pthread_mutex_lock(&device->mutex);
    for (;;) {
        while (s->taken == s->put && !device->quit)
            pthread_cond_wait(&device->changed, &device->mutex);
        if (s->taken == s->put)
            break;
        struct async_task task = s->tasks[s->taken++ % ASYNC_QUEUE];
        pthread_mutex_unlock(&device->mutex);
        task.run(device, &task);
        free(task.owned);
        pthread_mutex_lock(&device->mutex);
        s->done++;
        pthread_cond_broadcast(&device->changed);
    }
    pthread_mutex_unlock(&device->mutex);
    return NULL;
}

/* ---- what the streams do ---- */
static inline void async_run_copy(struct async_device *device, struct async_task *task)
{
    if (task->number == 0)
        device->memory->upload(device->memory, STREAM_COMPUTE, task->to, task->from, task->bytes);
    else if (task->number == 1)
        device->memory->download(device->memory, STREAM_COMPUTE, task->to, task->from, task->bytes);
    else
        device->memory->zero(device->memory, STREAM_COMPUTE, task->to, task->bytes);
}
static inline void async_run_cast(struct async_device *device, struct async_task *task)
{
    device->memory->nn.cast(device->memory, task->from, task->from_type, task->to, task->to_type, task->count);
}
static inline void async_run_record(struct async_device *device, struct async_task *task)
{
    pthread_mutex_lock(&device->mutex);
    task->event->passed = task->generation;
    task->event->passed_ms = clock_ms();
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->mutex);
}
static inline void async_run_wait(struct async_device *device, struct async_task *task)
{
    pthread_mutex_lock(&device->mutex);
    while (task->event->passed < task->generation)
        pthread_cond_wait(&device->changed, &device->mutex);
    pthread_mutex_unlock(&device->mutex);
}
static inline void async_run_sleep(struct async_device *device, struct async_task *task)
{
    (void)device;
    usleep((useconds_t)task->number);
}

/* Work of a test's own on a stream, and the time it takes to compute something. */
static inline void async_enqueue(struct backend *be, enum stream stream,
                                 void (*run)(struct async_device *, struct async_task *), void *context, int64_t number)
{
    async_put(be, stream, (struct async_task){.run = run, .context = context, .number = number});
}
static inline void async_work(struct backend *be, enum stream stream, double ms)
{
    async_put(be, stream, (struct async_task){.run = async_run_sleep, .number = (int64_t)(ms * 1e3)});
}

/* ---- the backend table ---- */
static inline vt_status async_alloc(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer)
{
    async_forbid(be, "an allocation");
    return async_of(be)->memory->alloc(async_of(be)->memory, kind, bytes, what, pointer);
}
static inline void async_release(struct backend *be, enum memory_kind kind, void *pointer)
{
    async_of(be)->memory->release(async_of(be)->memory, kind, pointer);
}
static inline void async_upload(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes)
{
    async_forbid(be, "an upload");
    async_put(be, stream, (struct async_task){.run = async_run_copy, .to = device, .from = host, .bytes = bytes});
}
static inline void async_download(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes)
{
    async_forbid(be, "a download");
    async_put(be, stream, (struct async_task){.run = async_run_copy, .to = host, .from = device, .bytes = bytes, .number = 1});
}
static inline void async_zero(struct backend *be, enum stream stream, void *device, size_t bytes)
{
    async_put(be, stream, (struct async_task){.run = async_run_copy, .to = device, .bytes = bytes, .number = 2});
}
static inline void async_cast(struct backend *be, enum stream stream, const void *src, enum dtype from, void *dst,
                              enum dtype to, int64_t count)
{
    async_put(be, stream, (struct async_task){.run = async_run_cast, .to = dst, .from = src, .count = count,
                                              .to_type = to, .from_type = from});
}
static inline struct event *async_event_new(struct backend *be)
{
    (void)be;
    struct event *event = calloc(1, sizeof *event);
    VT_CHECK(event);
    return event;
}
static inline void async_event_free(struct backend *be, struct event *event)
{
    struct async_device *device = async_of(be);
    pthread_mutex_lock(&device->mutex);
    while (event->passed < event->recorded)
        pthread_cond_wait(&device->changed, &device->mutex);
    pthread_mutex_unlock(&device->mutex);
    free(event);
}
static inline void async_event_record(struct backend *be, enum stream stream, struct event *event)
{
    async_put(be, stream, (struct async_task){.run = async_run_record, .event = event});
}
static inline void async_stream_wait(struct backend *be, enum stream stream, struct event *event)
{
    struct async_device *device = async_of(be);
    async_forbid(be, "a wait of a stream");
    pthread_mutex_lock(&device->mutex);
    int64_t generation = event->recorded;
    pthread_mutex_unlock(&device->mutex);
    if (generation)
        async_put(be, stream, (struct async_task){.run = async_run_wait, .event = event, .generation = generation});
}
static inline vt_status async_event_wait(struct backend *be, struct event *event)
{
    struct async_device *device = async_of(be);
    async_forbid(be, "a wait for an event");
    pthread_mutex_lock(&device->mutex);
    int64_t generation = event->recorded;
    while (event->passed < generation)
        pthread_cond_wait(&device->changed, &device->mutex);
    pthread_mutex_unlock(&device->mutex);
    return VT_OK;
}
static inline bool async_event_passed(struct backend *be, struct event *event)
{
    struct async_device *device = async_of(be);
    async_forbid(be, "asking an event");
    pthread_mutex_lock(&device->mutex);
    bool passed = event->passed >= event->recorded;
    pthread_mutex_unlock(&device->mutex);
    return passed;
}
static inline vt_status async_event_elapsed(struct backend *be, struct event *from, struct event *to, double *ms)
{
    struct async_device *device = async_of(be);
    pthread_mutex_lock(&device->mutex);
    VT_CHECKF(from->passed == from->recorded && to->passed == to->recorded && from->passed && to->passed,
              "the time between events that have not passed");
    *ms = to->passed_ms - from->passed_ms;
    pthread_mutex_unlock(&device->mutex);
    return VT_OK;
}
static inline vt_status async_synchronise(struct backend *be)
{
    struct async_device *device = async_of(be);
    async_forbid(be, "a wait for the device");
    pthread_mutex_lock(&device->mutex);
    for (int s = 0; s < STREAM_COUNT; s++)
        while (device->streams[s].done < device->streams[s].put)
            pthread_cond_wait(&device->changed, &device->mutex);
    pthread_mutex_unlock(&device->mutex);
    return VT_OK;
}

/* ---- capture ---- */
static inline vt_status async_capture_begin(struct backend *be)
{
    struct async_device *device = async_of(be);
    struct graph *graph = calloc(1, sizeof *graph);
    VT_CHECK(graph);
    pthread_mutex_lock(&device->mutex);
    VT_CHECKF(!device->capture, "a capture inside of a capture");
    device->capture = graph;
    device->capturing = pthread_self();
    pthread_mutex_unlock(&device->mutex);
    return VT_OK;
}
static inline vt_status async_capture_end(struct backend *be, struct graph **graph)
{
    struct async_device *device = async_of(be);
    pthread_mutex_lock(&device->mutex);
    VT_CHECKF(device->capture, "the end of a capture that did not begin");
    *graph = device->capture;
    device->capture = NULL;
    device->graphs++;
    pthread_mutex_unlock(&device->mutex);
    return VT_OK;
}
static inline void async_run_graph(struct async_device *device, struct async_task *task)
{
    struct graph *graph = task->context;
    for (int i = 0; i < graph->count; i++)
        graph->tasks[i].run(device, &graph->tasks[i]);
}
static inline void async_graph_launch(struct backend *be, struct graph *graph)
{
    async_forbid(be, "the launch of a graph");
    async_of(be)->launches++;
    async_put(be, STREAM_COMPUTE, (struct async_task){.run = async_run_graph, .context = graph});
}
static inline void async_graph_free(struct backend *be, struct graph *graph)
{
    if (!graph)
        return;
    for (int i = 0; i < graph->count; i++)
        free(graph->tasks[i].owned);
    free(graph->tasks);
    free(graph);
    async_of(be)->graphs--;
}
static inline void async_close(struct backend *be)
{
    struct async_device *device = async_of(be);
    VT_CHECKF(device->graphs == 0, "%d graphs were not freed", device->graphs);
    pthread_mutex_lock(&device->mutex);
    device->quit = true;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->mutex);
    for (int s = 0; s < STREAM_COUNT; s++)
        pthread_join(device->streams[s].thread, NULL);
    device->memory->close(device->memory);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->mutex);
    free(device);
}

static inline struct backend *async_device_open(void)
{
    const struct backend_desc strict = {.threads = 1, .strict = true};
    struct async_device *device = calloc(1, sizeof *device);
    VT_CHECK(device && backend_ref_open(&strict, &device->memory) == VT_OK);
    pthread_mutex_init(&device->mutex, NULL);
    pthread_cond_init(&device->changed, NULL);
    device->base = (struct backend){.name = "async", .alloc = async_alloc, .release = async_release,
                                    .upload = async_upload, .download = async_download, .zero = async_zero,
                                    .event_new = async_event_new, .event_free = async_event_free,
                                    .event_record = async_event_record, .stream_wait = async_stream_wait,
                                    .event_wait = async_event_wait, .event_passed = async_event_passed,
                                    .event_elapsed = async_event_elapsed, .cast = async_cast,
                                    .capture_begin = async_capture_begin, .capture_end = async_capture_end,
                                    .graph_launch = async_graph_launch, .graph_free = async_graph_free,
                                    .synchronise = async_synchronise, .close = async_close};
    for (int s = 0; s < STREAM_COUNT; s++) {
        device->streams[s].device = device;
        VT_CHECK(pthread_create(&device->streams[s].thread, NULL, async_loop, &device->streams[s]) == 0);
    }
    return &device->base;
}

#endif
