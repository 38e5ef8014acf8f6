/* Between linear.c, which enqueues, and linear_choose.c, which chooses. */
#ifndef VT_BACKEND_CUDA_LINEAR_H
#define VT_BACKEND_CUDA_LINEAR_H

#include "backend/cuda/gemm.h"

struct product {
    enum linear_route route;
    struct gemm *gemm;
};

struct linear_plan {
    struct op_plan plan;
    struct linear_desc desc;
    struct product forward[2]; /* [pre wanted]; without an activation only [0] */
    struct product input[2];  /* [dx_sum in passing]: the second only with plan.own_sums */
    struct product weight[2]; /* [db wanted] */
    size_t scratch_offset;    /* of the workspace: the library's part; then ours */
};

/* Opens the products of all parts; what is open on failure is closed with the plan. */
VT_MUST_CHECK vt_status linear_choose(struct linear_plan *plan);
/* The workspace of the products that are open by now. */
void linear_lay_out(struct linear_plan *plan);

#endif
