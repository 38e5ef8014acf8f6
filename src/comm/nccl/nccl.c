/* The comm table over NCCL, on device memory. Every call enqueues on the backend's STREAM_COMM and returns. Communicators
 * are non-blocking: NCCL answers "in progress" while it connects or launches, and is asked again until it is done, fails, or
 * is aborted, so that a dead peer never holds this rank inside a call. Sums are NCCL's: their order depends on the ranks
 * and their topology, and bf16 sums may round at every hop. */
#pragma GCC diagnostic push /* f() for f(void) in the vendor's header */
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <nccl.h>
#pragma GCC diagnostic pop

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cuda/cuda.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "comm/comm.h"
#include "comm/nccl/library.h"

enum {
    VERSION_NEEDED = 21800,
    VERSION_ADVISED = 22809,
    MAX_CTAS = 16, /* thread blocks NCCL may take from the matrix products beside it; NCCL_MAX_CTAS overrides */
    SPIN_POLLS = 200,
    POLL_US = 50
};
/* The first calls connect to peers, which takes a while in a large job. Inside a step the buckets find a hang sooner. */
static const double CALL_SECONDS = 300, CLOSE_SECONDS = 20, ABORT_SECONDS = 1;

/* What is used of the library. */
static struct {
    __typeof__(ncclGetVersion) *GetVersion;
    __typeof__(ncclGetUniqueId) *GetUniqueId;
    __typeof__(ncclGetErrorString) *GetErrorString;
    __typeof__(ncclGetLastError) *GetLastError;
    __typeof__(ncclCommInitRankConfig) *CommInitRankConfig;
    __typeof__(ncclCommGetAsyncError) *CommGetAsyncError;
    __typeof__(ncclCommFinalize) *CommFinalize;
    __typeof__(ncclCommDestroy) *CommDestroy;
    __typeof__(ncclCommAbort) *CommAbort;
    __typeof__(ncclAllReduce) *AllReduce;
    __typeof__(ncclReduceScatter) *ReduceScatter;
    __typeof__(ncclAllGather) *AllGather;
    __typeof__(ncclReduce) *Reduce;
    __typeof__(ncclBroadcast) *Broadcast;
    __typeof__(ncclGroupStart) *GroupStart;
    __typeof__(ncclGroupEnd) *GroupEnd;
} nccl;

struct nccl_comm {
    struct comm base;
    struct comm *world;     /* borrowed; host memory */
    struct backend *be;     /* borrowed */
    cudaStream_t stream;
    struct event *drained;  /* for barrier */
    atomic_bool aborting;   /* asks a call under way to give up */
    atomic_bool gone;       /* the handle was aborted, and must not be used */
    pthread_mutex_t mutex;  /* one NCCL call at a time, but for an abort of one that does not return */
    ncclComm_t handle;      /* NULL: not opened */
};

static struct nccl_comm *of(struct comm *comm) { return (struct nccl_comm *)comm; }

static vt_status load(int *version)
{
#define SYMBOL(name) {"nccl" #name, &nccl.name}
    const struct nccl_symbol symbols[] = {
        SYMBOL(GetVersion), SYMBOL(GetUniqueId), SYMBOL(GetErrorString), SYMBOL(GetLastError), SYMBOL(CommInitRankConfig),
        SYMBOL(CommGetAsyncError), SYMBOL(CommFinalize), SYMBOL(CommDestroy), SYMBOL(CommAbort), SYMBOL(AllReduce),
        SYMBOL(ReduceScatter), SYMBOL(AllGather), SYMBOL(Reduce), SYMBOL(Broadcast), SYMBOL(GroupStart), SYMBOL(GroupEnd)};
#undef SYMBOL
    VT_TRY(nccl_library_load(symbols, (int)(sizeof symbols / sizeof *symbols)));
    if (nccl.GetVersion(version) != ncclSuccess || *version < VERSION_NEEDED)
        return VT_FAIL(VT_E_UNSUPPORTED, "NCCL says version %d, expected 2.18 or newer", *version);
    return VT_OK;
}

int comm_nccl_version(void)
{
    int version = 0;
    return load(&version) == VT_OK ? version : 0;
}

/* ---- results ---- */
static vt_status explain(struct nccl_comm *self, ncclResult_t result, const char *what)
{
    const char *detail = self->handle && !atomic_load(&self->aborting) ? nccl.GetLastError(self->handle) : "";
    return VT_FAIL(VT_E_COMM, "rank %d (host %s): NCCL %s failed: %s%s%.600s", self->base.rank, self->base.host, what,
                   nccl.GetErrorString(result), detail && *detail ? ": " : "", detail ? detail : "");
}

