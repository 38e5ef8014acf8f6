/* comm/nccl over a library that plays NCCL on the host (fake_nccl.c): what each call asks of NCCL, non-blocking calls that take
 * their time, and failures with their messages. Ranks are threads. */
#include <dlfcn.h>
#include <unistd.h>

#include "backend/cuda/cuda.h"
#include "comm/comm.h"
#include "fake_nccl.h"
#include "test.h"
#include "thread_meeting.h"

enum { RANKS = 3 };

static struct fake_nccl *fake;
static void (*set_version)(int);
static struct meeting meeting;
static char stream_stands_here;

void cuda_bind(const struct cuda_backend *cuda) { (void)cuda; }

/* ---- the world: host collectives between the threads ---- */
static vt_status world_all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    VT_CHECK(dtype == DTYPE_I32 && op == REDUCE_MIN && count == 1); /* what comm_agree needs */
    int32_t least = *(int32_t *)data, own = least;
    meeting_show(&meeting, comm->rank, &own);
    for (int r = 0; r < comm->size; r++)
        least = *(const int32_t *)meeting.given[r] < least ? *(const int32_t *)meeting.given[r] : least;
    meeting_wait(&meeting);
    *(int32_t *)data = least;
    return VT_OK;
}
static vt_status world_broadcast(struct comm *comm, void *data, int64_t bytes, int root)
{
    meeting_show(&meeting, comm->rank, data);
    if (comm->rank != root)
        memcpy(data, meeting.given[root], (size_t)bytes);
    meeting_wait(&meeting);
    return VT_OK;
}
static vt_status world_barrier(struct comm *comm)
{
    (void)comm;
    meeting_wait(&meeting);
    return VT_OK;
}

/* ---- a backend of which only events are used ---- */
static struct event *event_new(struct backend *be)
{
    (void)be;
    return malloc(1);
}
static void event_free(struct backend *be, struct event *event)
{
    (void)be;
    free(event);
}
static void event_record(struct backend *be, enum stream stream, struct event *event)
{
    (void)be, (void)event;
    VT_CHECK(stream == STREAM_COMM);
}
static vt_status event_wait(struct backend *be, struct event *event)
{
    (void)be, (void)event;
    return VT_OK;
}

struct rank {
    int rank;
    struct comm world, *comm;
    struct cuda_backend cuda;
    void (*body)(struct rank *rank);
    vt_status status;
    char message[VT_MESSAGE_BYTES];
    int wrong; /* elements */
};

static void *run_rank(void *context)
{
    struct rank *rank = context;
    rank->world = (struct comm){.name = "world", .rank = rank->rank, .size = RANKS, .all_reduce = world_all_reduce,
                                .broadcast = world_broadcast, .barrier = world_barrier};
    snprintf(rank->world.host, sizeof rank->world.host, "node%d", rank->rank);
    rank->cuda.base = (struct backend){.name = "cuda", .event_new = event_new, .event_free = event_free,
                                       .event_record = event_record, .event_wait = event_wait};
    rank->cuda.streams[STREAM_COMM] = (struct CUstream_st *)(void *)&stream_stands_here;
    rank->body(rank);
    return NULL;
}

static void run_ranks(void (*body)(struct rank *), struct rank *ranks)
{
    pthread_t threads[RANKS];
    memset(ranks, 0, RANKS * sizeof *ranks);
    for (int r = 0; r < RANKS; r++) {
        ranks[r].rank = r;
        ranks[r].body = body;
        CU_ASSERT_FATAL(pthread_create(&threads[r], NULL, run_rank, &ranks[r]) == 0);
    }
    for (int r = 0; r < RANKS; r++)
        pthread_join(threads[r], NULL);
}

static void keep(struct rank *rank, vt_status status)
{
    rank->status = status;
    snprintf(rank->message, sizeof rank->message, "%s", status_message());
}

static void fresh(int progress_polls)
{
    *fake = (struct fake_nccl){.ranks = RANKS, .broken_rank = -1, .progress_polls = progress_polls,
                               .stream = &stream_stands_here};
}

static bool opened(struct rank *rank)
{
    keep(rank, comm_nccl_open(&rank->world, &rank->cuda.base, &rank->comm));
    return rank->status == VT_OK;
}

/* ---- what travels ---- */
static float value(int rank, int64_t i) { return (float)((i + 7 * rank) % 11 - 5); }

