/* The device mode of the buckets without a GPU: ranks are threads, each with a device of its own whose streams are threads
 * too; the comm joins them on their communication streams. Sums, overlap, times and what happens when a sum fails. */
#include "async_device.h"
#include "base/philox.h"
#include "base/stage.h"
#include "comm/bucket.h"
#include "test.h"

enum { RANKS = 3, ROWS = 24, ROW = 1000, STEPS = 6, FIRST_STEP = 57 };

struct meeting { /* the ranks' sum under way */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int64_t arrived; /* ever */
    float *sum;
    bool aborted, broken; /* broken: poll says so */
    double ms;            /* a sum takes so long */
    int absent_rank;      /* takes part in no sum from number absent_from on */
    int64_t absent_from;
    int refuse_rank;      /* its enqueue fails at number refuse_at */
    int64_t refuse_at;
};
struct fake_comm {
    struct comm base;
    struct backend *be;
    int64_t calls;
};
struct sum_call {
    int rank;
    void *data;
    int64_t count, number;
    enum dtype dtype;
};

static struct meeting meet;
static struct param_table table;

/* All ranks have come to their part-th point of the communication; false after an abort. The mutex is held. */
static bool all_here(int64_t part)
{
    meet.arrived++;
    pthread_cond_broadcast(&meet.changed);
    while (meet.arrived < part * RANKS && !meet.aborted)
        pthread_cond_wait(&meet.changed, &meet.mutex);
    return !meet.aborted;
}

/* Runs on a rank's communication stream. Adds rank after rank, as a ring would. */
static void run_sum(struct async_device *device, struct async_task *task)
{
    struct sum_call *call = task->context;
    size_t bytes = (size_t)call->count * dtype_bytes(call->dtype);
    void *host = malloc(bytes);
    float *sum = meet.sum;
    VT_CHECK(host);
    pthread_mutex_lock(&meet.mutex);
    bool here = call->rank != meet.absent_rank || call->number < meet.absent_from;
    while (!here && !meet.aborted)
        pthread_cond_wait(&meet.changed, &meet.mutex);
    if (meet.aborted || !all_here(4 * call->number + 1))
        goto out;
    if (call->rank == 0)
        memset(sum, 0, (size_t)call->count * sizeof *sum);
    if (!all_here(4 * call->number + 2))
        goto out;
    device->memory->download(device->memory, STREAM_COMM, host, call->data, bytes);
    for (int64_t i = 0; i < call->count; i++)
        sum[i] += call->dtype == DTYPE_F32 ? ((float *)host)[i] : bf16_to_float(((bf16_t *)host)[i]);
    if (!all_here(4 * call->number + 3))
        goto out;
    for (int64_t i = 0; i < call->count; i++) {
        if (call->dtype == DTYPE_F32)
            ((float *)host)[i] = sum[i];
        else
            ((bf16_t *)host)[i] = bf16_from_float(sum[i]);
    }
    pthread_mutex_unlock(&meet.mutex);
    usleep((useconds_t)(meet.ms * 1e3));
    device->memory->upload(device->memory, STREAM_COMM, call->data, host, bytes);
    pthread_mutex_lock(&meet.mutex);
    all_here(4 * call->number + 4);
out:
    pthread_mutex_unlock(&meet.mutex);
    free(host);
    free(call);
}

static vt_status fake_all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    struct fake_comm *fake = (struct fake_comm *)comm;
    struct sum_call *call = malloc(sizeof *call);
    VT_CHECK(call && op == REDUCE_SUM);
    *call = (struct sum_call){comm->rank, data, count, fake->calls++, dtype};
    if (comm->rank == meet.refuse_rank && call->number == meet.refuse_at) {
        free(call);
        return VT_FAIL(VT_E_COMM, "the card says no");
    }
    async_enqueue(fake->be, STREAM_COMM, run_sum, call, 0);
    return VT_OK;
}
static vt_status fake_poll(struct comm *comm)
{
    pthread_mutex_lock(&meet.mutex);
    bool broken = meet.broken && comm->rank == 1;
    pthread_mutex_unlock(&meet.mutex);
    return broken ? VT_FAIL(VT_E_COMM, "the cable is cut") : VT_OK;
}
static void fake_abort(struct comm *comm)
{
    (void)comm;
    pthread_mutex_lock(&meet.mutex);
    meet.aborted = true;
    pthread_cond_broadcast(&meet.changed);
    pthread_mutex_unlock(&meet.mutex);
}
/* comm_agree over the world: all is well on all ranks. */
static vt_status world_all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    (void)comm, (void)data, (void)count, (void)dtype;
    VT_CHECK(op == REDUCE_MIN);
    return VT_OK;
}

