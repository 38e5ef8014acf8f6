/* Column sums in two fixed-order stages: blocks leave partial sums, a second kernel adds those in order.
 *
 * Stage 1 of a matrix: a block of COLUMN_LANES x COLUMN_WARPS threads takes a tile of columns and a run of rows; its warps go down
 * the rows side by side, a lane holds the sums of its N columns. */
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

enum { COLUMN_LANES = 32, COLUMN_WARPS = 8, COLUMN_BLOCKS_PER_SM = 4 /* the grid is these, one wave */ };

struct column_plan {
    int tiles;
    int64_t chunks, rows_per_block;
};
/* vectors: VECTOR columns a lane, else one. partial is [chunks][columns]. */
struct column_plan plan_columns(const struct backend *be, int64_t rows, int64_t columns, bool vectors);

template <int N> __device__ inline int64_t column_of_lane()
{
    return ((int64_t)blockIdx.x * COLUMN_LANES + threadIdx.x) * N;
}

/* partial[blockIdx.y][columns] = the block's sums, from those of its lanes. tile: COLUMN_LANES * COLUMN_WARPS * N floats, used once.
 * All threads call it. */
template <int N> __device__ inline void store_partial(float sum[N], float *tile, int64_t columns, float *partial)
{
    constexpr int THREADS = COLUMN_LANES * COLUMN_WARPS;
    const int at = (int)(threadIdx.y * COLUMN_LANES + threadIdx.x);
    const int64_t column = column_of_lane<N>();
#pragma unroll
    for (int i = 0; i < N; i++)
        tile[i * THREADS + at] = sum[i];
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns)
        return;
#pragma unroll
    for (int i = 0; i < N; i++) {
        for (int y = 1; y < COLUMN_WARPS; y++)
            sum[i] += tile[i * THREADS + y * COLUMN_LANES + (int)threadIdx.x];
        partial[(int64_t)blockIdx.y * columns + column + i] = sum[i];
    }
}

#endif
