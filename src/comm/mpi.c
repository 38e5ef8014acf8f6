/* The only home of mpi.h. Written for and tested with Open MPI 4.1.4, which has no recovery inside a job: after a
 * peer's death mpirun takes everything down, so error codes here are mostly about our own arguments. */
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cpu_quota.h"
#include "base/cpus.h"
#include "base/stage.h"
#include "comm/self.h"

struct mpi_comm {
    struct comm base;
    MPI_Comm comm;
};

/* One call moves at most this many elements: MPI counts are ints, and a lower bound than INT_MAX keeps temporaries
 * small. */
enum { CALL_ELEMENTS = 1 << 28 };

static MPI_Op bf16_sum = MPI_OP_NULL;

static vt_status mpi_check(const struct comm *comm, int code, const char *what)
{
    if (code == MPI_SUCCESS)
        return VT_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return VT_FAIL(VT_E_COMM, "rank %d (host %s): MPI %s failed: %s", comm->rank, comm->host, what, text);
}

static MPI_Comm handle(struct comm *comm) { return ((struct mpi_comm *)comm)->comm; }

/* Restores the caller's stage: whoever is inside a collective shows as waiting: the watchdog needs that. */
#define IN_COMM(status, call)                                                                                          \
    do {                                                                                                               \
        enum stage in_comm_stage_ = stage_enter(STAGE_COMM);                                                           \
        status = (call);                                                                                               \
        stage_enter(in_comm_stage_);                                                                                   \
    } while (0)

static vt_status mpi_type(enum dtype dtype, MPI_Datatype *out)
{
    switch (dtype) {
    case DTYPE_F32: *out = MPI_FLOAT; return VT_OK;
    case DTYPE_F64: *out = MPI_DOUBLE; return VT_OK;
    case DTYPE_I32: *out = MPI_INT32_T; return VT_OK;
    case DTYPE_I64: *out = MPI_INT64_T; return VT_OK;
    case DTYPE_BF16: *out = MPI_UINT16_T; return VT_OK;
    case DTYPE_U8: *out = MPI_BYTE; return VT_OK;
    default: return VT_FAIL(VT_E_UNSUPPORTED, "comm: dtype %s does not travel", dtype_name(dtype));
    }
}

static vt_status mpi_op(enum dtype dtype, enum reduce_op op, MPI_Op *out)
{
    if (dtype == DTYPE_U8 || (dtype == DTYPE_BF16 && op != REDUCE_SUM))
        return VT_FAIL(VT_E_UNSUPPORTED, "comm: no %s of %s", op == REDUCE_SUM ? "sum" : "max or min",
                       dtype_name(dtype));
    if (dtype == DTYPE_BF16)
        *out = bf16_sum;
    else
        *out = op == REDUCE_SUM ? MPI_SUM : op == REDUCE_MAX ? MPI_MAX : MPI_MIN;
    return VT_OK;
}

/* inout = bf16(float(in) + float(inout)), each hop rounded. Branch-free so that the compiler vectorises it. */
static void sum_bf16(void *in, void *inout, int *length, MPI_Datatype *type)
{
    const bf16_t *restrict a = in;
    bf16_t *restrict b = inout;
    (void)type;
    for (int i = 0; i < *length; i++)
        b[i] = bf16_from_float(bf16_to_float(a[i]) + bf16_to_float(b[i]));
}

static vt_status all_reduce(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    MPI_Datatype type = MPI_BYTE;
    MPI_Op mpi = MPI_OP_NULL;
    VT_TRY(mpi_type(dtype, &type));
    VT_TRY(mpi_op(dtype, op, &mpi));
    for (int64_t at = 0; at < count; at += CALL_ELEMENTS) {
        int n = (int)(count - at < CALL_ELEMENTS ? count - at : CALL_ELEMENTS);
        char *part = (char *)data + (size_t)at * dtype_bytes(dtype);
        int code;
        IN_COMM(code, MPI_Allreduce(MPI_IN_PLACE, part, n, type, mpi, handle(comm)));
        VT_TRY(mpi_check(comm, code, "all-reduce"));
    }
    return VT_OK;
}

/* begin[0..size] as MPI's int counts and displacements from begin[0]. Both arrays hold `size` ints; *counts is freed by
 * the caller. */
static vt_status ranges(const struct comm *comm, const int64_t *begin, int **counts, int **starts)
{
    *counts = *starts = NULL;
    if (begin[comm->size] - begin[0] > INT_MAX)
        return VT_FAIL(VT_E_LIMIT, "comm: ranges of %lld elements, at most %d",
                       (long long)(begin[comm->size] - begin[0]), INT_MAX);
    *counts = malloc(2 * (size_t)comm->size * sizeof **counts);
    VT_CHECK(*counts);
    *starts = *counts + comm->size;
    for (int r = 0; r < comm->size; r++) {
        VT_CHECKF(begin[r] <= begin[r + 1], "range %d is negative", r);
        (*counts)[r] = (int)(begin[r + 1] - begin[r]);
        (*starts)[r] = (int)(begin[r] - begin[0]);
    }
    return VT_OK;
}

static vt_status reduce_scatter(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype)
{
    MPI_Datatype type = MPI_BYTE;
    MPI_Op op = MPI_OP_NULL;
    int *counts, *starts, code;
    VT_TRY(mpi_type(dtype, &type));
    VT_TRY(mpi_op(dtype, REDUCE_SUM, &op));
    VT_TRY(ranges(comm, begin, &counts, &starts));
    size_t bytes = dtype_bytes(dtype);
    char *first = (char *)data + (size_t)begin[0] * bytes;
    IN_COMM(code, MPI_Reduce_scatter(MPI_IN_PLACE, first, counts, type, op, handle(comm)));
    /* MPI's in-place form leaves the own range at the start. */
    if (code == MPI_SUCCESS)
        memmove(first + (size_t)starts[comm->rank] * bytes, first, (size_t)counts[comm->rank] * bytes);
    free(counts);
    return mpi_check(comm, code, "reduce-scatter");
}

