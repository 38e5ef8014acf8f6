/* What the kernels of add_norm's backward share, and the one for any width: a column at a time, sums in shared memory;
 * for correctness, not speed. */
#ifndef VT_BACKEND_CUDA_ADD_NORM_BACKWARD_CUH
#define VT_BACKEND_CUDA_ADD_NORM_BACKWARD_CUH

#include "backend/cuda/add_norm.cuh"
#include "backend/cuda/reduce.cuh"

enum { NARROW_THREADS = 256, NARROW_BLOCKS_PER_SM = 2 };

template <typename T, typename R> struct backward_args {
    const T *dy;
    const R *x_out;
    const float *stats, *ls, *weight; /* ls: with LayerScale only */
    const T *delta;                   /* likewise */
    const R *dx_in;                   /* may be NULL, and dx */
    R *dx;
    T *ddelta; /* NULL: no delta, or ddelta is dx */
    bool has_delta;
    bool first;     /* dx_in has the rows of each image's first token only */
    bool sum_delta; /* ddelta_sum is wanted */
    int team_warps; /* a divisor of the block's */
    float *partial; /* [4][gridDim.x][width]: dweight, dbias, dls, ddelta; the last two where wanted */
    norm_shape shape;
};

struct row_sums { /* along a row: of g, and of g n */
    float g, gn;
};

/* The row of dx_in; NULL: zero. */
template <typename T, typename R> __device__ inline const R *later_of(const backward_args<T, R> &a, int64_t row)
{
    if (!a.dx_in || !a.first)
        return a.dx_in ? a.dx_in + row * a.shape.width : NULL;
    uint32_t image = (uint32_t)row / (uint32_t)a.shape.tokens;
    return image * (uint32_t)a.shape.tokens == (uint32_t)row ? a.dx_in + (int64_t)image * a.shape.width : NULL;
}

/* Any width: one row at a time, column by column; the sums of the block's rows in shared memory [4][width]. */
template <typename T, typename R>
__global__ void __launch_bounds__(NARROW_THREADS) backward_narrow(backward_args<T, R> a)
{
    SHARED_ARRAY(float, scratch, NARROW_THREADS / WARP_SIZE);
    SHARED_DYNAMIC(float, columns);
    const int width = a.shape.width, first = (int)threadIdx.x;
    for (int i = first; i < MAX_COLUMN_SUMS * width; i += NARROW_THREADS)
        columns[i] = 0;
    __syncthreads();
    for (int64_t row = blockIdx.x; row < a.shape.rows; row += gridDim.x) {
        float mean = a.stats[2 * row], rstd = a.stats[2 * row + 1];
        row_sums sums = {0, 0};
        for (int c = first; c < width; c += NARROW_THREADS) {
            float dy = to_float(a.dy[row * width + c]), n = (to_float(a.x_out[row * width + c]) - mean) * rstd;
            columns[c] += dy * n;
            columns[width + c] += dy;
            sums.g += dy * a.weight[c];
            sums.gn += dy * a.weight[c] * n;
        }
        sums.g = block_sum(sums.g, scratch) / (float)width;
        sums.gn = block_sum(sums.gn, scratch) / (float)width;
        branch_row branch = branch_of(a.shape, row);
        const R *later = later_of(a, row);
        for (int c = first; c < width; c += NARROW_THREADS) {
            int64_t at = row * width + c;
            float n = (to_float(a.x_out[at]) - mean) * rstd, factor;
            float total = rstd * (to_float(a.dy[at]) * a.weight[c] - (sums.g + n * sums.gn));
            total += later ? to_float(later[c]) : 0.0f;
            a.dx[at] = from_float<R>(total);
            if (!a.has_delta)
                continue;
            branch_factors<1>(a.shape, branch, NULL, c, &factor);
            total = factor == 0 ? 0.0f : total * factor;
            if (a.ls) {
                columns[2 * width + c] += total != 0 ? total * to_float(a.delta[at]) : 0.0f;
                total *= a.ls[c];
            }
            columns[3 * width + c] += total;
            if (a.ddelta)
                a.ddelta[at] = from_float<T>(total);
        }
    }
    for (int k = 0; k < MAX_COLUMN_SUMS; k++)
        for (int c = first; c < width; c += NARROW_THREADS)
            a.partial[((int64_t)k * gridDim.x + blockIdx.x) * width + c] = columns[k * width + c];
}

#endif
