/* What the tests may ask of fake_nccl.c, found by dlsym under the name "fake_nccl". */
#ifndef VT_FAKE_NCCL_H
#define VT_FAKE_NCCL_H

struct fake_nccl {
    int ranks;          /* threads of this process */
    int progress_polls; /* each call is in progress for so many questions; negative = for ever */
    int broken_rank;    /* its communicator has failed; -1 = none */
    int stuck;          /* the next collectives return only when the communicator is aborted */
    int refuse_calls;   /* so many of the next collectives, on every rank, return an error at once */
    int aborted, destroyed, finalized, groups, natives; /* counted */
    unsigned aborted_ranks; /* a bit each */
    const void *stream; /* expected in each collective */
};

#endif
