/* Collectives over the world of one job. One table, three homes: self (one process, no MPI needed), mpi, nccl (in the
 * CUDA plugin). "collective": every rank must call it, in the same order. Pointers are host memory, unless the comm says
 * device_memory. */
#ifndef VT_COMM_COMM_H
#define VT_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

enum reduce_op { REDUCE_SUM, REDUCE_MAX, REDUCE_MIN };

struct comm {
    const char *name; /* "self", "mpi", "nccl" */
    int rank, size;
    int local_rank, local_size; /* on this host */
    int cpus;                   /* this rank's own of this host: cpus_share() over its ranks */
    char host[64];

    /* All collective. dtypes: F32, F64, I64, I32, BF16 (sum in fp32 per hop, rounded), U8 for gather. In place. */
    vt_status (*all_reduce)(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op);
    /* Rank r receives the sum of its range [begin[r], begin[r+1]) of data, in place; the rest is undefined after. */
    vt_status (*reduce_scatter)(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype);
    /* Every rank gives its range, all have the whole after. */
    vt_status (*all_gather)(struct comm *comm, void *data, const int64_t *begin, enum dtype dtype);
    vt_status (*broadcast)(struct comm *comm, void *data, int64_t bytes, int root);
    vt_status (*barrier)(struct comm *comm);
    /* A second communicator over the same ranks, for use by one other thread. Collective. */
    vt_status (*duplicate)(struct comm *comm, struct comm **out);
    void (*close)(struct comm *comm);

    /* Only nccl: pointers are memory of the backend the comm was opened for; a collective is enqueued on its STREAM_COMM and
     * the call returns VT_OK before it has run. U8, and max and min of BF16, do not reduce. barrier waits on the host for
     * everything enqueued. Not for comm_agree, which talks through the host. */
    bool device_memory;
    int multiprocessors; /* only where device_memory: at most so many of the GPU's are busy with a collective */
    /* NULL unless device_memory. Any thread, never blocking long. poll: the first failure of anything enqueued, with the
     * rank and host in the message. abort: give up what is enqueued, so that the stream goes on and waits return; only
     * close may follow. */
    vt_status (*poll)(struct comm *comm);
    void (*abort)(struct comm *comm);
};

/* The world: MPI is initialised (THREAD_MULTIPLE) when the process was started by mpirun or srun, or when forced; else
 * self. Collective. Sets the log's rank. */
enum comm_choice { COMM_AUTO, COMM_SELF, COMM_MPI };
VT_MUST_CHECK vt_status world_open(enum comm_choice choice, struct comm **out);
/* Finalises MPI. Collective; never call it after a failure: use world_abort. */
void world_close(struct comm **comm);
/* Per rank, any thread: print the message with this rank, take the whole job down with this exit code. */
_Noreturn void world_abort(struct comm *comm, int exit_code, const char *message);

/* Collective: every rank passes its own status; all learn whether any failed. Returns VT_OK when all are; on the
 * failing ranks the own status and message; on others VT_E_COMM naming the first failing rank and its message. */
VT_MUST_CHECK vt_status comm_agree(struct comm *comm, vt_status status);

#endif
