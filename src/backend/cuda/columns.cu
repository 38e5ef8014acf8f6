/* Column sums of a matrix: bias gradients where no product or norm makes them, and the second stage of all of them.
 *
 * Stage 1 (columns.cuh) reads the matrix once, in 128-bit loads: bound by memory. Stage 2: a block takes 32 columns, its 32
 * warps go down the partial sums; where there are few of these, a thread takes a column. Small. */
#include "backend/cuda/columns.cuh"

enum {
    LANES = COLUMN_LANES,
    TALL_PARTIALS = 32,
    FEW_PARTIALS = 16,
    FEW_THREADS = 256,
    MIN_ROWS = 64
};

__global__ void __launch_bounds__(LANES *TALL_PARTIALS)
    sum_partials_kernel(const float *partial, int64_t count, int64_t width, const __grid_constant__ column_sums sums,
                        bool accumulate)
{
    SHARED_ARRAY(float, tile, TALL_PARTIALS *LANES);
    float *to = sums.to[blockIdx.y];
    if (!to)
        return;
    int64_t column = (int64_t)blockIdx.x * LANES + threadIdx.x;
    const float *from = partial + (int64_t)blockIdx.y * count * width;
    float sum = 0;
    if (column < width)
#pragma unroll 4
        for (int64_t i = threadIdx.y; i < count; i += TALL_PARTIALS)
            sum += from[i * width + column];
    tile[threadIdx.y * LANES + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= width)
        return;
    for (int y = 1; y < TALL_PARTIALS; y++)
        sum += tile[y * LANES + (int)threadIdx.x];
    to[column] = accumulate ? to[column] + sum : sum;
}

__global__ void __launch_bounds__(FEW_THREADS) sum_few_kernel(const float *partial, int64_t count, int64_t width,
                                                              const __grid_constant__ column_sums sums, bool accumulate)
{
    float *to = sums.to[blockIdx.y];
    int64_t column = (int64_t)blockIdx.x * FEW_THREADS + threadIdx.x;
    if (!to || column >= width)
        return;
    const float *from = partial + (int64_t)blockIdx.y * count * width + column;
    float sum = 0;
#pragma unroll 4
    for (int64_t i = 0; i < count; i++)
        sum += from[i * width];
    to[column] = accumulate ? to[column] + sum : sum;
}

void sum_partials(struct backend *be, const float *partial, int64_t count, int64_t width,
                  const struct column_sums &sums, bool accumulate)
{
    unsigned outputs = MAX_COLUMN_SUMS;
    while (outputs > 1 && !sums.to[outputs - 1])
        outputs--;
    bool few = count <= FEW_PARTIALS;
    dim3 grid((unsigned)divide_up(width, few ? FEW_THREADS : LANES), outputs), tall(LANES, TALL_PARTIALS);
    launch(be, "sum_partials", few ? sum_few_kernel : sum_partials_kernel, grid, few ? dim3(FEW_THREADS) : tall, 0,
           partial, count, width, sums, accumulate);
}

template <int N, typename T>
__global__ void __launch_bounds__(COLUMN_LANES *COLUMN_WARPS, COLUMN_BLOCKS_PER_SM)
    column_sums_kernel(const T *x, int64_t rows, int64_t columns, int64_t stride, int64_t rows_per_block, float *partial)
{
    SHARED_ARRAY(float, tile, COLUMN_LANES *COLUMN_WARPS *N);
    const int64_t column = column_of_lane<N>(), end = min((int64_t)(blockIdx.y + 1) * rows_per_block, rows);
    float sum[N] = {};
    if (column < columns)
#pragma unroll 4
        for (int64_t row = (int64_t)blockIdx.y * rows_per_block + threadIdx.y; row < end; row += COLUMN_WARPS) {
            float value[N];
            load_n<N>(x + row * stride + column, value);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += value[i];
        }
    store_partial<N>(sum, tile, columns, partial);
}

struct column_plan plan_columns(const struct backend *be, int64_t rows, int64_t columns, bool vectors)
{
    struct column_plan plan;
    int per_lane = vectors ? VECTOR : 1;
    plan.tiles = (int)divide_up(columns, COLUMN_LANES * per_lane);
    int64_t wave = (int64_t)cuda_sm_count(be) * COLUMN_BLOCKS_PER_SM / plan.tiles;
    int64_t chunks = least(wave > 1 ? wave : 1, divide_up(rows, MIN_ROWS));
    plan.rows_per_block = divide_up(rows, chunks);
    plan.chunks = divide_up(rows, plan.rows_per_block);
    VT_CHECK(plan.chunks <= 65535);
    return plan;
}

size_t cuda_column_sums_bytes(const struct backend *be, int64_t rows, int64_t columns)
{
    /* with vectors there are fewer tiles, so more chunks */
    return (size_t)(plan_columns(be, rows, columns, columns % VECTOR == 0).chunks * columns) * sizeof(float);
}

void cuda_column_sums(struct backend *be, const void *x, enum dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                      float *sums, bool accumulate, void *workspace)
{
    bool vectors = columns % VECTOR == 0 && stride % VECTOR == 0 && (uintptr_t)x % 16 == 0;
    struct column_plan plan = plan_columns(be, rows, columns, vectors);
    dim3 grid((unsigned)plan.tiles, (unsigned)plan.chunks), block(COLUMN_LANES, COLUMN_WARPS);
    with_type(dtype, [&](auto zero) {
        using T = decltype(zero);
        auto kernel = vectors ? column_sums_kernel<VECTOR, T> : column_sums_kernel<1, T>;
        launch(be, "column_sums", kernel, grid, block, 0, x, rows, columns, stride, plan.rows_per_block, workspace);
    });
    struct column_sums to = {{sums, NULL, NULL, NULL}};
    sum_partials(be, (const float *)workspace, plan.chunks, columns, to, accumulate);
}