static void check_reduce(struct rank *rank)
{
    float f[100];
    double d[100];
    int64_t n[100];
    bf16_t h[100];
    for (int i = 0; i < 100; i++) {
        f[i] = value(rank->rank, i);
        d[i] = (double)f[i];
        n[i] = (int64_t)f[i] + ((int64_t)1 << 40);
        h[i] = bf16_from_float(f[i]);
    }
    struct comm *comm = rank->comm;
    keep(rank, comm->all_reduce(comm, f, 100, DTYPE_F32, REDUCE_SUM));
    if (rank->status == VT_OK)
        keep(rank, comm->all_reduce(comm, d, 100, DTYPE_F64, REDUCE_MAX));
    if (rank->status == VT_OK)
        keep(rank, comm->all_reduce(comm, n, 100, DTYPE_I64, REDUCE_MIN));
    if (rank->status == VT_OK)
        keep(rank, comm->all_reduce(comm, h, 100, DTYPE_BF16, REDUCE_SUM));
    for (int i = 0; i < 100; i++) {
        float sum = 0, max = -99, min = 99;
        for (int r = 0; r < RANKS; r++) {
            float v = value(r, i);
            sum += v;
            max = v > max ? v : max;
            min = v < min ? v : min;
        }
        rank->wrong += f[i] != sum || d[i] != (double)max || n[i] != (int64_t)min + ((int64_t)1 << 40) ||
                       bf16_to_float(h[i]) != sum;
    }
}

static void check_ranges(struct rank *rank, const int64_t *begin)
{
    float data[128];
    struct comm *comm = rank->comm;
    int r = rank->rank;
    for (int i = 0; i < 128; i++)
        data[i] = value(r, i);
    keep(rank, comm->reduce_scatter(comm, data, begin, DTYPE_F32));
    for (int64_t i = begin[r]; i < begin[r + 1]; i++)
        rank->wrong += data[i] != value(0, i) + value(1, i) + value(2, i);
    for (int i = 0; i < 128; i++)
        data[i] = i >= begin[r] && i < begin[r + 1] ? (float)(1000 + i) : 0;
    if (rank->status == VT_OK)
        keep(rank, comm->all_gather(comm, data, begin, DTYPE_F32));
    for (int i = 0; i < 128; i++)
        rank->wrong += data[i] != (i >= begin[0] && i < begin[RANKS] ? (float)(1000 + i) : 0);
}

static void everything(struct rank *rank)
{
    static const int64_t even[] = {3, 33, 63, 93}, uneven[] = {1, 1, 40, 128};
    char text[64] = "";
    if (!opened(rank))
        return;
    VT_CHECK(rank->comm->device_memory && rank->comm->rank == rank->rank && rank->comm->size == RANKS);
    check_reduce(rank);
    if (rank->status == VT_OK)
        check_ranges(rank, even);
    if (rank->status == VT_OK)
        check_ranges(rank, uneven);
    if (rank->rank == 2)
        snprintf(text, sizeof text, "from rank 2");
    if (rank->status == VT_OK)
        keep(rank, rank->comm->broadcast(rank->comm, text, sizeof text, 2));
    rank->wrong += strcmp(text, "from rank 2") != 0;
    if (rank->status == VT_OK)
        keep(rank, rank->comm->barrier(rank->comm));
    if (rank->status == VT_OK)
        keep(rank, rank->comm->poll(rank->comm));
    rank->comm->close(rank->comm);
}

static void collectives_are_right(void)
{
    for (int polls = 0; polls < 500; polls += 166) { /* 0: at once; the last ones pass the spinning */
        struct rank ranks[RANKS];
        fresh(polls);
        run_ranks(everything, ranks);
        for (int r = 0; r < RANKS; r++) {
            if (ranks[r].status != VT_OK)
                fprintf(stderr, "%s\n", ranks[r].message);
            CU_ASSERT_EQUAL(ranks[r].status, VT_OK);
            CU_ASSERT_EQUAL(ranks[r].wrong, 0);
        }
        CU_ASSERT_EQUAL(fake->natives, RANKS * (4 + 2 + 1)); /* uneven ranges go by groups */
        CU_ASSERT_EQUAL(fake->groups, RANKS * 2);
        CU_ASSERT_EQUAL(fake->finalized, RANKS);
        CU_ASSERT_EQUAL(fake->destroyed, RANKS);
        CU_ASSERT_EQUAL(fake->aborted, 0);
    }
}