struct rank_run {
    int rank, steps;
    int64_t bucket_bytes;
    enum dtype wire;
    double row_ms;          /* what a row's backward takes on the device */
    double timeout_s;
    double break_after_ms;  /* the comm breaks so long after the start; 0 = never */
    vt_status status;
    char message[512];
    int failed_step;
    bool sums_right;
    double host_ms, device_ms; /* until the last bucket_finish returned, and until the device was done */
    struct bucket_stats stats[STEPS];
};

static float value_at(int rank, int64_t i, int step) { return (float)((i + 5 * rank + step) % 13 - 6); }

static bool sums_are_right(const float *host, int step)
{
    for (int row = 0; row < table.count; row++) /* what lies between the rows is padding */
        for (int64_t i = table.rows[row].offset; i < table.rows[row].offset + table.rows[row].count; i++) {
            float expected = 0;
            for (int r = 0; r < RANKS; r++)
                expected += value_at(r, i, step);
            if (host[i] != expected)
                return false;
        }
    return true;
}

/* Enqueues a step whole: nothing between begin and finish waits for the device. host: [2][total]. */
static vt_status run_step(struct rank_run *run, struct backend *be, struct bucket_set *set, float *grads, float *in,
                          float *out, int step)
{
    size_t bytes = (size_t)table.total * sizeof(float);
    stage_set_step(FIRST_STEP + step);
    for (int64_t i = 0; i < table.total; i++)
        in[i] = value_at(run->rank, i, step);
    bucket_begin(set);
    for (int row = table.count - 1; row >= 0; row--) {
        async_work(be, STREAM_COMPUTE, run->row_ms);
        be->upload(be, STREAM_COMPUTE, grads + table.rows[row].offset, in + table.rows[row].offset,
                   (size_t)table.rows[row].count * sizeof(float));
        if (row > 0 && draw_below(1, 2, (uint64_t)step, (uint32_t)(row + 100 * run->rank), 3))
            bucket_grad_ready(set, table.rows[row].offset);
    }
    VT_TRY(bucket_finish(set, &run->stats[step]));
    be->download(be, STREAM_COMPUTE, out, grads, bytes);
    return VT_OK;
}

static void *run_rank(void *context)
{
    struct rank_run *run = context;
    struct comm world = {.name = "world", .rank = run->rank, .size = RANKS, .host = "fake", .all_reduce = world_all_reduce};
    struct fake_comm comm = {.base = {.name = "fake", .rank = run->rank, .size = RANKS, .all_reduce = fake_all_reduce,
                                      .poll = fake_poll, .abort = fake_abort, .device_memory = true}};
    struct backend *be = comm.be = async_device_open();
    struct bucket_set *set = NULL;
    void *grads = NULL;
    size_t total = (size_t)table.total;
    float *host = malloc(2 * STEPS * total * sizeof *host);
    stage_register(run->rank == 0 ? "main" : "other");
    VT_CHECK(host && be->alloc(be, MEMORY_DEVICE, total * sizeof(float), "gradients", &grads) == VT_OK);
    struct bucket_desc desc = {.table = &table, .bucket_bytes = run->bucket_bytes, .wire = run->wire, .grads = grads,
                               .device = &comm.base, .timeout_s = run->timeout_s};
    run->status = bucket_open(&desc, &world, be, &set);
    double start = clock_ms();
    for (int step = 0; step < run->steps && run->status == VT_OK; step++) {
        run->failed_step = step;
        run->status = run_step(run, be, set, grads, host + 2 * (size_t)step * total, host + (2 * (size_t)step + 1) * total,
                               step);
        if (run->break_after_ms > 0) {
            usleep((useconds_t)(run->break_after_ms * 1e3));
            pthread_mutex_lock(&meet.mutex);
            meet.broken = true;
            pthread_mutex_unlock(&meet.mutex);
        }
    }
    run->host_ms = clock_ms() - start;
    if (run->status == VT_OK && set)
        run->status = bucket_drain(set);
    snprintf(run->message, sizeof run->message, "%s", status_message());
    if (run->status != VT_OK)
        fake_abort(&comm.base); /* the job ends; nobody waits for this rank */
    VT_CHECK(be->synchronise(be) == VT_OK);
    run->device_ms = clock_ms() - start;
    run->sums_right = run->status == VT_OK;
    for (int step = 0; step < run->steps && run->sums_right; step++)
        run->sums_right = sums_are_right(host + (2 * (size_t)step + 1) * total, step);
    bucket_close(&set);
    be->release(be, MEMORY_DEVICE, grads);
    be->close(be);
    free(host);
    stage_unregister();
    return NULL;
}

