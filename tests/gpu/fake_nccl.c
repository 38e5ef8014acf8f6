/* An NCCL without GPUs: the functions comm/nccl uses, on host memory, with ranks that are threads. It answers "in progress"
 * as a non-blocking communicator does, and fails when told to. It refuses what NCCL would refuse. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <nccl.h>
#pragma GCC diagnostic pop

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_nccl.h"
#include "tensor/dtype.h"
#include "thread_meeting.h"

struct fake_nccl fake_nccl = {.broken_rank = -1};
void fake_nccl_version(int version);
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

static _Thread_local int version_here = 22809;
static struct meeting meeting;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct ncclComm {
    unsigned calls;
    int rank, size, pending;
    atomic_bool inside; /* a call that only an abort ends */
};
enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, REDUCE, BROADCAST };
struct call {
    enum kind kind;
    const void *send;
    void *recv;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
};
static _Thread_local bool grouped;
static _Thread_local ncclComm_t grouped_comm;

void fake_nccl_version(int version) { version_here = version; }

ncclResult_t ncclGetVersion(int *version)
{
    *version = version_here;
    return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0x5a, sizeof *id);
    return ncclSuccess;
}
const char *ncclGetErrorString(ncclResult_t result) { return result == ncclRemoteError ? "remote process exited" : "internal error"; }
const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "the fake's last words";
}

static void open_meeting(void) { meeting_open(&meeting, fake_nccl.ranks); }

/* As often as was asked for, or less, or not at all: the real one may be done at once. */
static ncclResult_t in_progress(ncclComm_t comm)
{
    int polls = fake_nccl.progress_polls;
    comm->calls = comm->calls * 1664525u + 1013904223u;
    comm->pending = polls > 0 && comm->calls >> 31 ? (int)(comm->calls >> 16) % (polls + 1) : polls;
    return comm->pending ? ncclInProgress : ncclSuccess;
}

/* Nothing may be called before the call under way was seen to be done. */
static bool is_busy(ncclComm_t comm) { return comm->pending != 0; }

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    ncclUniqueId expected;
    memset(&expected, 0x5a, sizeof expected);
    if (memcmp(&expected, &id, sizeof id) != 0 || config->blocking != 0 || size != fake_nccl.ranks ||
        config->size != sizeof *config || config->magic != 0xcafebeef || config->version != NCCL_VERSION_CODE)
        return ncclInvalidArgument;
    pthread_once(&once, open_meeting);
    *comm = calloc(1, sizeof **comm);
    (*comm)->rank = rank;
    (*comm)->size = size;
    return in_progress(*comm);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *result)
{
    if (fake_nccl.broken_rank == comm->rank)
        *result = ncclRemoteError;
    else if (comm->pending > 0)
        *result = --comm->pending ? ncclInProgress : ncclSuccess;
    else
        *result = comm->pending < 0 ? ncclInProgress : ncclSuccess;
    return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    if (is_busy(comm))
        return ncclInvalidArgument;
    fake_nccl.finalized++;
    return in_progress(comm);
}
ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (is_busy(comm))
        return ncclInvalidArgument;
    fake_nccl.destroyed++;
    free(comm);
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    fake_nccl.aborted++;
    fake_nccl.aborted_ranks |= 1u << comm->rank;
    while (comm->inside)
        usleep(1000);
    free(comm);
    return ncclSuccess;
}

static size_t type_bytes(ncclDataType_t type)
{
    return type == ncclUint8 ? 1 : type == ncclBfloat16 ? 2 : type == ncclFloat32 || type == ncclInt32 ? 4 : 8;
}
static double load(ncclDataType_t type, const void *p, size_t i)
{
    switch (type) {
    case ncclFloat32: return (double)((const float *)p)[i];
    case ncclFloat64: return ((const double *)p)[i];
    case ncclInt32: return ((const int32_t *)p)[i];
    case ncclInt64: return (double)((const int64_t *)p)[i];
    default: return (double)bf16_to_float(((const bf16_t *)p)[i]);
    }
}
static void store(ncclDataType_t type, void *p, size_t i, double value)
{
    switch (type) {
    case ncclFloat32: ((float *)p)[i] = (float)value; break;
    case ncclFloat64: ((double *)p)[i] = value; break;
    case ncclInt32: ((int32_t *)p)[i] = (int32_t)value; break;
    case ncclInt64: ((int64_t *)p)[i] = (int64_t)value; break;
    default: ((bf16_t *)p)[i] = bf16_from_float((float)value);
    }
}

