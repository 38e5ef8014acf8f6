/* The overlap over device memory: each sum is enqueued on the communication stream behind the event that marks its bucket
 * as final, and the compute stream waits for the last one. The host waits only for the step before, whose times it reads
 * from its events then. One thread watches what is in flight: a sum that fails, or takes too long once it has begun, is
 * named with rank, step and bucket, and the comm is aborted, so that no wait on the device lasts for ever. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "comm/bucket_set.h"
#include "comm/thread.h"

enum { STEPS_IN_FLIGHT = 2, WATCH_MS = 50 };

struct step_events {          /* of one step; used again two steps later */
    struct event *final;      /* compute stream: the last gradient is final */
    struct event **begin;     /* [count], communication stream: its sum begins */
    struct event **end;       /* [count]: its sum is in place */
};

struct bucket_device {
    const struct bucket_set *set; /* borrowed */
    struct backend *be;           /* borrowed */
    struct comm *comm;            /* borrowed */
    bf16_t *wire;                 /* device, largest bucket; NULL with a fp32 wire */
    struct step_events events[STEPS_IN_FLIGHT];
    int64_t steps;                /* begun so far, by this set */
    bool failed;                  /* main thread's view of status */
    pthread_t watcher;
    bool watcher_runs;

    pthread_mutex_t mutex;        /* what follows */
    pthread_cond_t changed;       /* monotonic clock */
    int64_t enqueued, passed;     /* sums since the start: number n is bucket n % count of step n / count */
    int64_t run_step;             /* the run's number of the newest step, for messages; -1 = not known */
    bool quit;
    vt_status status;             /* the first failure */
    char message[VT_MESSAGE_BYTES];
};

/* Keeps the first failure and gives up everything in flight. Any thread. */
static void fail(struct bucket_device *d, vt_status status, int64_t number, const char *why)
{
    int index = (int)(number % d->set->count);
    const struct bucket *bucket = &d->set->buckets[index];
    pthread_mutex_lock(&d->mutex);
    bool first = d->status == VT_OK;
    int64_t step = d->run_step < 0 ? number / d->set->count + 1 : d->run_step - (d->steps - 1 - number / d->set->count);
    if (first) {
        d->status = status;
        snprintf(d->message, sizeof d->message,
                 "rank %d (host %s): step %lld: sum of gradient bucket %d of %d (%.1f MB): %.800s", d->set->rank,
                 d->set->host, (long long)step, index, d->set->count, (double)bucket_elements(bucket) * 4e-6, why);
    }
    pthread_mutex_unlock(&d->mutex);
    if (!first)
        return;
    log_error("%s", d->message);
    d->comm->abort(d->comm);
}

static struct step_events *events_of(struct bucket_device *d, int64_t number)
{
    return &d->events[number / d->set->count % STEPS_IN_FLIGHT];
}

/* The oldest sum in flight, or -1; *begun: its turn has come on the communication stream. The mutex is held, so that the
 * events asked are not recorded anew meanwhile. */
static int64_t oldest_in_flight(struct bucket_device *d, bool *begun)
{
    for (; d->passed < d->enqueued; d->passed++) {
        struct step_events *events = events_of(d, d->passed);
        int index = (int)(d->passed % d->set->count);
        if (!d->be->event_passed(d->be, events->end[index])) {
            *begun = d->be->event_passed(d->be, events->begin[index]);
            return d->passed;
        }
    }
    return -1;
}

static void sleep_until_quit(struct bucket_device *d)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WATCH_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (!d->quit && pthread_cond_timedwait(&d->changed, &d->mutex, &until) != ETIMEDOUT) {
    }
}