static vt_status all_gather(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype)
{
    MPI_Datatype type = MPI_BYTE;
    int *counts, *starts, code;
    VT_TRY(mpi_type(dtype, &type));
    VT_TRY(ranges(comm, begin, &counts, &starts));
    char *first = (char *)data + (size_t)begin[0] * dtype_bytes(dtype);
    IN_COMM(code, MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, first, counts, starts, type, handle(comm)));
    free(counts);
    return mpi_check(comm, code, "all-gather");
}

static vt_status broadcast(struct comm *comm, void *data, int64_t bytes, int root)
{
    for (int64_t at = 0; at < bytes; at += CALL_ELEMENTS) {
        int n = (int)(bytes - at < CALL_ELEMENTS ? bytes - at : CALL_ELEMENTS);
        int code;
        IN_COMM(code, MPI_Bcast((char *)data + at, n, MPI_BYTE, root, handle(comm)));
        VT_TRY(mpi_check(comm, code, "broadcast"));
    }
    return VT_OK;
}

static vt_status barrier(struct comm *comm)
{
    int code;
    IN_COMM(code, MPI_Barrier(handle(comm)));
    return mpi_check(comm, code, "barrier");
}

static vt_status duplicate(struct comm *comm, struct comm **out)
{
    struct mpi_comm *twin = malloc(sizeof *twin);
    int code;
    VT_CHECK(twin);
    twin->base = *comm;
    IN_COMM(code, MPI_Comm_dup(handle(comm), &twin->comm)); /* the error handler comes along */
    if (code != MPI_SUCCESS) {
        free(twin);
        return mpi_check(comm, code, "duplicate");
    }
    *out = &twin->base;
    return VT_OK;
}

static void close_comm(struct comm *comm)
{
    struct mpi_comm *self = (struct mpi_comm *)comm;
    MPI_Comm_free(&self->comm);
    free(self);
}

/* Waiting ranks give their core away: compute, decode and communication threads share the cores, and Open MPI only
 * notices that by itself when it was started with --oversubscribe. Whoever sets the variable himself wins. */
static void yield_when_idle(void) { setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0); }

static vt_status share_cpus(struct comm *comm, MPI_Comm node)
{
    struct cpu_mask *masks = calloc((size_t)comm->local_size, sizeof *masks);
    VT_CHECK(masks);
    masks[comm->local_rank] = cpus_mask();
    int code = MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, masks, sizeof *masks, MPI_BYTE, node);
    comm->cpus = cpus_share(masks, comm->local_size, comm->local_rank);
    comm->cpus = cpus_share_time(comm->cpus, cpu_quota(""), comm->local_size);
    free(masks);
    return mpi_check(comm, code, "gather the CPU masks of a host");
}

static vt_status fill(struct mpi_comm *self)
{
    struct comm *comm = &self->base;
    MPI_Comm node;
    VT_TRY(mpi_check(comm, MPI_Comm_dup(MPI_COMM_WORLD, &self->comm), "start"));
    VT_TRY(mpi_check(comm, MPI_Comm_set_errhandler(self->comm, MPI_ERRORS_RETURN), "start"));
    MPI_Comm_rank(self->comm, &comm->rank);
    MPI_Comm_size(self->comm, &comm->size);
    VT_TRY(mpi_check(comm, MPI_Comm_split_type(self->comm, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node),
                     "split by host"));
    MPI_Comm_rank(node, &comm->local_rank);
    MPI_Comm_size(node, &comm->local_size);
    vt_status status = share_cpus(comm, node);
    MPI_Comm_free(&node);
    VT_TRY(status);
    gethostname(comm->host, sizeof comm->host - 1);
    if (bf16_sum == MPI_OP_NULL)
        VT_TRY(mpi_check(comm, MPI_Op_create(sum_bf16, 1, &bf16_sum), "sum of bf16"));
    return VT_OK;
}

vt_status comm_mpi_open(struct comm **out)
{
    int provided = 0, running = 0;
    yield_when_idle();
    MPI_Initialized(&running);
    if (!running && MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
        return VT_FAIL(VT_E_COMM, "MPI_Init_thread failed");
    MPI_Query_thread(&provided);
    if (provided < MPI_THREAD_MULTIPLE)
        return VT_FAIL(VT_E_UNSUPPORTED, "this MPI offers thread level %d, MPI_THREAD_MULTIPLE (%d) is needed",
                       provided, MPI_THREAD_MULTIPLE);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);

    struct mpi_comm *self = calloc(1, sizeof *self);
    VT_CHECK(self);
    self->base = (struct comm){.name = "mpi", .all_reduce = all_reduce, .reduce_scatter = reduce_scatter,
                               .all_gather = all_gather, .broadcast = broadcast, .barrier = barrier,
                               .duplicate = duplicate, .close = close_comm};
    vt_status status = fill(self);
    if (status != VT_OK) {
        free(self);
        return status;
    }
    *out = &self->base;
    return VT_OK;
}

void comm_mpi_finalise(void)
{
    if (bf16_sum != MPI_OP_NULL)
        MPI_Op_free(&bf16_sum);
    MPI_Finalize();
}

void comm_mpi_abort(int exit_code)
{
    int running = 0, over = 0;
    MPI_Initialized(&running);
    MPI_Finalized(&over);
    if (running && !over)
        MPI_Abort(MPI_COMM_WORLD, exit_code);
}
