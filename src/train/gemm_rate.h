/* What the backend's matrix products reach alone, on a model's own shapes and on a large square: what a step is measured
 * against. */
#ifndef VT_TRAIN_GEMM_RATE_H
#define VT_TRAIN_GEMM_RATE_H

#include "backend/backend.h"
#include "base/status.h"
#include "model/vit_config.h"

enum gemm_product { GEMM_FORWARD, GEMM_INPUT_GRADIENT, GEMM_WEIGHT_GRADIENT };

struct gemm_shape {
    const char *name; /* "qkv", "proj", "fc1", "fc2" */
    int64_t in, out;
};

/* Called with the median time of each product; may be NULL. */
typedef void (*gemm_result)(void *context, const struct gemm_shape *shape, enum gemm_product product, double seconds,
                            double flops);

struct gemm_rate { /* FLOP/s */
    double mean; /* of all products together, weighted by FLOPs */
    double best; /* of the fastest of them */
};

/* The rate of the linear op over the products of one block (four layers; forward, input gradient, weight gradient) for
 * `rows` images of random data; medians of `repetitions` (at most 64) by op_time. Allocates and frees its own buffers, and
 * reserves workspace: before step 0 or after the last step. Per rank. */
VT_MUST_CHECK vt_status gemm_rate_measure(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                                          int repetitions, gemm_result on_result, void *context, struct gemm_rate *rate);

struct gemm_peak {
    double flops_per_s;
    int side; /* of the square matrices */
};
/* The device's rate by one large square product of random data with bias: 8192^3 in bf16 (4096^3 in fp32) on a GPU; on a CPU the
 * best of sizes up to what takes some milliseconds. Takes up to 0.8 GB on a GPU; otherwise as gemm_rate_measure. */
VT_MUST_CHECK vt_status gemm_peak_measure(struct backend *be, enum dtype dtype, int repetitions, struct gemm_peak *peak);

/* Make the plans of gemm_rate_measure and close them: what they choose by timing is in the device's table then, and their
 * workspace in its size. With the run's other plans. */
VT_MUST_CHECK vt_status gemm_rate_plan(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype);

#endif
