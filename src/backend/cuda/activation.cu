/* GELU (erf and tanh forms) and tanh as passes of their own: the op, and where the products' epilogues do not do them.
 * A thread takes 8 elements, 1 where 8 does not divide the width. Forward moves pre and y; backward pre, and dx twice. With dx's
 * column sums, backward goes down the columns instead, as columns.cu does.
 * Bound by memory: forward runs 24 (erf) or 15 (tanh) instructions an element on sm_90. */
#include "backend/cuda/columns.cuh"

enum { THREADS = 256, SUM_ROWS = 2 /* of a lane, under way at once */ };

constexpr float LOG2_E = 1.44269504088896341f, ROOT_HALF = 0.70710678118654752f;
constexpr float ROOT_1_OVER_2PI = 0.39894228040143268f, ROOT_2_OVER_PI = 0.79788456080286536f, CUBIC = 0.044715f;

struct normal { /* of x: the distribution Phi(x), and exp(-x^2 / 2) */
    float below, bell;
};

/* Abramowitz & Stegun 7.1.26, of the tail, which keeps small values small: Phi to 1e-7. Its exponential is the bell's.
 */
__device__ inline normal normal_of(float x)
{
    float t = __fdividef(1.0f, 1.0f + 0.3275911f * ROOT_HALF * fabsf(x));
    float bell = exp2_approx(-0.5f * LOG2_E * x * x);
    float polynomial =
        t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    float tail = 0.5f * polynomial * bell;
    return normal{x < 0 ? tail : 1.0f - tail, bell};
}

/* (1 + tanh(u)) / 2 with tanh-GELU's u: the logistic function of 2 u. */
__device__ inline float logistic_of(float x)
{
    float twice = 2 * ROOT_2_OVER_PI * (x + CUBIC * x * x * x);
    return __fdividef(1.0f, 1.0f + exp2_approx(-LOG2_E * twice));
}

template <enum activation ACT> __device__ inline float value_of(float x)
{
    if (ACT == ACT_GELU_ERF)
        return x * normal_of(x).below;
    if (ACT == ACT_GELU_TANH)
        return x * logistic_of(x);
    return tanhf(x);
}

template <enum activation ACT> __device__ inline float slope_of(float x)
{
    if (ACT == ACT_GELU_ERF) { /* Phi(x) + x phi(x) */
        normal n = normal_of(x);
        return n.below + x * ROOT_1_OVER_2PI * n.bell;
    }
    if (ACT == ACT_GELU_TANH) { /* with s the logistic: s + x s (1 - s) 2 u' */
        float s = logistic_of(x);
        return s + x * s * (1.0f - s) * 2 * ROOT_2_OVER_PI * (1.0f + 3.0f * CUBIC * x * x);
    }
    float t = tanhf(x);
    return 1.0f - t * t;
}

template <enum activation ACT, int N, typename From, typename To>
__global__ void __launch_bounds__(THREADS) activation_kernel(const From *pre, To *y, int64_t vectors)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= vectors)
        return;
    float value[N];
    load_n<N>(pre + i * N, value);
#pragma unroll
    for (int j = 0; j < N; j++)
        value[j] = value_of<ACT>(value[j]);
    store_n<N>(y + i * N, value);
}

template <enum activation ACT, int N, typename T>
__global__ void __launch_bounds__(THREADS)
    activation_backward_kernel(const T *pre, T *dx, int64_t rows, uint32_t row_vectors, int64_t stride)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= rows * row_vectors)
        return;
    T *at = stride == (int64_t)row_vectors * N ? dx + i * N : dx + i / row_vectors * stride + i % row_vectors * N;
    float x[N], gradient[N];
    load_n<N>(pre + i * N, x);
    load_n<N>(at, gradient);
#pragma unroll
    for (int j = 0; j < N; j++)
        gradient[j] *= slope_of<ACT>(x[j]);
    store_n<N>(at, gradient);
}

template <enum activation ACT, int N, typename T>
__global__ void __launch_bounds__(COLUMN_LANES *COLUMN_WARPS, COLUMN_BLOCKS_PER_SM)
    activation_backward_sums_kernel(const T *pre, T *dx, int64_t rows, int64_t columns, int64_t stride, int64_t rows_per_block,
                                    float *partial)
{
    SHARED_ARRAY(float, tile, COLUMN_LANES *COLUMN_WARPS *N);
    const int64_t column = column_of_lane<N>(), end = min((int64_t)(blockIdx.y + 1) * rows_per_block, rows);
    float sum[N] = {};
    int64_t row = column < columns ? (int64_t)blockIdx.y * rows_per_block + threadIdx.y : end;
    for (; row < end; row += SUM_ROWS * COLUMN_WARPS) {
        float x[SUM_ROWS][N], gradient[SUM_ROWS][N];
#pragma unroll
        for (int r = 0; r < SUM_ROWS; r++) {
            const int64_t from = row + r * COLUMN_WARPS < end ? row + r * COLUMN_WARPS : row; /* no row another thread writes */
            load_n<N>(pre + from * columns + column, x[r]);
            load_n<N>(dx + from * stride + column, gradient[r]);
        }
#pragma unroll
        for (int r = 0; r < SUM_ROWS; r++) {
            if (row + r * COLUMN_WARPS >= end)
                break;
#pragma unroll
            for (int i = 0; i < N; i++) {
                gradient[r][i] *= slope_of<ACT>(x[r][i]);
                sum[i] += gradient[r][i];
            }
            store_n<N>(dx + (row + r * COLUMN_WARPS) * stride + column, gradient[r]);
        }
    }
    store_partial<N>(sum, tile, columns, partial);
}