static void *watch(void *context)
{
    struct bucket_device *d = context;
    int64_t seen = -1;  /* the sum below */
    double since_ms = 0; /* when it was first seen under way */
    pthread_mutex_lock(&d->mutex);
    while (!d->quit && d->status == VT_OK) {
        bool begun = false;
        int64_t number = oldest_in_flight(d, &begun);
        pthread_mutex_unlock(&d->mutex);
        if (number != seen || !begun) {
            seen = number;
            since_ms = clock_ms();
        }
        double seconds = (clock_ms() - since_ms) * 1e-3;
        if (number >= 0 && d->comm->poll(d->comm) != VT_OK) {
            fail(d, VT_E_COMM, number, status_message());
        } else if (number >= 0 && d->set->desc.timeout_s > 0 && seconds > d->set->desc.timeout_s) {
            char why[96];
            snprintf(why, sizeof why, "not done after %.1f s: some rank does not take part", seconds);
            fail(d, VT_E_COMM, number, why);
        }
        pthread_mutex_lock(&d->mutex);
        sleep_until_quit(d);
    }
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

static void open_events(struct bucket_device *d)
{
    size_t count = (size_t)d->set->count;
    for (int s = 0; s < STEPS_IN_FLIGHT; s++) {
        struct step_events *events = &d->events[s];
        events->begin = calloc(count + 1, sizeof *events->begin);
        events->end = calloc(count + 1, sizeof *events->end);
        VT_CHECK(events->begin && events->end);
        events->final = d->be->event_new(d->be);
        for (size_t i = 0; i < count; i++) {
            events->begin[i] = d->be->event_new(d->be);
            events->end[i] = d->be->event_new(d->be);
        }
    }
}

vt_status bucket_device_open(struct bucket_set *set, struct bucket_device **out)
{
    struct bucket_device *d = *out = calloc(1, sizeof *d);
    pthread_condattr_t monotonic;
    VT_CHECK(d);
    VT_CHECKF(set->be->event_passed && set->be->event_elapsed && set->be->cast,
              "backend %s has no events to ask, or no cast on a stream", set->be->name);
    d->set = set;
    d->be = set->be;
    d->comm = set->desc.device;
    d->run_step = -1;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    open_events(d);
    if (set->desc.wire == DTYPE_BF16)
        VT_TRY(d->be->alloc(d->be, MEMORY_DEVICE, (size_t)set->largest * sizeof(bf16_t), "gradient bucket wire",
                            (void **)&d->wire));
    int code = comm_thread_start(&d->watcher, watch, d);
    if (code != 0)
        return VT_FAIL(VT_E_MEMORY, "cannot start the thread that watches the sums: %s", strerror(code));
    d->watcher_runs = true;
    return VT_OK;
}

void bucket_device_close(struct bucket_device **device)
{
    struct bucket_device *d = *device;
    if (!d)
        return;
    if (d->watcher_runs) {
        pthread_mutex_lock(&d->mutex);
        d->quit = true;
        pthread_cond_broadcast(&d->changed);
        pthread_mutex_unlock(&d->mutex);
        pthread_join(d->watcher, NULL);
    }
    for (int s = 0; s < STEPS_IN_FLIGHT; s++) {
        struct step_events *events = &d->events[s];
        d->be->event_free(d->be, events->final);
        for (int i = 0; i < d->set->count; i++) {
            d->be->event_free(d->be, events->begin[i]);
            d->be->event_free(d->be, events->end[i]);
        }
        free(events->begin);
        free(events->end);
    }
    if (d->wire)
        d->be->release(d->be, MEMORY_DEVICE, d->wire);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    free(d);
    *device = NULL;
}

void bucket_device_begin(struct bucket_device *d)
{
    pthread_mutex_lock(&d->mutex);
    VT_CHECKF(d->enqueued == d->steps * d->set->count || d->status != VT_OK,
              "a step began before bucket_finish of the one before");
    d->steps++;
    d->run_step = stage_step();
    d->failed = d->status != VT_OK;
    pthread_mutex_unlock(&d->mutex);
}

static vt_status enqueue_sum(struct bucket_device *d, float *grads, int64_t count)
{
    if (!d->wire)
        return d->comm->all_reduce(d->comm, grads, count, DTYPE_F32, REDUCE_SUM);
    d->be->cast(d->be, STREAM_COMM, grads, DTYPE_F32, d->wire, DTYPE_BF16, count);
    VT_TRY(d->comm->all_reduce(d->comm, d->wire, count, DTYPE_BF16, REDUCE_SUM));
    d->be->cast(d->be, STREAM_COMM, d->wire, DTYPE_BF16, grads, DTYPE_F32, count);
    return VT_OK;
}

void bucket_device_start(struct bucket_device *d, int index)
{
    struct backend *be = d->be;
    struct step_events *events = &d->events[(d->steps - 1) % STEPS_IN_FLIGHT];
    const struct bucket *bucket = &d->set->buckets[index];
    int64_t number = (d->steps - 1) * d->set->count + index;
    if (d->failed)
        return;
    be->stream_wait(be, STREAM_COMM, d->set->ready[index]);
    be->event_record(be, STREAM_COMM, events->begin[index]);
    if (enqueue_sum(d, d->set->desc.grads + bucket->begin, bucket_elements(bucket)) != VT_OK) {
        d->failed = true;
        fail(d, VT_E_COMM, number, status_message());
        return;
    }
    be->event_record(be, STREAM_COMM, events->end[index]);
    pthread_mutex_lock(&d->mutex);
    d->enqueued = number + 1;
    pthread_mutex_unlock(&d->mutex);
}

/* The first failure so far, in the words of whoever saw it. */
static vt_status first_failure(struct bucket_device *d)
{
    pthread_mutex_lock(&d->mutex);
    vt_status status = d->status;
    pthread_mutex_unlock(&d->mutex);
    return status == VT_OK ? VT_OK : VT_FAIL(status, "%s", d->message);
}

/* Wait for the step-th step, first for this rank's own backward, then for the others, so that the stage board tells a
 * device that hangs from a wait for peers. Its sums are out of the watcher's hands after. */
static vt_status wait_for_step(struct bucket_device *d, int64_t step)
{
    struct backend *be = d->be;
    struct step_events *events = &d->events[(step - 1) % STEPS_IN_FLIGHT];
    enum stage before = stage_enter(STAGE_BACKWARD);
    vt_status status = be->event_wait(be, events->final);
    stage_enter(STAGE_COMM_WAIT);
    if (status == VT_OK)
        status = be->event_wait(be, events->end[d->set->count - 1]);
    stage_enter(before);
    VT_TRY(first_failure(d)); /* the cause, where there is one; the device's error is its consequence */
    VT_TRY(status);
    pthread_mutex_lock(&d->mutex);
    if (d->passed < step * d->set->count)
        d->passed = step * d->set->count;
    pthread_mutex_unlock(&d->mutex);
    return VT_OK;
}

static vt_status read_times(struct bucket_device *d, struct step_events *events, struct bucket_stats *stats)
{
    double ms;
    for (int i = 0; i < d->set->count; i++) {
        VT_TRY(d->be->event_elapsed(d->be, events->begin[i], events->end[i], &ms));
        stats->comm_ms += ms;
    }
    VT_TRY(d->be->event_elapsed(d->be, events->final, events->end[d->set->count - 1], &ms));
    stats->exposed_ms = ms > 0 ? ms : 0;
    return VT_OK;
}

vt_status bucket_device_finish(struct bucket_device *d, struct bucket_stats *stats)
{
    struct step_events *now = &d->events[(d->steps - 1) % STEPS_IN_FLIGHT];
    struct step_events *last = &d->events[d->steps % STEPS_IN_FLIGHT];
    VT_TRY(first_failure(d));
    d->be->event_record(d->be, STREAM_COMPUTE, now->final);
    d->be->stream_wait(d->be, STREAM_COMPUTE, now->end[d->set->count - 1]);
    if (d->steps < 2)
        return VT_OK;
    VT_TRY(wait_for_step(d, d->steps - 1));
    return read_times(d, last, stats);
}

vt_status bucket_device_drain(struct bucket_device *d)
{
    VT_TRY(first_failure(d));
    return d->steps ? wait_for_step(d, d->steps) : VT_OK;
}