static void pause_us(long us)
{
    const struct timespec pause = {.tv_nsec = us * 1000};
    nanosleep(&pause, NULL);
}

/* Ask until the call is no longer in progress. The mutex is held. */
static vt_status settle(struct nccl_comm *self, ncclResult_t result, const char *what, double seconds)
{
    double start = clock_ms();
    for (int polls = 0; result == ncclInProgress; polls++) {
        if (atomic_load(&self->aborting))
            return VT_FAIL(VT_E_COMM, "rank %d (host %s): NCCL %s was given up", self->base.rank, self->base.host, what);
        if (clock_ms() - start > seconds * 1e3)
            return VT_FAIL(VT_E_COMM, "rank %d (host %s): NCCL %s is in progress for %.0f s: some rank does not take part",
                           self->base.rank, self->base.host, what, seconds);
        if (polls > SPIN_POLLS)
            pause_us(POLL_US);
        ncclResult_t asked = nccl.CommGetAsyncError(self->handle, &result);
        if (asked != ncclSuccess)
            result = asked;
    }
    return result == ncclSuccess ? VT_OK : explain(self, result, what);
}

/* Around every collective: the calling thread shows as being in one, no call is made on an aborted communicator. */
static vt_status enter(struct nccl_comm *self, const char *what, enum stage *before)
{
    *before = stage_enter(STAGE_COMM);
    pthread_mutex_lock(&self->mutex);
    if (self->handle && !atomic_load(&self->aborting))
        return VT_OK;
    return VT_FAIL(VT_E_COMM, "rank %d (host %s): NCCL %s after the communicator was aborted", self->base.rank,
                   self->base.host, what);
}
static void leave(struct nccl_comm *self, enum stage before)
{
    pthread_mutex_unlock(&self->mutex);
    stage_enter(before);
}
#define ENQUEUE(self, status, what, call)                                                                              \
    do {                                                                                                               \
        enum stage enqueue_before_;                                                                                    \
        status = enter(self, what, &enqueue_before_);                                                                  \
        if (status == VT_OK)                                                                                           \
            status = settle(self, call, what, CALL_SECONDS);                                                           \
        leave(self, enqueue_before_);                                                                                  \
    } while (0)

/* ---- the table ---- */
static vt_status type_of(enum dtype dtype, ncclDataType_t *out)
{
    switch (dtype) {
    case DTYPE_F32: *out = ncclFloat32; return VT_OK;
    case DTYPE_F64: *out = ncclFloat64; return VT_OK;
    case DTYPE_I32: *out = ncclInt32; return VT_OK;
    case DTYPE_I64: *out = ncclInt64; return VT_OK;
    case DTYPE_BF16: *out = ncclBfloat16; return VT_OK;
    case DTYPE_U8: *out = ncclUint8; return VT_OK;
    default: return VT_FAIL(VT_E_UNSUPPORTED, "nccl: dtype %s does not travel", dtype_name(dtype));
    }
}

static vt_status all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    struct nccl_comm *self = of(comm);
    ncclDataType_t type = ncclUint8;
    vt_status status;
    VT_TRY(type_of(dtype, &type));
    if (dtype == DTYPE_U8 || (dtype == DTYPE_BF16 && op != REDUCE_SUM))
        return VT_FAIL(VT_E_UNSUPPORTED, "nccl: no %s of %s", op == REDUCE_SUM ? "sum" : "max or min", dtype_name(dtype));
    ncclRedOp_t reduce = op == REDUCE_SUM ? ncclSum : op == REDUCE_MAX ? ncclMax : ncclMin;
    if (count == 0)
        return VT_OK;
    ENQUEUE(self, status, "all-reduce", nccl.AllReduce(data, data, (size_t)count, type, reduce, self->handle, self->stream));
    return status;
}

/* All ranges the same size: NCCL's own collective. Else one reduction or broadcast per range, as one group. */
static bool even(const struct comm *comm, const int64_t *begin)
{
    for (int r = 0; r < comm->size; r++) {
        VT_CHECKF(begin[r] <= begin[r + 1], "range %d is negative", r);
        if (begin[r + 1] - begin[r] != begin[1] - begin[0])
            return false;
    }
    return true;
}

