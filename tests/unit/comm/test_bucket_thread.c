/* Two ranks as two threads of one process, over a comm made for it: the bucket thread without MPI, for fault injection
 * and for the thread sanitizer. */
#include <pthread.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/check.h"
#include "comm/bucket.h"
#include "test.h"

enum { RANKS = 2 };

struct meeting { /* shared by both ranks' ends of one communicator */
    pthread_barrier_t barrier;
    float *data[RANKS];
    int calls_left; /* before all-reduces fail; negative = never */
};
struct pair_comm {
    struct comm base;
    struct meeting *meeting;
};

static struct meeting meeting;
static struct param_table table;

static vt_status pair_all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    struct meeting *m = ((struct pair_comm *)comm)->meeting;
    if (op == REDUCE_MIN)
        return VT_OK; /* comm_agree: all is well on both ranks */
    if (m->calls_left == 0)
        return VT_FAIL(VT_E_COMM, "the cable of rank %d is cut", comm->rank);
    m->data[comm->rank] = data;
    pthread_barrier_wait(&m->barrier);
    if (comm->rank == 0) {
        VT_CHECK(dtype == DTYPE_F32 && op == REDUCE_SUM);
        for (int64_t i = 0; i < count; i++)
            m->data[0][i] = m->data[1][i] = m->data[0][i] + m->data[1][i];
        if (m->calls_left > 0)
            m->calls_left--;
    }
    pthread_barrier_wait(&m->barrier);
    usleep(2000);
    return VT_OK;
}

static void pair_close(struct comm *comm) { free(comm); }

static vt_status pair_duplicate(struct comm *comm, struct comm **out)
{
    struct pair_comm *twin = malloc(sizeof *twin);
    *twin = *(struct pair_comm *)comm;
    *out = &twin->base;
    return VT_OK;
}

struct rank_run {
    int rank, steps;
    bool strict;
    vt_status status;
    char message[256];
    struct bucket_stats stats;
    bool sums_right;
};

static bool sums_are_right(const float *host, int step)
{
    for (int row = 0; row < table.count; row++)
        for (int64_t i = table.rows[row].offset; i < table.rows[row].offset + table.rows[row].count; i++)
            if (host[i] != (float)(2 * (i % 50) + 1 + 2 * step))
                return false;
    return true;
}

static vt_status run_step(struct rank_run *run, struct backend *be, struct bucket_set *set, float *grads, float *host,
                          int step)
{
    size_t bytes = (size_t)table.total * sizeof(float);
    for (int64_t i = 0; i < table.total; i++)
        host[i] = (float)(i % 50 + run->rank + step);
    be->upload(be, STREAM_COMPUTE, grads, host, bytes);
    bucket_begin(set);
    for (int row = table.count - 1; row >= 0; row--) {
        usleep(1000);
        bucket_grad_ready(set, table.rows[row].offset);
    }
    VT_TRY(bucket_finish(set, &run->stats));
    be->download(be, STREAM_COMPUTE, host, grads, bytes);
    VT_TRY(be->synchronise(be));
    run->sums_right = run->sums_right && sums_are_right(host, step);
    return VT_OK;
}

static void *run_rank(void *context)
{
    struct rank_run *run = context;
    struct pair_comm comm = {.base = {.name = "pair", .rank = run->rank, .size = RANKS, .all_reduce = pair_all_reduce,
                                      .duplicate = pair_duplicate, .close = pair_close}, .meeting = &meeting};
    struct backend_desc be_desc = {.threads = 1, .strict = run->strict};
    struct backend *be = NULL;
    struct bucket_set *set = NULL;
    void *grads = NULL;
    float *host = malloc((size_t)table.total * sizeof *host);
    run->sums_right = true;
    VT_CHECK(backend_ref_open(&be_desc, &be) == VT_OK);
    VT_CHECK(be->alloc(be, MEMORY_DEVICE, (size_t)table.total * sizeof(float), "gradients", &grads) == VT_OK);
    struct bucket_desc desc = {.table = &table, .bucket_bytes = 8000, .wire = DTYPE_F32, .grads = grads};
    run->status = bucket_open(&desc, &comm.base, be, &set);
    for (int step = 0; step < run->steps && run->status == VT_OK; step++)
        run->status = run_step(run, be, set, grads, host, step);
    snprintf(run->message, sizeof run->message, "%s", status_message());
    bucket_close(&set);
    be->release(be, MEMORY_DEVICE, grads);
    be->close(be);
    free(host);
    return NULL;
}

static void run_pair(struct rank_run *runs, int steps, bool strict, int calls_left)
{
    pthread_t threads[RANKS];
    meeting.calls_left = calls_left;
    pthread_barrier_init(&meeting.barrier, NULL, RANKS);
    for (int r = 0; r < RANKS; r++) {
        runs[r] = (struct rank_run){.rank = r, .steps = steps, .strict = strict};
        CU_ASSERT_FATAL(pthread_create(&threads[r], NULL, run_rank, &runs[r]) == 0);
    }
    for (int r = 0; r < RANKS; r++)
        pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&meeting.barrier);
}

static void sums_overlap_backward(void)
{
    for (int strict = 0; strict < 2; strict++) {
        struct rank_run runs[RANKS];
        run_pair(runs, 5, strict, -1);
        for (int r = 0; r < RANKS; r++) {
            CU_ASSERT_EQUAL(runs[r].status, VT_OK);
            CU_ASSERT_TRUE(runs[r].sums_right);
            CU_ASSERT_EQUAL(runs[r].stats.bytes, table.total * 4);
            /* All but the last bucket, which holds the first row, were on their way before backward ended. */
            CU_ASSERT(runs[r].stats.early_fraction > 0.8 && runs[r].stats.early_fraction < 1);
            /* 12 all-reduces of >= 2 ms, most of it beside the 20 ms of backward. */
            CU_ASSERT(runs[r].stats.comm_ms >= 2 * 10);
            CU_ASSERT(runs[r].stats.exposed_ms < runs[r].stats.comm_ms);
        }
    }
}

static void a_failure_reaches_finish(void)
{
    struct rank_run runs[RANKS];
    run_pair(runs, 5, false, 15);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL(runs[r].status, VT_E_COMM);
        CU_ASSERT_PTR_NOT_NULL(strstr(runs[r].message, "is cut"));
    }
}

static void one_rank_does_nothing(void)
{
    struct comm comm = {.name = "self", .size = 1};
    struct bucket_set *set = NULL;
    struct bucket_stats stats;
    struct bucket_desc desc = {.table = &table, .bucket_bytes = 8000, .wire = DTYPE_F32};
    ASSERT_OK(bucket_open(&desc, &comm, NULL, &set));
    bucket_begin(set);
    bucket_grad_ready(set, 0);
    ASSERT_OK(bucket_finish(set, &stats));
    CU_ASSERT(stats.bytes == 0 && stats.comm_ms == 0);
    bucket_close(&set);
    bucket_close(&set);
}

static const struct test_case cases[] = {
    {"sums overlap backward", sums_overlap_backward},
    {"a failure reaches finish", a_failure_reaches_finish},
    {"one rank does nothing", one_rank_does_nothing},
};

int main(void)
{
    for (int i = 0; i < 24; i++) {
        struct param row = {.rank = 1, .dim = {1000}};
        snprintf(row.name, sizeof row.name, "row.%d", i);
        param_table_add(&table, &row);
    }
    int failed = run_tests("bucket thread", cases, (int)(sizeof cases / sizeof *cases));
    param_table_close(&table);
    return failed;
}
