/* The backward of add_norm: dx, ddelta, and the column sums dweight, dbias, dls, ddelta_sum.
 *
 * A block goes down the rows, ROWS at a time; a thread owns 8 columns, so its sums over rows stay in registers and the
 * parameters are read once. The two sums along a row cross the block's warps by one barrier. At the end each block
 * leaves its column sums, and sum_partials adds those in order: no atomics. The grid is what fits the device at once.
 * Moves dy, x_out, dx_in, dx once, and ddelta where it is not dx: 4 or 5 widths of bf16 a row, and delta with
 * LayerScale. Bound by memory. Widths that 8 does not divide, or past 3072 (registers): a column at a time, sums in
 * shared memory; for correctness, not speed. */
#include "backend/cuda/add_norm.cuh"
#include "backend/cuda/reduce.cuh"

enum { ROWS = 2, MAX_WARPS = 12, NARROW_THREADS = 256, NARROW_BLOCKS_PER_SM = 2 };

template <typename T, typename R> struct backward_args {
    const T *dy;
    const R *x_out;
    const float *stats, *ls, *weight; /* ls: with LayerScale only */
    const T *delta;                   /* likewise */
    const R *dx_in;                   /* may be NULL, and dx */
    R *dx;
    T *ddelta; /* NULL: no delta, or ddelta is dx */
    bool has_delta;
    bool first; /* dx_in has the rows of each image's first token only */
    bool sum_delta; /* ddelta_sum is wanted */
    float *partial; /* [4][gridDim.x][width]: dweight, dbias, dls, ddelta; the last two where wanted */
    norm_shape shape;
};

struct row_sums { /* along a row: of g, and of g n */
    float g, gn;
};

/* What a thread holds of a row between its two passes. */
struct row_part {
    float dy[VECTOR], n[VECTOR], later[VECTOR];
    float rstd;
    bool has_later;
};

struct column_parts { /* sums over this block's rows, for the thread's columns */
    float dweight[VECTOR], dbias[VECTOR], dls[VECTOR], ddelta[VECTOR];
};

/* The row of dx_in; NULL: zero. */
template <typename T, typename R> __device__ inline const R *later_of(const backward_args<T, R> &a, int64_t row)
{
    if (!a.dx_in || !a.first)
        return a.dx_in ? a.dx_in + row * a.shape.width : NULL;
    uint32_t image = (uint32_t)row / (uint32_t)a.shape.tokens;
    return image * (uint32_t)a.shape.tokens == (uint32_t)row ? a.dx_in + (int64_t)image * a.shape.width : NULL;
}

template <typename T, typename R>
__device__ inline row_sums read_row(const backward_args<T, R> &a, int64_t row, int c, const float *weight,
                                    row_part &part, column_parts &columns)
{
    int64_t at = row * a.shape.width + c;
    float2 stats = *(const float2 *)(a.stats + 2 * row);
    row_sums sums = {0, 0};
    load8(a.dy + at, part.dy);
    load8(a.x_out + at, part.n);
    const R *later = later_of(a, row);
    part.has_later = later;
    if (later)
        load8(later + c, part.later);
    part.rstd = stats.y;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        part.n[i] = (part.n[i] - stats.x) * stats.y;
        columns.dweight[i] += part.dy[i] * part.n[i];
        columns.dbias[i] += part.dy[i];
        sums.g += part.dy[i] * weight[i];
        sums.gn += part.dy[i] * weight[i] * part.n[i];
    }
    return sums;
}

/* total = dx_in + rstd (g - (sum g + n sum g n) / D), and the branch's gradient from it. */
template <bool SCALE, typename T, typename R>
__device__ inline void write_row(const backward_args<T, R> &a, int64_t row, int c, const float *weight, const float *ls,
                                 const row_part &part, row_sums sums, column_parts &columns)
{
    int64_t at = row * a.shape.width + c;
    float total[VECTOR], mean_g = sums.g / (float)a.shape.width, mean_gn = sums.gn / (float)a.shape.width;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        total[i] = part.rstd * (part.dy[i] * weight[i] - (mean_g + part.n[i] * mean_gn));
        if (part.has_later)
            total[i] += part.later[i];
    }
    store8(a.dx + at, total);
    if (!a.ddelta && !a.sum_delta)
        return;
    branch_row branch = branch_of(a.shape, row);
    float factor[VECTOR], delta[VECTOR];
    if (SCALE && branch.path != 0)
        load8(a.delta + at, delta);
    branch_factors<VECTOR>(a.shape, branch, NULL, c, factor);
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        total[i] = factor[i] == 0 ? 0.0f : total[i] * factor[i];
        if (SCALE) {
            columns.dls[i] += total[i] != 0 ? total[i] * delta[i] : 0.0f;
            total[i] *= ls[i];
        }
        columns.ddelta[i] += total[i];
    }
    if (a.ddelta)
        store8(a.ddelta + at, total);
}

/* The block's sums of each row. `scratch` is ROWS row_sums a warp, used by every second call only. */
__device__ inline void sum_rows(row_sums sums[ROWS], row_sums *scratch)
{
    int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE, warps = (int)blockDim.x / WARP_SIZE;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        sums[r].g = warp_sum(sums[r].g);
        sums[r].gn = warp_sum(sums[r].gn);
        if (lane == 0)
            scratch[warp * ROWS + r] = sums[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        sums[r] = scratch[r];
        for (int w = 1; w < warps; w++) {
            sums[r].g += scratch[w * ROWS + r].g;
            sums[r].gn += scratch[w * ROWS + r].gn;
        }
    }
}