/* The first failure of a group's calls, whose end is called in any case. */
static ncclResult_t grouped(struct nccl_comm *self, char *data, const int64_t *begin, ncclDataType_t type, size_t bytes,
                            bool reduce)
{
    ncclResult_t first = nccl.GroupStart();
    for (int r = 0; r < self->base.size && (first == ncclSuccess || first == ncclInProgress); r++) {
        char *range = data + (size_t)begin[r] * bytes;
        size_t count = (size_t)(begin[r + 1] - begin[r]);
        if (!count)
            continue;
        first = reduce ? nccl.Reduce(range, range, count, type, ncclSum, r, self->handle, self->stream)
                       : nccl.Broadcast(range, range, count, type, r, self->handle, self->stream);
    }
    ncclResult_t last = nccl.GroupEnd();
    return first == ncclSuccess || first == ncclInProgress ? last : first;
}

static vt_status reduce_scatter(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype)
{
    struct nccl_comm *self = of(comm);
    size_t bytes = dtype_bytes(dtype);
    ncclDataType_t type = ncclUint8;
    vt_status status;
    VT_TRY(type_of(dtype, &type));
    if (dtype == DTYPE_U8)
        return VT_FAIL(VT_E_UNSUPPORTED, "nccl: no sum of u8");
    if (even(comm, begin)) {
        char *all = (char *)data + (size_t)begin[0] * bytes, *own = (char *)data + (size_t)begin[comm->rank] * bytes;
        size_t count = (size_t)(begin[1] - begin[0]);
        ENQUEUE(self, status, "reduce-scatter",
                nccl.ReduceScatter(all, own, count, type, ncclSum, self->handle, self->stream));
    } else {
        ENQUEUE(self, status, "reduce-scatter", grouped(self, data, begin, type, bytes, true));
    }
    return status;
}

static vt_status all_gather(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype)
{
    struct nccl_comm *self = of(comm);
    size_t bytes = dtype_bytes(dtype);
    ncclDataType_t type = ncclUint8;
    vt_status status;
    VT_TRY(type_of(dtype, &type));
    if (even(comm, begin)) {
        char *all = (char *)data + (size_t)begin[0] * bytes, *own = (char *)data + (size_t)begin[comm->rank] * bytes;
        size_t count = (size_t)(begin[1] - begin[0]);
        ENQUEUE(self, status, "all-gather", nccl.AllGather(own, all, count, type, self->handle, self->stream));
    } else {
        ENQUEUE(self, status, "all-gather", grouped(self, data, begin, type, bytes, false));
    }
    return status;
}

static vt_status broadcast(struct comm *comm, void *data, int64_t bytes, int root)
{
    struct nccl_comm *self = of(comm);
    vt_status status;
    if (bytes == 0)
        return VT_OK;
    ENQUEUE(self, status, "broadcast",
            nccl.Broadcast(data, data, (size_t)bytes, ncclUint8, root, self->handle, self->stream));
    return status;
}

static vt_status barrier(struct comm *comm)
{
    struct nccl_comm *self = of(comm);
    self->be->event_record(self->be, STREAM_COMM, self->drained);
    VT_TRY(self->be->event_wait(self->be, self->drained));
    return self->world->barrier(self->world);
}

static vt_status duplicate(struct comm *comm, struct comm **out)
{
    return comm_nccl_open(of(comm)->world, of(comm)->be, out);
}

/* A call under way on another thread reports by itself. */
static vt_status poll_errors(struct comm *comm)
{
    struct nccl_comm *self = of(comm);
    vt_status status = VT_OK;
    ncclResult_t result = ncclSuccess;
    if (pthread_mutex_trylock(&self->mutex) != 0)
        return VT_OK;
    if (self->handle && !atomic_load(&self->aborting)) {
        ncclResult_t asked = nccl.CommGetAsyncError(self->handle, &result);
        result = asked != ncclSuccess ? asked : result;
        if (result != ncclSuccess && result != ncclInProgress)
            status = explain(self, result, "communication");
    }
    pthread_mutex_unlock(&self->mutex);
    return status;
}

static bool lock_within(pthread_mutex_t *mutex, double seconds)
{
    enum { LOOK_US = 1000 };
    double start = clock_ms();
    while (pthread_mutex_trylock(mutex) != 0) {
        if (clock_ms() - start > seconds * 1e3)
            return false;
        pause_us(LOOK_US);
    }
    return true;
}

/* A call in progress gives up by itself and leaves the mutex. One that waits inside NCCL, for room in a launch queue that a dead peer
 * holds up, does not: what frees the queue is the abort, so this must not wait for that call. NCCL first sets the flag that its
 * calls and kernels look at; whoever comes back from such a call finds `aborting` set, and leaves the handle alone. */
