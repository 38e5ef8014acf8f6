/* What add_norm's forward and backward share: the plan, and the factors of the branch (drop path, LayerScale, dropout).
 */
#ifndef VT_BACKEND_CUDA_ADD_NORM_CUH
#define VT_BACKEND_CUDA_ADD_NORM_CUH

#include "backend/cuda/columns.cuh"
#include "backend/cuda/op.cuh"
#include "backend/cuda/philox.cuh"

enum { ADD_NORM_MAX_WIDTH = 12288 }; /* a block's shared memory holds a row's sums */

struct add_norm_grid { /* of the backward */
    int blocks, threads;
    int team; /* threads that take a row; 0: any width */
    size_t shared_bytes;
};

struct add_norm_plan {
    struct op_plan plan;
    struct add_norm_desc desc;
    struct add_norm_grid backward;
};

struct add_norm_grid add_norm_backward_grid(struct backend *be, const struct add_norm_desc *desc);
void cuda_add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args,
                            const struct op_random *random);

struct norm_shape {
    int64_t rows, x_stride; /* elements between the rows of x */
    int tokens, width;
    float per_column; /* 1 / width */
    float eps;
    dropout_args dropout, path;
};

static inline norm_shape shape_of(const struct add_norm_plan *plan, const struct op_random *random)
{
    const struct add_norm_desc *d = &plan->desc;
    return norm_shape{d->batch * d->tokens,
                      d->x_stride ? d->x_stride : d->width,
                      (int)d->tokens,
                      (int)d->width,
                      1.0f / (float)d->width,
                      d->eps,
                      dropout_of(random, d->dropout_purpose, d->dropout),
                      dropout_of(random, d->drop_path_purpose, d->drop_path)};
}

/* What the branch of one row is multiplied by. */
struct branch_row {
    float path;        /* s[b] */
    uint64_t position; /* of the image; only with dropout */
    uint32_t element;  /* of the row's first column within the image; only with dropout */
};

__device__ inline float path_of(const norm_shape &s, int64_t row)
{
    return s.path.rate > 0 ? draw_keep_one(s.path, s.path.position[(uint32_t)row / (uint32_t)s.tokens]) : 1.0f;
}

__device__ inline branch_row branch_of(const norm_shape &s, int64_t row, float path)
{
    branch_row branch = {path, 0, 0};
    if (s.dropout.rate > 0) {
        branch.position = s.dropout.position[(uint32_t)row / (uint32_t)s.tokens];
        branch.element = (uint32_t)row % (uint32_t)s.tokens * (uint32_t)s.width;
    }
    return branch;
}

__device__ inline branch_row branch_of(const norm_shape &s, int64_t row)
{
    return branch_of(s, row, path_of(s, row));
}

/* s[b] * ls * dropout of columns c .. c + N - 1; ls may be NULL. */
template <int N>
__device__ inline void branch_factors(const norm_shape &s, const branch_row &branch, const float *ls, int c,
                                      float *factor)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        factor[i] = branch.path;
    if (s.dropout.rate > 0) {
        float keep[N];
        draw_keep<N>(s.dropout, branch.position, branch.element + (uint32_t)c, keep);
#pragma unroll
        for (int i = 0; i < N; i++)
            factor[i] *= keep[i];
    }
    if (ls) {
        float scale[N];
        load_n<N>(ls + c, scale);
#pragma unroll
        for (int i = 0; i < N; i++)
            factor[i] *= scale[i];
    }
}

#endif
