/* The overlap: one thread with its own communicator sums bucket after bucket in blocking all-reduces while the main
 * thread goes on enqueuing backward. (Measured: a non-blocking all-reduce makes no progress unless someone calls MPI.)
 * When a bucket is final on the device is marked by an event on the compute stream. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stage.h"
#include "comm/bucket.h"
#include "comm/thread.h"

struct bucket_set {
    struct bucket_desc desc;
    struct backend *be; /* borrowed */
    struct comm *comm;  /* owned duplicate; NULL with one rank: nothing below is used then */
    struct bucket *buckets;
    int count;
    struct event **ready;  /* [count]: the bucket is final on the device */
    struct event *sent;    /* the last upload on the communication stream */
    float *staging;        /* host, largest bucket; NULL when the gradients are host memory */
    bf16_t *wire;          /* host, largest bucket; NULL with a fp32 wire */
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t changed;
    int enqueued, done;    /* buckets of this step */
    bool quit;
    vt_status status;      /* the thread's first failure; it does nothing more then */
    char message[VT_MESSAGE_BYTES];
    int64_t early_bytes, all_bytes;
    double comm_ms, ready_ms, done_ms; /* time in all-reduces; when the last bucket was final, and summed */
};

static int64_t bucket_count(const struct bucket *bucket) { return bucket->end - bucket->begin; }

static vt_status sum_on_host(struct bucket_set *set, float *values, int64_t count)
{
    if (!set->wire)
        return set->comm->all_reduce(set->comm, values, count, DTYPE_F32, REDUCE_SUM);
    for (int64_t i = 0; i < count; i++)
        set->wire[i] = bf16_from_float(values[i]);
    VT_TRY(set->comm->all_reduce(set->comm, set->wire, count, DTYPE_BF16, REDUCE_SUM));
    for (int64_t i = 0; i < count; i++)
        values[i] = bf16_to_float(set->wire[i]);
    return VT_OK;
}

/* One bucket, from the event to the sum in place (or on its way up on the communication stream). */
static vt_status reduce_bucket(struct bucket_set *set, int index, double *ready_ms, double *comm_ms)
{
    struct backend *be = set->be;
    float *grads = set->desc.grads + set->buckets[index].begin;
    int64_t count = bucket_count(&set->buckets[index]);
    size_t bytes = (size_t)count * sizeof(float);
    /* A device that hangs shows as this thread's stage, not as waiting for peers. */
    stage_enter(STAGE_BACKWARD);
    if (!set->staging) {
        VT_TRY(be->event_wait(be, set->ready[index]));
    } else {
        be->stream_wait(be, STREAM_COMM, set->ready[index]);
        be->download(be, STREAM_COMM, set->staging, grads, bytes);
        be->event_record(be, STREAM_COMM, set->sent);
        VT_TRY(be->event_wait(be, set->sent));
    }
    *ready_ms = clock_ms();
    VT_TRY(sum_on_host(set, set->staging ? set->staging : grads, count));
    *comm_ms += clock_ms() - *ready_ms;
    if (set->staging) {
        /* The staging buffer is used again by the next bucket: its download waits on the same stream. */
        be->upload(be, STREAM_COMM, grads, set->staging, bytes);
        be->event_record(be, STREAM_COMM, set->sent);
    }
    return VT_OK;
}

/* The next bucket to sum, or -1 at the end. */
static int wait_for_bucket(struct bucket_set *set)
{
    stage_enter(STAGE_IDLE);
    pthread_mutex_lock(&set->mutex);
    while (!set->quit && (set->done == set->enqueued || set->status != VT_OK))
        pthread_cond_wait(&set->changed, &set->mutex);
    int index = set->quit ? -1 : set->done;
    pthread_mutex_unlock(&set->mutex);
    return index;
}

static void *bucket_loop(void *context)
{
    struct bucket_set *set = context;
    stage_register("comm");
    for (int index; (index = wait_for_bucket(set)) >= 0;) {
        double ready_ms = 0, comm_ms = 0;
        vt_status status = reduce_bucket(set, index, &ready_ms, &comm_ms);
        pthread_mutex_lock(&set->mutex);
        if (status != VT_OK) {
            set->status = status;
            snprintf(set->message, sizeof set->message, "%s", status_message());
        }
        set->done++;
        set->comm_ms += comm_ms;
        set->ready_ms = ready_ms;
        set->done_ms = clock_ms();
        pthread_cond_broadcast(&set->changed);
        pthread_mutex_unlock(&set->mutex);
    }
    stage_unregister();
    return NULL;
}

static vt_status open_buffers(struct bucket_set *set)
{
    int64_t largest = 0;
    set->count = bucket_plan(set->desc.table, set->desc.bucket_bytes, NULL, 0);
    set->buckets = calloc((size_t)set->count + 1, sizeof *set->buckets);
    set->ready = calloc((size_t)set->count + 1, sizeof *set->ready);
    VT_CHECK(set->buckets && set->ready);
    bucket_plan(set->desc.table, set->desc.bucket_bytes, set->buckets, set->count);
    for (int i = 0; i < set->count; i++) {
        set->ready[i] = set->be->event_new(set->be);
        largest = bucket_count(&set->buckets[i]) > largest ? bucket_count(&set->buckets[i]) : largest;
        set->all_bytes += bucket_count(&set->buckets[i]) * (int64_t)sizeof(float);
    }
    set->sent = set->be->event_new(set->be);
    if (!set->be->host_memory)
        VT_TRY(set->be->alloc(set->be, MEMORY_HOST, (size_t)largest * sizeof(float), "gradient bucket staging",
                              (void **)&set->staging));
    if (set->desc.wire == DTYPE_BF16)
        VT_TRY(set->be->alloc(set->be, MEMORY_HOST, (size_t)largest * sizeof(bf16_t), "gradient bucket wire",
                              (void **)&set->wire));
    return VT_OK;
}