/* result[0, count) = the reduction over the ranks' send[from, from + count). */
static void *reduced(const struct call *call, int size, size_t from)
{
    void *result = malloc(call->count * type_bytes(call->type) + 1);
    for (size_t i = 0; i < call->count; i++) {
        double value = load(call->type, meeting.given[0], from + i);
        for (int r = 1; r < size; r++) {
            double next = load(call->type, meeting.given[r], from + i);
            value = call->op == ncclSum ? value + next : (call->op == ncclMax) == (next > value) ? next : value;
        }
        store(call->type, result, i, value);
    }
    return result;
}

static ncclResult_t run(ncclComm_t comm, const struct call *call)
{
    size_t bytes = call->count * type_bytes(call->type), at = (size_t)comm->rank * bytes;
    void *result = NULL;
    if ((call->kind == REDUCE_SCATTER && (char *)call->recv != (const char *)call->send + at) ||
        (call->kind == ALL_GATHER && (const char *)call->send != (char *)call->recv + at))
        return ncclInvalidArgument; /* what the room calls is in place */
    meeting_show(&meeting, comm->rank, call->send);
    bool receives = call->kind != REDUCE || comm->rank == call->root;
    if (call->kind == ALL_REDUCE || call->kind == REDUCE)
        result = reduced(call, comm->size, 0);
    if (call->kind == REDUCE_SCATTER)
        result = reduced(call, comm->size, (size_t)comm->rank * call->count);
    if (call->kind == ALL_GATHER) {
        result = malloc(bytes * (size_t)comm->size + 1);
        for (int r = 0; r < comm->size; r++)
            memcpy((char *)result + (size_t)r * bytes, meeting.given[r], bytes);
        bytes *= (size_t)comm->size;
    }
    if (call->kind == BROADCAST) {
        result = malloc(bytes + 1);
        memcpy(result, meeting.given[call->root], bytes);
    }
    meeting_wait(&meeting);
    if (receives)
        memcpy(call->recv, result, bytes);
    free(result);
    return ncclSuccess;
}

static ncclResult_t enqueue(ncclComm_t comm, cudaStream_t stream, struct call call)
{
    if ((const void *)stream != fake_nccl.stream || (call.type == ncclUint8 && call.kind != BROADCAST && call.kind != ALL_GATHER))
        return ncclInvalidArgument;
    if (is_busy(comm))
        return ncclInvalidArgument;
    if (fake_nccl.refuse_calls)
        return ncclInternalError;
    if (fake_nccl.stuck) {
        comm->inside = true;
        while (!(fake_nccl.aborted_ranks & 1u << comm->rank))
            usleep(1000);
        comm->inside = false;
        return ncclInternalError;
    }
    if (!grouped)
        fake_nccl.natives++;
    ncclResult_t result = run(comm, &call); /* inside a group too: all ranks make the same calls */
    if (result != ncclSuccess)
        return result;
    grouped_comm = comm;
    return grouped ? ncclSuccess : in_progress(comm);
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream)
{
    return enqueue(comm, stream, (struct call){ALL_REDUCE, send, recv, count, type, op, 0});
}
ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(comm, stream, (struct call){REDUCE_SCATTER, send, recv, count, type, op, 0});
}
ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream)
{
    return enqueue(comm, stream, (struct call){ALL_GATHER, send, recv, count, type, ncclSum, 0});
}
ncclResult_t ncclReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(comm, stream, (struct call){REDUCE, send, recv, count, type, op, root});
}
ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream)
{
    return enqueue(comm, stream, (struct call){BROADCAST, send, recv, count, type, ncclSum, root});
}
ncclResult_t ncclGroupStart(void)
{
    grouped = true;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void)
{
    grouped = false;
    fake_nccl.groups++;
    return in_progress(grouped_comm);
}