static void refuse_types(struct rank *rank)
{
    float data[4] = {0};
    if (!opened(rank))
        return;
    keep(rank, rank->comm->all_reduce(rank->comm, data, 4, DTYPE_BF16, REDUCE_MAX));
    rank->comm->close(rank->comm);
}

static void what_cannot_be_summed_is_refused(void)
{
    struct rank ranks[RANKS];
    fresh(0);
    run_ranks(refuse_types, ranks);
    CU_ASSERT_EQUAL(ranks[0].status, VT_E_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(ranks[0].message, "nccl: no max or min of bf16"));
}

/* ---- failures ---- */
static void meet_refusal(struct rank *rank)
{
    float data[4] = {0};
    if (!opened(rank))
        return;
    meeting_wait(&meeting);
    fake->refuse_calls = 1;
    keep(rank, rank->comm->all_reduce(rank->comm, data, 4, DTYPE_F32, REDUCE_SUM));
    meeting_wait(&meeting);
    rank->comm->abort(rank->comm);
    VT_CHECK(rank->comm->poll(rank->comm) == VT_OK); /* nothing left to fail */
    vt_status after = rank->comm->all_reduce(rank->comm, data, 4, DTYPE_F32, REDUCE_SUM);
    VT_CHECK(after == VT_E_COMM && strstr(status_message(), "after the communicator was aborted"));
    rank->comm->close(rank->comm);
}

static void a_refusal_is_explained(void)
{
    struct rank ranks[RANKS];
    fresh(2);
    run_ranks(meet_refusal, ranks);
    for (int r = 0; r < RANKS; r++) {
        char expected[160];
        snprintf(expected, sizeof expected, "rank %d (host node%d): NCCL all-reduce failed: internal error: the fake's last words", r, r);
        CU_ASSERT_EQUAL(ranks[r].status, VT_E_COMM);
        CU_ASSERT_STRING_EQUAL(ranks[r].message, expected);
    }
    CU_ASSERT_EQUAL(fake->aborted, RANKS); /* and not destroyed once more */
    CU_ASSERT_EQUAL(fake->destroyed, 0);
}

static void poll_broken(struct rank *rank)
{
    if (!opened(rank))
        return;
    meeting_wait(&meeting);
    fake->broken_rank = 1;
    keep(rank, rank->comm->poll(rank->comm));
    meeting_wait(&meeting);
    rank->comm->abort(rank->comm);
    rank->comm->close(rank->comm);
}

static void an_error_in_flight_is_polled(void)
{
    struct rank ranks[RANKS];
    fresh(0);
    run_ranks(poll_broken, ranks);
    CU_ASSERT_EQUAL(ranks[0].status, VT_OK);
    CU_ASSERT_EQUAL(ranks[1].status, VT_E_COMM);
    CU_ASSERT_PTR_NOT_NULL(strstr(ranks[1].message, "rank 1 (host node1): NCCL communication failed: remote process exited"));
}

static void *abort_later(void *context)
{
    struct comm *comm = context;
    usleep(100000);
    comm->abort(comm);
    return NULL;
}

static void wait_for_ever(struct rank *rank)
{
    float data[4] = {0};
    pthread_t other;
    if (!opened(rank))
        return;
    meeting_wait(&meeting);
    fake->progress_polls = -1;
    VT_CHECK(pthread_create(&other, NULL, abort_later, rank->comm) == 0);
    VT_CHECK(rank->comm->poll(rank->comm) == VT_OK);
    keep(rank, rank->comm->all_reduce(rank->comm, data, 4, DTYPE_F32, REDUCE_SUM));
    pthread_join(other, NULL);
    rank->comm->close(rank->comm);
}

static void abort_frees_a_call_under_way(void)
{
    struct rank ranks[RANKS];
    fresh(1);
    run_ranks(wait_for_ever, ranks);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL(ranks[r].status, VT_E_COMM);
        CU_ASSERT_PTR_NOT_NULL(strstr(ranks[r].message, "NCCL all-reduce was given up"));
    }
}