static vt_status start_thread(struct bucket_set *set)
{
    int code = comm_thread_start(&set->thread, bucket_loop, set);
    if (code != 0)
        return VT_FAIL(VT_E_MEMORY, "cannot start the communication thread: %s", strerror(code));
    set->thread_runs = true;
    return VT_OK;
}

vt_status bucket_open(const struct bucket_desc *desc, struct comm *comm, struct backend *be, struct bucket_set **out)
{
    vt_status status = VT_OK;
    struct bucket_set *set = calloc(1, sizeof *set);
    VT_CHECK(set);
    VT_CHECK(desc->wire == DTYPE_F32 || desc->wire == DTYPE_BF16);
    set->desc = *desc;
    set->be = be;
    pthread_mutex_init(&set->mutex, NULL);
    pthread_cond_init(&set->changed, NULL);
    if (comm->size > 1) {
        VT_TRY_OUT(comm->duplicate(comm, &set->comm));
        status = open_buffers(set);
        if (status == VT_OK)
            status = start_thread(set);
        VT_TRY_OUT(comm_agree(comm, status));
    }
    *out = set;
    set = NULL;
out:
    bucket_close(&set);
    return status;
}

void bucket_close(struct bucket_set **set_pointer)
{
    struct bucket_set *set = *set_pointer;
    if (!set)
        return;
    if (set->thread_runs) {
        pthread_mutex_lock(&set->mutex);
        set->quit = true;
        pthread_cond_broadcast(&set->changed);
        pthread_mutex_unlock(&set->mutex);
        pthread_join(set->thread, NULL);
    }
    for (int i = 0; i < set->count; i++)
        set->be->event_free(set->be, set->ready[i]);
    if (set->sent)
        set->be->event_free(set->be, set->sent);
    if (set->staging)
        set->be->release(set->be, MEMORY_HOST, set->staging);
    if (set->wire)
        set->be->release(set->be, MEMORY_HOST, set->wire);
    if (set->comm)
        set->comm->close(set->comm);
    pthread_cond_destroy(&set->changed);
    pthread_mutex_destroy(&set->mutex);
    free(set->buckets);
    free(set->ready);
    free(set);
    *set_pointer = NULL;
}

void bucket_begin(struct bucket_set *set)
{
    if (!set->comm)
        return;
    pthread_mutex_lock(&set->mutex);
    VT_CHECKF(set->done == set->enqueued || set->status != VT_OK,
              "a step began before bucket_finish of the one before");
    set->enqueued = set->done = 0;
    set->early_bytes = 0;
    set->comm_ms = 0;
    pthread_mutex_unlock(&set->mutex);
}

void bucket_grad_ready(void *context, int64_t first)
{
    struct bucket_set *set = context;
    if (!set || !set->comm)
        return;
    pthread_mutex_lock(&set->mutex);
    while (set->enqueued < set->count && set->buckets[set->enqueued].begin >= first) {
        const struct bucket *bucket = &set->buckets[set->enqueued];
        set->be->event_record(set->be, STREAM_COMPUTE, set->ready[set->enqueued]);
        if (first > 0)
            set->early_bytes += bucket_count(bucket) * (int64_t)sizeof(float);
        set->enqueued++;
    }
    pthread_cond_broadcast(&set->changed);
    pthread_mutex_unlock(&set->mutex);
}

/* What the step lost: from the later of "the host had nothing else to do" and "the last gradient was final". */
static void fill_stats(const struct bucket_set *set, double asked_ms, struct bucket_stats *stats)
{
    double from = asked_ms > set->ready_ms ? asked_ms : set->ready_ms;
    *stats = (struct bucket_stats){
        .comm_ms = set->comm_ms,
        .exposed_ms = set->done_ms > from ? set->done_ms - from : 0,
        .bytes = set->all_bytes,
        .early_fraction = set->all_bytes ? (double)set->early_bytes / (double)set->all_bytes : 0,
    };
}

vt_status bucket_finish(struct bucket_set *set, struct bucket_stats *stats)
{
    *stats = (struct bucket_stats){0};
    if (!set->comm)
        return VT_OK;
    double asked_ms = clock_ms();
    bucket_grad_ready(set, 0);
    enum stage before = stage_enter(STAGE_COMM_WAIT);
    pthread_mutex_lock(&set->mutex);
    while (set->done < set->enqueued && set->status == VT_OK)
        pthread_cond_wait(&set->changed, &set->mutex);
    vt_status status = set->status;
    fill_stats(set, asked_ms, stats);
    pthread_mutex_unlock(&set->mutex);
    stage_enter(before);
    if (status != VT_OK)
        return VT_FAIL(status, "%s", set->message);
    if (set->staging && set->count)
        set->be->stream_wait(set->be, STREAM_COMPUTE, set->sent);
    return VT_OK;
}
