/* What the tests may ask of fake_nccl.c, found by dlsym under the name "fake_nccl". */
#ifndef VT_FAKE_NCCL_H
#define VT_FAKE_NCCL_H

#include <stdatomic.h>

struct fake_nccl { /* atomic: ranks change and read them side by side */
    int ranks;                 /* threads of this process */
    atomic_int progress_polls; /* each call is in progress for so many questions; negative = for ever */
    atomic_int broken_rank;    /* its communicator has failed; -1 = none */
    atomic_int stuck;          /* the next collectives return only when the communicator is aborted */
    atomic_int refuse_calls;   /* so many of the next collectives, on every rank, return an error at once */
    atomic_int aborted, destroyed, finalized, groups, natives; /* counted */
    atomic_uint aborted_ranks; /* a bit each */
    const void *stream;        /* expected in each collective */
};

#endif
