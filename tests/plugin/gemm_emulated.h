/* gemm.h on the CPU: products exactly as cuBLASLt is asked for them, so that linear.c's mapping is proven without a
 * GPU. */
#ifndef VT_TESTS_GEMM_EMULATED_H
#define VT_TESTS_GEMM_EMULATED_H

#include <stdbool.h>

struct emulated_library {
    bool refuses_fp32_bias;  /* of a bf16 D */
    bool refuses_epilogues;  /* all but plain products */
    bool refuses_bf16_gradients; /* as operands of backward's products */
    bool refuses_dgelu_bgrad;
    bool full;               /* no memory for products with sums of D beside them */
    bool prefers_fused;      /* what the clock says */
    bool fails_fused;        /* fused products open, and fail when run */
    double pass_us;          /* of column sums by a pass of their own, beside 1 or 2 for the rest */
    bool lost;               /* the device, as soon as something is timed */
    int opened, open, timed; /* products: made so far, in use; times taken */
    int sm_target[3];        /* asked for by the last forward, input gradient and weight gradient product */
};
extern struct emulated_library emulated;

/* Forget the tuning table. */
void emulated_forget(void);

#endif