__device__ inline void store_columns(float *partial, int width, int c, const column_parts &columns, bool scale,
                                     bool delta)
{
    int64_t next = (int64_t)gridDim.x * width;
    float *to = partial + (int64_t)blockIdx.x * width + c;
    store8(to, columns.dweight);
    store8(to + next, columns.dbias);
    if (scale)
        store8(to + 2 * next, columns.dls);
    if (delta)
        store8(to + 3 * next, columns.ddelta);
}

template <bool SCALE, typename T, typename R>
__global__ void __launch_bounds__(MAX_WARPS *WARP_SIZE) backward_kernel(backward_args<T, R> a)
{
    SHARED_ARRAY(row_sums, scratch, 2 * MAX_WARPS * ROWS); /* in turns, so that one barrier an iteration is enough */
    int c = (int)threadIdx.x * VECTOR, turn = 0;
    bool own = c < a.shape.width;
    float weight[VECTOR], ls[VECTOR] = {};
    column_parts columns = {};
    if (own) {
        load8(a.weight + c, weight);
        if (SCALE)
            load8(a.ls + c, ls);
    }
    for (int64_t first = (int64_t)blockIdx.x * ROWS; first < a.shape.rows; first += (int64_t)gridDim.x * ROWS) {
        row_part part[ROWS];
        row_sums sums[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            sums[r] = row_sums{0, 0};
            if (own && first + r < a.shape.rows)
                sums[r] = read_row(a, first + r, c, weight, part[r], columns);
        }
        sum_rows(sums, scratch + turn * MAX_WARPS * ROWS);
        turn ^= 1;
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (own && first + r < a.shape.rows)
                write_row<SCALE>(a, first + r, c, weight, ls, part[r], sums[r], columns);
    }
    if (own)
        store_columns(a.partial, a.shape.width, c, columns, SCALE, a.sum_delta);
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

static bool is_narrow(int64_t width)
{
    return width % VECTOR != 0 || width > MAX_WARPS * WARP_SIZE * VECTOR;
}

static int threads_of(int64_t width)
{
    return (int)round_up(divide_up(width, VECTOR), WARP_SIZE);
}

template <typename T, typename R> using backward_kernel_of = void (*)(backward_args<T, R>);

template <typename T, typename R> static backward_kernel_of<T, R> kernel_of(const struct add_norm_desc *d)
{
    if (is_narrow(d->width))
        return backward_narrow<T, R>;
    return d->layer_scale ? backward_kernel<true, T, R> : backward_kernel<false, T, R>;
}

/* As many as run at once, and no more than there are rows for. */
int add_norm_backward_blocks(struct backend *be, const struct add_norm_desc *d)
{
    int64_t rows = d->batch * d->tokens, fit = NARROW_BLOCKS_PER_SM, useful = rows;
    if (!is_narrow(d->width)) {
        with_type(d->dtype, [&](auto t) {
            with_type(d->dtype_stream, [&](auto r) {
                fit = blocks_per_multiprocessor(kernel_of<decltype(t), decltype(r)>(d), threads_of(d->width), 0);
            });
        });
        useful = divide_up(rows, ROWS);
    }
    return (int)least(fit * cuda_sm_count(be), useful);
}

template <typename T, typename R>
static void backward(struct add_norm_plan *plan, const struct add_norm_backward_args *args,
                     const struct op_random *random)
{
    const struct add_norm_desc *d = &plan->desc;
    backward_args<T, R> a = {(const T *)args->dy,
                             (const R *)args->x_out,
                             args->stats,
                             d->layer_scale ? args->ls : NULL,
                             args->weight,
                             (const T *)args->delta,
                             (const R *)args->dx_in,
                             (R *)args->dx,
                             d->has_delta && args->ddelta != args->dx ? (T *)args->ddelta : NULL,
                             d->has_delta,
                             d->dx_in_first,
                             d->has_delta && args->ddelta_sum,
                             (float *)cuda_workspace(&plan->plan),
                             shape_of(plan, random)};
    bool narrow = is_narrow(d->width);
    dim3 grid((unsigned)plan->backward_blocks), block((unsigned)(narrow ? NARROW_THREADS : threads_of(d->width)));
    size_t shared = narrow ? MAX_COLUMN_SUMS * (size_t)d->width * sizeof(float) : 0;
    launch(plan->plan.backend, "add_norm_backward", kernel_of<T, R>(d), grid, block, shared, a);
}

void cuda_add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args,
                            const struct op_random *random)
{
    struct add_norm_plan *p = (struct add_norm_plan *)plan;
    const struct add_norm_desc *d = &p->desc;
    VT_CHECK(add_norm_backward_ok(d, args));
    with_type(d->dtype, [&](auto t) {
        with_type(d->dtype_stream, [&](auto r) { backward<decltype(t), decltype(r)>(p, args, random); });
    });
    struct column_sums sums = {
        {args->dweight, args->dbias, d->layer_scale ? args->dls : NULL, d->has_delta ? args->ddelta_sum : NULL}};
    sum_partials(plan->backend, (const float *)cuda_workspace(plan), p->backward_blocks, d->width, sums,
                 args->accumulate);
}
