/* Residual + dropout + drop path + LayerScale + LayerNorm, forward.
 *
 * A warp takes a row and keeps it in registers (width and x_stride multiples of 8, width up to 2048); else a block
 * takes it, with the row in shared memory. Moves x, delta, x_out, y once: 4 widths of bf16 a row; without delta x and
 * y. Bound by memory. */
#include "backend/cuda/add_norm.cuh"

#include "backend/cuda/reduce.cuh"

enum { WARP_COLUMNS = WARP_SIZE * VECTOR, MAX_STEPS = 8, WARPS = 4, BLOCK_THREADS = 256 };

template <typename T, typename R> struct forward_args {
    const R *x;
    const T *delta; /* NULL: x_out is x */
    const float *ls, *weight, *bias;
    R *x_out;
    T *y;
    float *stats;
    norm_shape shape;
};

/* N columns of x_out from column c of a row; stored where there is a delta. */
template <int N, typename T, typename R>
__device__ inline void add_columns(const forward_args<T, R> &a, const branch_row &branch, int64_t row, int c,
                                   float *value)
{
    int64_t at = row * a.shape.width + c;
    load_n<N>(a.x + row * a.shape.x_stride + c, value);
    if (!a.delta)
        return;
    if (branch.path != 0) {
        float delta[N], factor[N];
        load_n<N>(a.delta + at, delta);
        branch_factors<N>(a.shape, branch, a.ls, c, factor);
#pragma unroll
        for (int i = 0; i < N; i++)
            value[i] = rounded<R>(value[i] + (factor[i] == 0 ? 0.0f : factor[i] * delta[i]));
    }
    store_n<N>(a.x_out + at, value);
}

template <int N, typename T, typename R>
__device__ inline void norm_columns(const forward_args<T, R> &a, int64_t row, int c, const float *value, float mean,
                                    float rstd)
{
    float weight[N], bias[N], y[N];
    load_n<N>(a.weight + c, weight);
    load_n<N>(a.bias + c, bias);
#pragma unroll
    for (int i = 0; i < N; i++)
        y[i] = (value[i] - mean) * rstd * weight[i] + bias[i];
    store_n<N>(a.y + row * a.shape.width + c, y);
}

/* x_out of one vector, from x and the branch as fetched; stored where there is a delta. */
template <typename T, typename R>
__device__ inline void add_vector(const forward_args<T, R> &a, const branch_row &branch, int64_t at, int c,
                                  const packed8<T> &fetched, float value[VECTOR])
{
    if (branch.path != 0) {
        float delta[VECTOR], factor[VECTOR];
        unpack8(fetched, delta);
        branch_factors<VECTOR>(a.shape, branch, a.ls, c, factor);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            value[i] = rounded<R>(value[i] + (factor[i] == 0 ? 0.0f : factor[i] * delta[i]));
    }
    store8(a.x_out + at, value);
}

/* STEPS: vectors a lane holds. All of a row's loads are under way before the first is looked at. */
template <int STEPS, typename T, typename R>
__global__ void __launch_bounds__(WARPS *WARP_SIZE) forward_warp(forward_args<T, R> a)
{
    int first = (int)threadIdx.x % WARP_SIZE * VECTOR, width = a.shape.width;
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP_SIZE;
    if (row >= a.shape.rows)
        return;
    packed8<R> x[STEPS] = {};
    packed8<T> delta[STEPS] = {};
#pragma unroll
    for (int s = 0; s < STEPS; s++)
        if (first + s * WARP_COLUMNS < width)
            x[s] = fetch8(a.x + row * a.shape.x_stride + first + s * WARP_COLUMNS);
    branch_row branch = branch_of(a.shape, row);
    bool add = a.delta && branch.path != 0;
#pragma unroll
    for (int s = 0; s < STEPS; s++)
        if (add && first + s * WARP_COLUMNS < width)
            delta[s] = fetch8(a.delta + row * width + first + s * WARP_COLUMNS);
    float value[STEPS][VECTOR], sum = 0, squares = 0;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        int c = first + s * WARP_COLUMNS;
        unpack8(x[s], value[s]);
        if (a.delta && c < width)
            add_vector(a, branch, row * width + c, c, delta[s], value[s]);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            sum += value[s][i]; /* 0 past the width */
    }
    float mean = warp_sum(sum) * a.shape.per_column;
#pragma unroll
    for (int s = 0; s < STEPS; s++)
        if (first + s * WARP_COLUMNS < width)
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                squares += (value[s][i] - mean) * (value[s][i] - mean);
    float rstd = rsqrtf(warp_sum(squares) * a.shape.per_column + a.shape.eps);
#pragma unroll
    for (int s = 0; s < STEPS; s++)
        if (first + s * WARP_COLUMNS < width)
            norm_columns<VECTOR>(a, row, first + s * WARP_COLUMNS, value[s], mean, rstd);
    if (first == 0)
        *(float2 *)(a.stats + 2 * row) = make_float2(mean, rstd);
}