static void wait_inside(struct rank *rank)
{
    float data[4] = {0};
    pthread_t other;
    if (!opened(rank))
        return;
    meeting_wait(&meeting);
    fake->stuck = 1;
    VT_CHECK(pthread_create(&other, NULL, abort_later, rank->comm) == 0);
    keep(rank, rank->comm->all_reduce(rank->comm, data, 4, DTYPE_F32, REDUCE_SUM));
    pthread_join(other, NULL);
    VT_CHECK(rank->comm->poll(rank->comm) == VT_OK); /* nor is the handle used again */
    rank->comm->close(rank->comm);
}

/* The call holds the mutex and comes back only by the abort. */
static void abort_frees_a_call_that_does_not_return(void)
{
    struct rank ranks[RANKS];
    fresh(1);
    run_ranks(wait_inside, ranks);
    for (int r = 0; r < RANKS; r++) {
        char expected[160];
        snprintf(expected, sizeof expected, "rank %d (host node%d): NCCL all-reduce failed: internal error", r, r);
        CU_ASSERT_EQUAL(ranks[r].status, VT_E_COMM);
        CU_ASSERT_STRING_EQUAL(ranks[r].message, expected); /* its last words went with the handle */
    }
    CU_ASSERT_EQUAL(fake->aborted, RANKS);
    CU_ASSERT_EQUAL(fake->finalized + fake->destroyed, 0);
}

static void only_open(struct rank *rank)
{
    if (set_version && rank->rank == 1)
        set_version(23001);
    if (opened(rank))
        rank->comm->close(rank->comm);
}

static void versions_must_agree(void)
{
    struct rank ranks[RANKS];
    fresh(0);
    run_ranks(only_open, ranks);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_NOT_EQUAL(ranks[r].status, VT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(ranks[r].message, "rank 1 (host node1) has NCCL 23001, rank 0 has 22809"));
    }
}

static void a_missing_library_is_said(void)
{
    struct rank ranks[RANKS];
    fresh(0);
    setenv("VITRAIL_NCCL", "/nowhere/libnccl.so.2", 1);
    run_ranks(only_open, ranks);
    CU_ASSERT_PTR_NOT_NULL(strstr(ranks[0].message, "cannot load NCCL: /nowhere/libnccl.so.2"));
    setenv("VITRAIL_NCCL", "libm.so.6", 1);
    run_ranks(only_open, ranks);
    CU_ASSERT_PTR_NOT_NULL(strstr(ranks[2].message, "libm.so.6 has no ncclGetVersion"));
    setenv("VITRAIL_NCCL", FAKE_NCCL, 1);
}

/* NCCL itself, where it is installed and there is no GPU: it loads, gives an id, and its refusal is passed on. */
static void the_real_library_refuses_without_a_gpu(void)
{
    struct rank ranks[RANKS];
    void *real = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!real || access("/dev/nvidiactl", F_OK) == 0) {
        printf("(%s) ", real ? "there is a GPU" : "no NCCL here");
        return;
    }
    set_version = NULL;
    setenv("NCCL_SOCKET_IFNAME", "lo", 1);
    setenv("VITRAIL_NCCL", "libnccl.so.2", 1);
    run_ranks(only_open, ranks);
    for (int r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL(ranks[r].status, VT_E_COMM);
        CU_ASSERT_PTR_NOT_NULL(strstr(ranks[r].message, "NCCL start failed: "));
    }
    setenv("VITRAIL_NCCL", FAKE_NCCL, 1);
}

static const struct test_case cases[] = {
    {"collectives are right, at once and in progress", collectives_are_right},
    {"what cannot be summed is refused", what_cannot_be_summed_is_refused},
    {"a refusal is explained", a_refusal_is_explained},
    {"an error in flight is polled", an_error_in_flight_is_polled},
    {"abort frees a call under way", abort_frees_a_call_under_way},
    {"abort frees a call that does not return", abort_frees_a_call_that_does_not_return},
    {"versions must agree", versions_must_agree},
    {"a missing library is said", a_missing_library_is_said},
    {"the real library refuses without a GPU", the_real_library_refuses_without_a_gpu},
};

int main(void)
{
    void *library = dlopen(FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
    VT_CHECK(library);
    fake = dlsym(library, "fake_nccl");
    void *function = dlsym(library, "fake_nccl_version");
    memcpy(&set_version, &function, sizeof set_version);
    VT_CHECK(fake && set_version);
    setenv("VITRAIL_NCCL", FAKE_NCCL, 1);
    meeting_open(&meeting, RANKS);
    return run_tests("comm/nccl", cases, (int)(sizeof cases / sizeof *cases));
}
