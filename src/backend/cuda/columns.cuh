/* Column sums in two fixed-order stages: blocks leave partial sums, a second kernel adds those in order. */
#ifndef VT_BACKEND_CUDA_COLUMNS_CUH
#define VT_BACKEND_CUDA_COLUMNS_CUH

#include "backend/cuda/op.cuh"

enum { MAX_COLUMN_SUMS = 4 };

struct column_sums {
    float *to[MAX_COLUMN_SUMS]; /* [width] each; NULL = not wanted */
};

/* to[k][c] (accumulate) = sum over i of partial[k][i][c], i < count. Floats. */
void sum_partials(struct backend *be, const float *partial, int64_t count, int64_t width,
                  const struct column_sums &sums, bool accumulate);

#endif
