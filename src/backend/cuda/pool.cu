/* Pooling by the class token or the mean of the patch tokens.
 *
 * Forward: a block takes an image and a tile of columns; its warps go down the tokens side by side, a lane holds 8
 * columns' sums (1 where 8 does not divide the width). Backward: a thread takes 8 columns of a token. Each moves x or
 * dx once. */
#include "backend/cuda/op.cuh"

enum { LANES = 32, TALL = 8, THREADS = 256 };

struct pool_plan {
    struct op_plan plan;
    struct pool_desc desc;
};

struct pool_shape {
    int64_t batch;
    int tokens, width;
    int begin, end; /* the tokens that count, each with `weight` */
    float weight;
};

static pool_shape shape_of(const struct pool_desc *d)
{
    bool mean = d->kind == POOL_MEAN;
    int begin = mean ? (int)d->prefix : 0, end = mean ? (int)d->tokens : 1;
    return pool_shape{d->batch, (int)d->tokens, (int)d->width, begin, end, 1.0f / (float)(end - begin)};
}

template <int N, typename T> __global__ void __launch_bounds__(LANES *TALL) pool_kernel(const T *x, T *y, pool_shape s)
{
    SHARED_ARRAY(float, tile, TALL *LANES *N);
    int column = (int)(blockIdx.y * LANES + threadIdx.x) * N;
    const T *image = x + (int64_t)blockIdx.x * s.tokens * s.width;
    float sum[N] = {};
    if (column < s.width)
#pragma unroll 4
        for (int t = s.begin + (int)threadIdx.y; t < s.end; t += TALL) {
            float value[N];
            load_n<N>(image + (int64_t)t * s.width + column, value);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += value[i];
        }
    int at = (int)(threadIdx.y * LANES + threadIdx.x);
#pragma unroll
    for (int i = 0; i < N; i++)
        tile[i * TALL * LANES + at] = sum[i];
    __syncthreads();
    if (threadIdx.y != 0 || column >= s.width)
        return;
#pragma unroll
    for (int i = 0; i < N; i++) {
        for (int t = 1; t < TALL; t++)
            sum[i] += tile[i * TALL * LANES + t * LANES + (int)threadIdx.x];
        sum[i] *= s.weight;
    }
    store_n<N>(y + (int64_t)blockIdx.x * s.width + column, sum);
}

template <int N, typename T>
__global__ void __launch_bounds__(THREADS) pool_backward_kernel(const T *dy, T *dx, pool_shape s)
{
    uint32_t vectors = (uint32_t)(s.width / N);
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= (uint32_t)s.batch * (uint32_t)s.tokens * vectors)
        return;
    uint32_t row = i / vectors, c = i % vectors * N, image = row / (uint32_t)s.tokens;
    int token = (int)(row % (uint32_t)s.tokens);
    float value[N] = {};
    if (token >= s.begin && token < s.end) {
        load_n<N>(dy + (uint64_t)image * (uint32_t)s.width + c, value);
#pragma unroll
        for (int j = 0; j < N; j++)
            value[j] *= s.weight;
    }
    store_n<N>(dx + (uint64_t)i * N, value);
}

static void pool_forward(struct op_plan *plan, const void *x, void *y)
{
    const struct pool_desc *d = &((struct pool_plan *)plan)->desc;
    bool vectors = d->width % VECTOR == 0;
    dim3 grid((unsigned)d->batch, (unsigned)divide_up(d->width, LANES * (vectors ? VECTOR : 1)));
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        launch(plan->backend, "pool_forward", vectors ? pool_kernel<VECTOR, T> : pool_kernel<1, T>, grid,
               dim3(LANES, TALL), 0, x, y, shape_of(d));
    });
}

static void pool_backward(struct op_plan *plan, const void *dy, void *dx)
{
    const struct pool_desc *d = &((struct pool_plan *)plan)->desc;
    bool vectors = d->width % VECTOR == 0;
    dim3 grid((unsigned)divide_up(d->batch * d->tokens * (d->width / (vectors ? VECTOR : 1)), THREADS));
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        launch(plan->backend, "pool_backward", vectors ? pool_backward_kernel<VECTOR, T> : pool_backward_kernel<1, T>,
               grid, dim3(THREADS), 0, dy, dx, shape_of(d));
    });
}

static vt_status plan_pool(struct backend *be, const struct pool_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->tokens > 0 && desc->width > 0);
    VT_CHECK(desc->prefix >= 0 && desc->prefix <= 1);
    VT_CHECKF(desc->kind != POOL_CLS || desc->prefix == 1, "pooling by a class token that is not there");
    VT_CHECKF(desc->kind != POOL_MEAN || desc->prefix < desc->tokens, "mean over no tokens");
    VT_TRY(cuda_check_dtype("pool", desc->dtype));
    VT_TRY(check_threads("pool", desc->batch * desc->tokens * desc->width, desc->width % VECTOR == 0 ? VECTOR : 1));
    struct pool_plan *made;
    VT_TRY(cuda_plan_new(be, "columns", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_pool_install(struct backend *be)
{
    be->nn.pool_plan = plan_pool;
    be->nn.pool_forward = pool_forward;
    be->nn.pool_backward = pool_backward;
}