/* Runs `like` on every rank; what meet says beyond the defaults was set by the caller. */
static void run_ranks(const struct rank_run *like, struct rank_run *runs)
{
    pthread_t threads[RANKS];
    meet.arrived = 0;
    meet.aborted = meet.broken = false;
    for (int r = 0; r < RANKS; r++) {
        runs[r] = *like;
        runs[r].rank = r;
        CU_ASSERT_FATAL(pthread_create(&threads[r], NULL, run_rank, &runs[r]) == 0);
    }
    for (int r = 0; r < RANKS; r++)
        pthread_join(threads[r], NULL);
}

static void defaults(double sum_ms)
{
    meet.ms = sum_ms;
    meet.absent_rank = meet.refuse_rank = -1;
    meet.absent_from = meet.refuse_at = 0;
}

static void sums_are_exact(void)
{
    static const int64_t sizes[] = {1, 8000, 1 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct rank_run runs[RANKS];
            defaults(0.5);
            run_ranks(&(struct rank_run){.steps = STEPS, .bucket_bytes = sizes[s], .wire = bf16 ? DTYPE_BF16 : DTYPE_F32,
                                         .row_ms = 0.3}, runs);
            for (int r = 0; r < RANKS; r++) {
                if (runs[r].status != VT_OK)
                    fprintf(stderr, "%s\n", runs[r].message);
                CU_ASSERT_EQUAL(runs[r].status, VT_OK);
                CU_ASSERT_TRUE(runs[r].sums_right);
                for (int step = 0; step < STEPS; step++)
                    CU_ASSERT_EQUAL(runs[r].stats[step].bytes, table.total * 4);
            }
        }
}

static void the_host_runs_ahead(void)
{
    struct rank_run runs[RANKS];
    defaults(20);
    run_ranks(&(struct rank_run){.steps = 1, .bucket_bytes = 8000, .wire = DTYPE_F32, .row_ms = 10}, runs);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL(runs[r].status, VT_OK);
        CU_ASSERT_TRUE(runs[r].sums_right);
        CU_ASSERT(runs[r].device_ms > 24 * 10);
        CU_ASSERT(runs[r].host_ms < runs[r].device_ms / 3);
    }
}

/* Times are those of the step before: none in the first, then what the events say. */
static void times_come_one_step_late(void)
{
    struct rank_run runs[RANKS];
    defaults(10);
    run_ranks(&(struct rank_run){.steps = 3, .bucket_bytes = 8000, .wire = DTYPE_F32, .row_ms = 8}, runs);
    for (int r = 0; r < RANKS; r++) {
        const struct bucket_stats *stats = runs[r].stats;
        CU_ASSERT_EQUAL_FATAL(runs[r].status, VT_OK);
        CU_ASSERT(stats[0].comm_ms == 0 && stats[0].exposed_ms == 0);
        /* 13 sums of >= 10 ms each, most of them beside 24 rows of 8 ms. */
        CU_ASSERT(stats[1].comm_ms >= 12 * 10);
        CU_ASSERT(stats[1].exposed_ms >= 10 && stats[1].exposed_ms < stats[1].comm_ms);
        for (int step = 0; step < 3; step++) /* all but the last bucket, and what was not said in time */
            CU_ASSERT(stats[step].early_fraction > 0.5 && stats[step].early_fraction < 1);
    }
    /* Nothing is hidden when all gradients are final at once. */
    run_ranks(&(struct rank_run){.steps = 3, .bucket_bytes = 8000, .wire = DTYPE_F32, .row_ms = 0}, runs);
    CU_ASSERT(runs[0].stats[2].exposed_ms > 0.7 * 10 * 12);
}

