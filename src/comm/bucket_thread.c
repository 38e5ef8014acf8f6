/* The overlap over host memory: one thread with its own communicator sums bucket after bucket in blocking all-reduces
 * while the main thread goes on enqueuing backward. (Measured: a non-blocking all-reduce makes no progress unless someone
 * calls MPI.) When a bucket is final on the device is marked by an event on the compute stream. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stage.h"
#include "comm/bucket_set.h"
#include "comm/thread.h"

struct bucket_thread {
    const struct bucket_set *set; /* borrowed: the plan, which does not change */
    struct backend *be;    /* borrowed */
    struct comm *comm;     /* owned duplicate */
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
    double comm_ms, ready_ms, done_ms; /* time in all-reduces; when the last bucket was final, and summed */
};

static vt_status sum_on_host(struct bucket_thread *t, float *values, int64_t count)
{
    if (!t->wire)
        return t->comm->all_reduce(t->comm, values, count, DTYPE_F32, REDUCE_SUM);
    for (int64_t i = 0; i < count; i++)
        t->wire[i] = bf16_from_float(values[i]);
    VT_TRY(t->comm->all_reduce(t->comm, t->wire, count, DTYPE_BF16, REDUCE_SUM));
    for (int64_t i = 0; i < count; i++)
        values[i] = bf16_to_float(t->wire[i]);
    return VT_OK;
}

/* One bucket, from the event to the sum in place (or on its way up on the communication stream). */
static vt_status reduce_bucket(struct bucket_thread *t, int index, double *ready_ms, double *comm_ms)
{
    struct backend *be = t->be;
    float *grads = t->set->desc.grads + t->set->buckets[index].begin;
    int64_t count = bucket_elements(&t->set->buckets[index]);
    size_t bytes = (size_t)count * sizeof(float);
    /* A device that hangs shows as this thread's stage, not as waiting for peers. */
    stage_enter(STAGE_BACKWARD);
    if (!t->staging) {
        VT_TRY(be->event_wait(be, t->set->ready[index]));
    } else {
        be->stream_wait(be, STREAM_COMM, t->set->ready[index]);
        be->download(be, STREAM_COMM, t->staging, grads, bytes);
        be->event_record(be, STREAM_COMM, t->sent);
        VT_TRY(be->event_wait(be, t->sent));
    }
    *ready_ms = clock_ms();
    VT_TRY(sum_on_host(t, t->staging ? t->staging : grads, count));
    *comm_ms += clock_ms() - *ready_ms;
    if (t->staging) {
        /* The staging buffer is used again by the next bucket: its download waits on the same stream. */
        be->upload(be, STREAM_COMM, grads, t->staging, bytes);
        be->event_record(be, STREAM_COMM, t->sent);
    }
    return VT_OK;
}

/* The next bucket to sum, or -1 at the end. */
static int wait_for_bucket(struct bucket_thread *t)
{
    stage_enter(STAGE_IDLE);
    pthread_mutex_lock(&t->mutex);
    while (!t->quit && (t->done == t->enqueued || t->status != VT_OK))
        pthread_cond_wait(&t->changed, &t->mutex);
    int index = t->quit ? -1 : t->done;
    pthread_mutex_unlock(&t->mutex);
    return index;
}

static void *bucket_loop(void *context)
{
    struct bucket_thread *t = context;
    stage_register("comm");
    for (int index; (index = wait_for_bucket(t)) >= 0;) {
        double ready_ms = 0, comm_ms = 0;
        vt_status status = reduce_bucket(t, index, &ready_ms, &comm_ms);
        pthread_mutex_lock(&t->mutex);
        if (status != VT_OK) {
            t->status = status;
            snprintf(t->message, sizeof t->message, "%s", status_message());
        }
        t->done++;
        t->comm_ms += comm_ms;
        t->ready_ms = ready_ms;
        t->done_ms = clock_ms();
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->mutex);
    }
    stage_unregister();
    return NULL;
}

static vt_status open_buffers(struct bucket_thread *t)
{
    size_t largest = (size_t)t->set->largest;
    t->sent = t->be->event_new(t->be);
    if (!t->be->host_memory)
        VT_TRY(t->be->alloc(t->be, MEMORY_HOST, largest * sizeof(float), "gradient bucket staging", (void **)&t->staging));
    if (t->set->desc.wire == DTYPE_BF16)
        VT_TRY(t->be->alloc(t->be, MEMORY_HOST, largest * sizeof(bf16_t), "gradient bucket wire", (void **)&t->wire));
    return VT_OK;
}

static vt_status start_thread(struct bucket_thread *t)
{
    int code = comm_thread_start(&t->thread, bucket_loop, t);
    if (code != 0)
        return VT_FAIL(VT_E_MEMORY, "cannot start the communication thread: %s", strerror(code));
    t->thread_runs = true;
    return VT_OK;
}

vt_status bucket_thread_open(struct bucket_set *set, struct comm *comm, struct bucket_thread **out)
{
    struct bucket_thread *t = *out = calloc(1, sizeof *t);
    VT_CHECK(t);
    t->set = set;
    t->be = set->be;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->changed, NULL);
    VT_TRY(comm->duplicate(comm, &t->comm));
    vt_status status = open_buffers(t);
    if (status == VT_OK)
        status = start_thread(t);
    return comm_agree(comm, status);
}

void bucket_thread_close(struct bucket_thread **thread)
{
    struct bucket_thread *t = *thread;
    if (!t)
        return;
    if (t->thread_runs) {
        pthread_mutex_lock(&t->mutex);
        t->quit = true;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->mutex);
        pthread_join(t->thread, NULL);
    }
    if (t->sent)
        t->be->event_free(t->be, t->sent);
    if (t->staging)
        t->be->release(t->be, MEMORY_HOST, t->staging);
    if (t->wire)
        t->be->release(t->be, MEMORY_HOST, t->wire);
    if (t->comm)
        t->comm->close(t->comm);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *thread = NULL;
}

void bucket_thread_begin(struct bucket_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    VT_CHECKF(t->done == t->enqueued || t->status != VT_OK, "a step began before bucket_finish of the one before");
    t->enqueued = t->done = 0;
    t->comm_ms = 0;
    pthread_mutex_unlock(&t->mutex);
}

void bucket_thread_start(struct bucket_thread *t, int count)
{
    pthread_mutex_lock(&t->mutex);
    t->enqueued = count;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

vt_status bucket_thread_finish(struct bucket_thread *t, struct bucket_stats *stats)
{
    double asked_ms = clock_ms();
    enum stage before = stage_enter(STAGE_COMM_WAIT);
    pthread_mutex_lock(&t->mutex);
    while (t->done < t->enqueued && t->status == VT_OK)
        pthread_cond_wait(&t->changed, &t->mutex);
    vt_status status = t->status;
    /* What the step lost: from the later of "the host had nothing else to do" and "the last gradient was final". */
    double from = asked_ms > t->ready_ms ? asked_ms : t->ready_ms;
    stats->comm_ms = t->comm_ms;
    stats->exposed_ms = t->done_ms > from ? t->done_ms - from : 0;
    pthread_mutex_unlock(&t->mutex);
    stage_enter(before);
    if (status != VT_OK)
        return VT_FAIL(status, "%s", t->message);
    if (t->staging && t->set->count)
        t->be->stream_wait(t->be, STREAM_COMPUTE, t->sent);
    return VT_OK;
}
