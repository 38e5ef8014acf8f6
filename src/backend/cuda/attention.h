/* Between attention.c, which chooses, and the ways to compute attention (ops.h has the contract). C and C++. */
#ifndef VT_BACKEND_CUDA_ATTENTION_H
#define VT_BACKEND_CUDA_ATTENTION_H

#include "backend/backend.h"

/* The pointers of one enqueue. */
struct attention_call {
    const void *q, *k, *v;
    void *o;    /* written by forward, read by backward */
    float *lse; /* likewise */
    const void *d_o;
    void *dq, *dk, *dv;
    const struct attention_sums *sums; /* of backward; NULL = not wanted */
    const struct op_random *random;
};

/* ---- attention_plain.cu: any shape, fp32 and bf16, dropout ---- */
size_t attention_plain_workspace(const struct backend *be, const struct attention_desc *desc, bool backward);
void attention_plain_forward(struct backend *be, const struct attention_desc *desc, const struct attention_call *call,
                             void *workspace);
void attention_plain_backward(struct backend *be, const struct attention_desc *desc, const struct attention_call *call,
                              void *workspace);

/* ---- attention_head_*.cu: bf16, short rows, whole heads in shared memory; no workspace ---- */
/* How many sizes of the kernel take this shape, the first being the one where nothing is timed; 0: none. `limit`: the shared memory
 * that the device gives a block. */
int attention_head_forward_choices(const struct attention_desc *desc, size_t limit);
int attention_head_backward_choices(const struct attention_desc *desc, size_t limit);
void attention_head_forward(struct backend *be, const struct attention_desc *desc, const struct attention_call *call, int choice);
/* `limit` as above: it decides whether ds is kept or computed twice. partial_sums as below; NULL = not wanted. */
void attention_head_backward(struct backend *be, const struct attention_desc *desc, const struct attention_call *call,
                             size_t limit, int choice, float *partial_sums);

/* ---- attention_sums.cu: desc.sums ---- */
/* Of partial_sums, [2][B][A*d]: the column sums of each image's dq and dv. */
size_t attention_sums_workspace(const struct attention_desc *desc);
/* partial_sums from call's dq and dv, after a way that leaves none. */
void attention_sums_pass(struct backend *be, const struct attention_desc *desc, const struct attention_call *call,
                         float *partial_sums);
void attention_sums_finish(struct backend *be, const struct attention_desc *desc, const struct attention_sums *sums,
                           const float *partial_sums);

#endif