static void abort_all(struct comm *comm)
{
    struct nccl_comm *self = of(comm);
    atomic_store(&self->aborting, true);
    bool locked = lock_within(&self->mutex, ABORT_SECONDS);
    if (self->handle && !atomic_exchange(&self->gone, true)) {
        cuda_bind((const struct cuda_backend *)self->be);
        (void)nccl.CommAbort(self->handle);
    }
    if (locked)
        pthread_mutex_unlock(&self->mutex);
}

static void close_comm(struct comm *comm)
{
    struct nccl_comm *self = of(comm);
    if (self->handle && !atomic_load(&self->aborting)) {
        vt_status status = settle(self, nccl.CommFinalize(self->handle), "finalize", CLOSE_SECONDS);
        if (status != VT_OK || nccl.CommDestroy(self->handle) != ncclSuccess)
            abort_all(comm);
    }
    if (self->drained)
        self->be->event_free(self->be, self->drained);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

/* ---- opening ---- */
struct invitation { /* rank 0's, to all */
    ncclUniqueId id;
    int version;
};

/* The same library on every rank, and rank 0's id for the new communicator. Collective over the world. */
static vt_status invite(struct comm *world, int version, struct invitation *invitation)
{
    vt_status status = VT_OK;
    *invitation = (struct invitation){.version = version};
    if (world->rank == 0 && nccl.GetUniqueId(&invitation->id) != ncclSuccess)
        status = VT_FAIL(VT_E_COMM, "rank 0 (host %s): NCCL has no address to meet at: set NCCL_SOCKET_IFNAME (NCCL_DEBUG=WARN says more)",
                         world->host);
    VT_TRY(comm_agree(world, status));
    VT_TRY(world->broadcast(world, invitation, sizeof *invitation, 0));
    if (invitation->version != version)
        status = VT_FAIL(VT_E_UNSUPPORTED, "rank %d (host %s) has NCCL %d, rank 0 has %d: expected the same everywhere",
                         world->rank, world->host, version, invitation->version);
    return comm_agree(world, status);
}

static vt_status connect_ranks(struct nccl_comm *self, const struct invitation *invitation)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.maxCTAs = MAX_CTAS;
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
    config.commName = "vitrail";
#endif
    cuda_bind((const struct cuda_backend *)self->be);
    ncclResult_t result = nccl.CommInitRankConfig(&self->handle, self->base.size, invitation->id, self->base.rank, &config);
    if (result != ncclSuccess && result != ncclInProgress) {
        self->handle = NULL;
        return explain(self, result, "start");
    }
    return settle(self, result, "start", CALL_SECONDS);
}

/* What NCCL makes of maxCTAs and its variable, of which the variable wins. */
static int max_ctas(void)
{
    const char *text = getenv("NCCL_MAX_CTAS");
    int wanted = text ? atoi(text) : 0;
    return wanted > 0 ? wanted : MAX_CTAS;
}

vt_status comm_nccl_open(struct comm *world, struct backend *be, struct comm **out)
{
    int version = 0;
    vt_status status;
    struct invitation invitation;
    VT_TRY(comm_agree(world, load(&version)));
    VT_TRY(invite(world, version, &invitation));
    struct nccl_comm *self = calloc(1, sizeof *self);
    VT_CHECK(self);
    self->base = *world;
    self->base.name = "nccl";
    self->base.all_reduce = all_reduce;
    self->base.reduce_scatter = reduce_scatter;
    self->base.all_gather = all_gather;
    self->base.broadcast = broadcast;
    self->base.barrier = barrier;
    self->base.duplicate = duplicate;
    self->base.close = close_comm;
    self->base.device_memory = true;
    self->base.multiprocessors = max_ctas();
    self->base.poll = poll_errors;
    self->base.abort = abort_all;
    self->world = world;
    self->be = be;
    self->stream = ((struct cuda_backend *)be)->streams[STREAM_COMM];
    self->drained = be->event_new(be);
    pthread_mutex_init(&self->mutex, NULL);

    status = connect_ranks(self, &invitation);
    if (status != VT_OK)
        log_error("%s", status_message()); /* at once: the other ranks may be in the call until it times out */
    status = comm_agree(world, status);
    if (status != VT_OK) {
        abort_all(&self->base);
        close_comm(&self->base);
        return status;
    }
    log_info("comm       NCCL %d.%d.%d, %d ranks%s", version / 10000, version / 100 % 100, version % 100, world->size,
             version < VERSION_ADVISED ? "; 2.28.9 or newer is advised" : "");
    *out = &self->base;
    return VT_OK;
}