static void a_missing_rank_is_noticed(void)
{
    struct rank_run runs[RANKS];
    defaults(1);
    meet.absent_rank = 2;
    meet.absent_from = 13 + 4; /* 13 buckets a step */
    run_ranks(&(struct rank_run){.steps = STEPS, .bucket_bytes = 8000, .wire = DTYPE_F32, .timeout_s = 0.4}, runs);
    int named = 0; /* the first rank that gives up frees the others, who may not notice any more */
    for (int r = 0; r < RANKS; r++) {
        if (runs[r].status == VT_OK)
            continue;
        CU_ASSERT_EQUAL(runs[r].status, VT_E_COMM);
        CU_ASSERT_PTR_NOT_NULL(strstr(runs[r].message, "step 58: sum of gradient bucket 4 of 13"));
        CU_ASSERT_PTR_NOT_NULL(strstr(runs[r].message, "not done after 0."));
        named++;
    }
    CU_ASSERT(named >= 1);
}

/* The last step's failure shows when it is drained, before anyone could save what came of it. */
static void the_last_step_is_not_trusted_unseen(void)
{
    struct rank_run runs[RANKS];
    int named = 0;
    defaults(1);
    meet.absent_rank = 1;
    meet.absent_from = 13 + 12;
    run_ranks(&(struct rank_run){.steps = 2, .bucket_bytes = 8000, .wire = DTYPE_F32, .timeout_s = 0.4}, runs);
    for (int r = 0; r < RANKS; r++)
        named += runs[r].status == VT_E_COMM && strstr(runs[r].message, "step 58: sum of gradient bucket 12 of 13") != NULL;
    CU_ASSERT(named >= 1);
    CU_ASSERT_EQUAL(runs[0].failed_step, 1);
}

/* A step takes 3 s on the device, longer than the timeout; the ranks' own skew stays below it on a busy machine, too. */
static void a_slow_device_is_no_missing_rank(void)
{
    struct rank_run runs[RANKS];
    defaults(1);
    run_ranks(&(struct rank_run){.steps = 2, .bucket_bytes = 1 << 20, .wire = DTYPE_F32, .row_ms = 125, .timeout_s = 2}, runs);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL(runs[r].status, VT_OK);
        CU_ASSERT_TRUE(runs[r].sums_right);
    }
}

static void an_error_in_flight_is_named(void)
{
    struct rank_run runs[RANKS];
    defaults(1);
    meet.absent_rank = 0; /* nothing can finish, so the error is the only way out */
    run_ranks(&(struct rank_run){.steps = STEPS, .bucket_bytes = 8000, .wire = DTYPE_BF16, .break_after_ms = 100}, runs);
    CU_ASSERT_EQUAL(runs[1].status, VT_E_COMM);
    CU_ASSERT_PTR_NOT_NULL(strstr(runs[1].message, "rank 1 (host fake): step 57: sum of gradient bucket 0 of 13 (0.0 MB): the cable is cut"));
}

static void a_refused_call_is_named(void)
{
    struct rank_run runs[RANKS];
    defaults(1);
    meet.refuse_rank = 1;
    meet.refuse_at = 13 * 2 + 7;
    run_ranks(&(struct rank_run){.steps = STEPS, .bucket_bytes = 8000, .wire = DTYPE_F32}, runs);
    CU_ASSERT_EQUAL(runs[1].status, VT_E_COMM);
    CU_ASSERT_EQUAL(runs[1].failed_step, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(runs[1].message, "rank 1 (host fake): step 59: sum of gradient bucket 7 of 13"));
    CU_ASSERT_PTR_NOT_NULL(strstr(runs[1].message, "the card says no"));
}

static const struct test_case cases[] = {
    {"sums are exact at any bucket size and wire", sums_are_exact},
    {"the host runs ahead of the device", the_host_runs_ahead},
    {"times come one step late", times_come_one_step_late},
    {"a missing rank is noticed", a_missing_rank_is_noticed},
    {"the last step is not trusted unseen", the_last_step_is_not_trusted_unseen},
    {"a slow device is no missing rank", a_slow_device_is_no_missing_rank},
    {"an error in flight is named", an_error_in_flight_is_named},
    {"a refused call is named", a_refused_call_is_named},
};

int main(void)
{
    for (int i = 0; i < ROWS; i++) {
        struct param row = {.rank = 1, .dim = {ROW}};
        snprintf(row.name, sizeof row.name, "row.%d", i);
        param_table_add(&table, &row);
    }
    pthread_mutex_init(&meet.mutex, NULL);
    pthread_cond_init(&meet.changed, NULL);
    meet.sum = malloc((size_t)table.total * sizeof *meet.sum);
    int failed = run_tests("bucket device", cases, (int)(sizeof cases / sizeof *cases));
    free(meet.sum);
    param_table_close(&table);
    return failed;
}