template <enum activation ACT> struct activation_is {
    static constexpr enum activation value = ACT;
};

template <typename Body> static void with_activation(enum activation act, const Body &body)
{
    VT_CHECK(act == ACT_GELU_ERF || act == ACT_GELU_TANH || act == ACT_TANH);
    if (act == ACT_GELU_ERF)
        body(activation_is<ACT_GELU_ERF>());
    else if (act == ACT_GELU_TANH)
        body(activation_is<ACT_GELU_TANH>());
    else
        body(activation_is<ACT_TANH>());
}

static dim3 grid_of(int64_t vectors)
{
    int64_t blocks = divide_up(vectors, THREADS);
    VT_CHECK(blocks <= INT32_MAX);
    return dim3((unsigned)blocks);
}

void cuda_activation_forward(struct backend *be, enum activation act, const void *pre, enum dtype dtype, void *y,
                             enum dtype dtype_out, int64_t rows, int64_t columns)
{
    int64_t count = rows * columns;
    bool vectors = count % VECTOR == 0 && ((uintptr_t)pre | (uintptr_t)y) % 16 == 0;
    with_activation(act, [&](auto kind) {
        with_type(dtype, [&](auto from) {
            with_type(dtype_out, [&](auto to) {
                constexpr enum activation ACT = decltype(kind)::value;
                using From = decltype(from);
                using To = decltype(to);
                int64_t items = vectors ? count / VECTOR : count;
                launch(be, "activation_forward",
                       vectors ? activation_kernel<ACT, VECTOR, From, To> : activation_kernel<ACT, 1, From, To>,
                       grid_of(items), dim3(THREADS), 0, pre, y, items);
            });
        });
    });
}

void cuda_activation_backward(struct backend *be, enum activation act, const void *pre, void *dx, enum dtype dtype,
                              int64_t rows, int64_t columns, int64_t stride)
{
    bool vectors = columns % VECTOR == 0 && stride % VECTOR == 0 && ((uintptr_t)pre | (uintptr_t)dx) % 16 == 0;
    with_activation(act, [&](auto kind) {
        with_type(dtype, [&](auto zero) {
            constexpr enum activation ACT = decltype(kind)::value;
            using T = decltype(zero);
            int64_t row_vectors = vectors ? columns / VECTOR : columns;
            launch(be, "activation_backward",
                   vectors ? activation_backward_kernel<ACT, VECTOR, T> : activation_backward_kernel<ACT, 1, T>,
                   grid_of(rows * row_vectors), dim3(THREADS), 0, pre, dx, rows, row_vectors, stride);
        });
    });
}

void cuda_activation_backward_sums(struct backend *be, enum activation act, const void *pre, void *dx, enum dtype dtype,
                                   int64_t rows, int64_t columns, int64_t stride, float *sums, bool accumulate,
                                   void *workspace)
{
    bool vectors = columns % VECTOR == 0 && stride % VECTOR == 0 && ((uintptr_t)pre | (uintptr_t)dx) % 16 == 0;
    struct column_plan plan = plan_columns(be, rows, columns, vectors);
    dim3 grid((unsigned)plan.tiles, (unsigned)plan.chunks), block(COLUMN_LANES, COLUMN_WARPS);
    with_activation(act, [&](auto kind) {
        with_type(dtype, [&](auto zero) {
            constexpr enum activation ACT = decltype(kind)::value;
            using T = decltype(zero);
            launch(be, "activation_backward_sums",
                   vectors ? activation_backward_sums_kernel<ACT, VECTOR, T> : activation_backward_sums_kernel<ACT, 1, T>, grid,
                   block, 0, pre, dx, rows, columns, stride, plan.rows_per_block, workspace);
        });
    });
    struct column_sums to = {{sums, NULL, NULL, NULL}};
    sum_partials(be, (const float *)workspace, plan.chunks, columns, to, accumulate);
}

/* ---- the op ---- */

struct activation_plan {
    struct op_plan plan;
    struct activation_desc desc;
};

static void activation_forward(struct op_plan *plan, const void *x, void *y)
{
    const struct activation_desc *d = &((struct activation_plan *)plan)->desc;
    cuda_activation_forward(plan->backend, d->act, x, d->dtype, y, d->dtype, d->rows, d->columns);
}

static vt_status plan_activation(struct backend *be, const struct activation_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->rows > 0 && desc->columns > 0 && desc->act != ACT_NONE);
    VT_TRY(cuda_check_dtype("activation", desc->dtype));
    VT_TRY(check_elements("activation", desc->rows * desc->columns));
    struct activation_plan *made;
    VT_TRY(cuda_plan_new(be, "elements", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_activation_install(struct backend *be)
{
    be->nn.activation_plan = plan_activation;
    be->nn.activation_forward = activation_forward;
}
