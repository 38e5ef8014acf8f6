/* What the backend's matrix products reach alone on a model's own shapes: the floor a step is measured against. */
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
typedef void (*gemm_result)(const struct gemm_shape *shape, enum gemm_product product, double seconds, double flops);

/* FLOP-weighted rate (FLOP/s) of the linear op over the products of one block (four layers; forward, input gradient, weight
 * gradient) for `rows` images of random data; medians of `repetitions` (at most 64). Allocates and frees its own buffers, and
 * reserves workspace: before step 0 or after the last step. Per rank. */
VT_MUST_CHECK vt_status gemm_rate_measure(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                                          int repetitions, gemm_result on_result, double *flops_per_s);

/* A device buffer of values in [-0.5, 0.5), for benches. The caller releases. */
VT_MUST_CHECK vt_status bench_buffer(struct backend *be, size_t bytes, enum dtype dtype, void **out);
double bench_median(double *values, int count); /* sorts them */

#endif