/* A block per row; the row waits in dynamic shared memory, each thread its own columns. */
template <int N, typename T, typename R>
__global__ void __launch_bounds__(BLOCK_THREADS) forward_block(forward_args<T, R> a)
{
    SHARED_ARRAY(float, scratch, BLOCK_THREADS / WARP_SIZE);
    SHARED_DYNAMIC(float, kept);
    int64_t row = blockIdx.x;
    int width = a.shape.width, first = (int)threadIdx.x * N;
    branch_row branch = branch_of(a.shape, row);
    float sum = 0, squares = 0;
    for (int c = first; c < width; c += BLOCK_THREADS * N) {
        float value[N];
        add_columns<N>(a, branch, row, c, value);
        store_n<N>(kept + c, value);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += value[i];
    }
    float mean = block_sum(sum, scratch) / (float)width;
    for (int c = first; c < width; c += BLOCK_THREADS * N)
#pragma unroll
        for (int i = 0; i < N; i++)
            squares += (kept[c + i] - mean) * (kept[c + i] - mean);
    float rstd = rsqrtf(block_sum(squares, scratch) / (float)width + a.shape.eps);
    for (int c = first; c < width; c += BLOCK_THREADS * N) {
        float value[N];
        load_n<N>(kept + c, value);
        norm_columns<N>(a, row, c, value, mean, rstd);
    }
    if (threadIdx.x == 0)
        *(float2 *)(a.stats + 2 * row) = make_float2(mean, rstd);
}

template <typename T, typename R> using forward_kernel = void (*)(forward_args<T, R>);

/* The kernel that holds `steps` vectors a lane. */
template <typename T, typename R, int STEPS = 1> static forward_kernel<T, R> warp_kernel(int64_t steps)
{
    if constexpr (STEPS < MAX_STEPS)
        if (steps > STEPS)
            return warp_kernel<T, R, STEPS + 1>(steps);
    return forward_warp<STEPS, T, R>;
}

template <typename T, typename R>
static void forward(struct add_norm_plan *plan, const struct add_norm_forward_args *args,
                    const struct op_random *random)
{
    const struct add_norm_desc *d = &plan->desc;
    struct backend *be = plan->plan.backend;
    forward_args<T, R> a = {(const R *)args->x,
                            d->has_delta ? (const T *)args->delta : NULL,
                            d->layer_scale ? args->ls : NULL,
                            args->weight,
                            args->bias,
                            (R *)args->x_out,
                            (T *)args->y,
                            args->stats,
                            shape_of(plan, random)};
    int64_t rows = a.shape.rows, width = d->width;
    bool vectors = width % VECTOR == 0 && a.shape.x_stride % VECTOR == 0;
    if (vectors && width <= MAX_STEPS * WARP_COLUMNS) {
        launch(be, "add_norm_forward", warp_kernel<T, R>(divide_up(width, WARP_COLUMNS)),
               dim3((unsigned)divide_up(rows, WARPS)), dim3(WARPS * WARP_SIZE), 0, a);
        return;
    }
    forward_kernel<T, R> kernel = vectors ? forward_block<VECTOR, T, R> : forward_block<1, T, R>;
    launch(be, "add_norm_forward", kernel, dim3((unsigned)rows), dim3(BLOCK_THREADS), (size_t)width * sizeof(float), a);
}

static void add_norm_forward(struct op_plan *plan, const struct add_norm_forward_args *args,
                             const struct op_random *random)
{
    struct add_norm_plan *p = (struct add_norm_plan *)plan;
    VT_CHECK(add_norm_forward_ok(&p->desc, args));
    with_type(p->desc.dtype, [&](auto t) {
        with_type(p->desc.dtype_stream, [&](auto r) { forward<decltype(t), decltype(r)>(p, args, random); });
    });
}

static vt_status plan_add_norm(struct backend *be, const struct add_norm_desc *desc, struct op_plan **plan)
{
    int64_t rows = desc->batch * desc->tokens;
    VT_CHECK(add_norm_desc_ok(desc));
    VT_CHECK(rate_ok(desc->dropout, desc->tokens * desc->width) && rate_ok(desc->drop_path, 1));
    VT_TRY(cuda_check_dtype("add_norm", desc->dtype));
    VT_TRY(cuda_check_dtype("add_norm stream", desc->dtype_stream));
    if (desc->width > ADD_NORM_MAX_WIDTH || rows > INT32_MAX)
        return VT_FAIL(VT_E_UNSUPPORTED,
                       "cuda: add_norm of %lld rows of %lld columns, expected at most %d rows and %d columns",
                       (long long)rows, (long long)desc->width, INT32_MAX, ADD_NORM_MAX_WIDTH);
    struct add_norm_plan *made;
    struct add_norm_grid grid = add_norm_backward_grid(be, desc);
    size_t partials = (size_t)grid.blocks * MAX_COLUMN_SUMS * (size_t)desc->width * sizeof(float);
    VT_TRY(cuda_plan_new(be, "rows", sizeof *made, partials, (void **)&made));
    made->desc = *desc;
    made->backward = grid;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_add_norm_install(struct backend *be)
{
    be->nn.add_norm_plan = plan_add_norm;
    be->nn.add_norm_forward = add_norm_forward;
    be->nn.add_norm_backward = cuda_add_norm_backward;
}
