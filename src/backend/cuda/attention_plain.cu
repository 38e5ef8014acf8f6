/* Attention for every shape, fp32 and bf16, with dropout: what the faster ways do not take.
 *
 * All products are tiles of 32 x 32 sums, 4 per thread, made by 256 threads from slices of 64 in shared memory; all
 * arithmetic is fp32. A block takes 32 rows of one (image, head) at a time and keeps their scores in its own slab of the workspace
 * (grid-sized, so it stays in L2), which puts no limit on the row length. Backward runs twice, over query rows for dq and
 * over key rows for dk and dv, computing scores again: no atomics, one writer per element, the same bits each run.
 * Bound by the fp32 units: each operand is read once per 32 rows. */
#include "backend/cuda/op.cuh"
#include "backend/cuda/philox.cuh"
#include "backend/cuda/reduce.cuh"
extern "C" {
#include "backend/cuda/attention.h"
}

enum { ROWS = 32, THREADS = 256, WARPS = THREADS / WARP_SIZE, SUMS = ROWS / WARPS, DEPTH = 64, BLOCKS_PER_SM = 4 };

template <typename T> struct plain_args {
    const T *q, *k, *v, *d_o;
    T *o, *dq, *dk, *dv;
    float *lse;
    struct attention_view q_view, k_view, v_view, o_view;
    int64_t heads, queries, keys, head_dim;
    int64_t items;     /* blocks of ROWS rows over all images and heads */
    float scale;
    struct dropout_args dropout;
    float *row_sum;    /* [B, A, queries]: sum of p dp, from the pass over queries to the one over keys */
    float *slabs;      /* [grid][slab] */
    int64_t slab;
};

/* Where a block works: rows [first, first + count) of (b, h). */
struct plain_item {
    int64_t b, h, first;
    int count;
};

template <typename T> __device__ inline struct plain_item item_at(const plain_args<T> &args, int64_t index, int64_t rows)
{
    int64_t blocks = (rows + ROWS - 1) / ROWS, head = index / blocks, first = index % blocks * ROWS;
    int64_t left = rows - first;
    return {head / args.heads, head % args.heads, first, left < ROWS ? (int)left : ROWS};
}

/* `rows` rows of `columns` elements. */
template <typename T> struct matrix {
    const T *at;
    int64_t stride, rows, columns;
};

template <typename T> __device__ inline float element(const matrix<T> &m, int64_t row, int64_t column)
{
    return row < m.rows && column < m.columns ? to_float(m.at[row * m.stride + column]) : 0.0f;
}

template <typename T>
__device__ inline matrix<T> head_matrix(const T *tensor, const struct attention_view &view, const struct plain_item &item,
                                        int64_t first, int64_t rows, int64_t columns)
{
    return {tensor + item.b * view.batch + item.h * view.head + first * view.row, view.row, rows, columns};
}

/* sum[i] = x(4 warp + i, :) . y's column (first + lane), over x's columns: y(depth, column), or with `transposed` y(column,
 * depth), read along its rows either way. All threads. Its barriers also stand between what the block wrote to its slab
 * before and what is read here, and between that and what is written after. */
template <bool transposed, typename X, typename Y>
__device__ inline void tile_product(float sum[SUMS], const matrix<X> &x, const matrix<Y> &y, int64_t first)
{
    SHARED_ARRAY(float, x_tile, ROWS * DEPTH);
    SHARED_ARRAY(float, y_tile, DEPTH * (ROWS + 1));
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
#pragma unroll
    for (int i = 0; i < SUMS; i++)
        sum[i] = 0.0f;
    for (int64_t depth = 0; depth < x.columns; depth += DEPTH) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < ROWS * DEPTH; i += THREADS) {
            x_tile[i] = element(x, i / DEPTH, depth + i % DEPTH);
            if (transposed)
                y_tile[i % DEPTH * (ROWS + 1) + i / DEPTH] = element(y, first + i / DEPTH, depth + i % DEPTH);
            else
                y_tile[i / ROWS * (ROWS + 1) + i % ROWS] = element(y, depth + i / ROWS, first + i % ROWS);
        }
        __syncthreads();
#pragma unroll 8
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                sum[i] = fmaf(x_tile[(warp * SUMS + i) * DEPTH + d], y_tile[d * (ROWS + 1) + lane], sum[i]);
    }
}

/* to(rows, columns) = slab(ROWS, depth) y(depth, columns). */
template <typename T>
__device__ inline void slab_product(T *to, int64_t stride, int rows, const float *slab, const matrix<T> &y)
{
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
    const matrix<float> x = {slab, y.rows, rows, y.rows};
    for (int64_t first = 0; first < y.columns; first += ROWS) {
        float sum[SUMS];
        tile_product<false>(sum, x, y, first);
        for (int i = 0; i < SUMS; i++)
            if (warp * SUMS + i < rows && first + lane < y.columns)
                to[(warp * SUMS + i) * stride + first + lane] = from_float<T>(sum[i]);
    }
}

template <typename T>
__device__ inline float keep_at(const plain_args<T> &args, const struct plain_item &item, int64_t query, int64_t key)
{
    float keep = 1.0f;
    if (args.dropout.rate > 0)
        draw_keep<1>(args.dropout, args.dropout.position[item.b],
                     (uint32_t)((item.h * args.queries + query) * args.keys + key), &keep);
    return keep;
}

/* One row of scores becomes keep * softmax; returns the log of the sum of exponentials. One warp. */
template <typename T>
__device__ inline float softmax_row(const plain_args<T> &args, const struct plain_item &item, int64_t query, float *row)
{
    const int lane = (int)threadIdx.x % WARP_SIZE;
    float largest = -INFINITY, sum = 0.0f;
    for (int64_t j = lane; j < args.keys; j += WARP_SIZE)
        largest = fmaxf(largest, row[j]);
    largest = warp_max(largest);
    for (int64_t j = lane; j < args.keys; j += WARP_SIZE)
        sum += row[j] = expf(row[j] - largest);
    sum = warp_sum(sum);
    for (int64_t j = lane; j < args.keys; j += WARP_SIZE)
        row[j] = row[j] / sum * keep_at(args, item, query, j);
    return largest + logf(sum);
}

template <typename T> __global__ void __launch_bounds__(THREADS) plain_forward(const plain_args<T> args)
{
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
    float *const slab = args.slabs + (int64_t)blockIdx.x * args.slab;
    for (int64_t index = blockIdx.x; index < args.items; index += gridDim.x) {
        const struct plain_item item = item_at(args, index, args.queries);
        const matrix<T> q = head_matrix(args.q, args.q_view, item, item.first, item.count, args.head_dim);
        const matrix<T> k = head_matrix(args.k, args.k_view, item, 0, args.keys, args.head_dim);
        const matrix<T> v = head_matrix(args.v, args.v_view, item, 0, args.keys, args.head_dim);
        for (int64_t j = 0; j < args.keys; j += ROWS) {
            float score[SUMS];
            tile_product<true>(score, q, k, j);
            for (int i = 0; i < SUMS; i++)
                if (warp * SUMS + i < item.count && j + lane < args.keys)
                    slab[(warp * SUMS + i) * args.keys + j + lane] = score[i] * args.scale;
        }
        __syncthreads();
        for (int i = warp * SUMS; i < warp * SUMS + SUMS && i < item.count; i++) {
            const int64_t query = item.first + i;
            float lse = softmax_row(args, item, query, slab + i * args.keys);
            if (lane == 0)
                args.lse[(item.b * args.heads + item.h) * args.queries + query] = lse;
        }
        T *o = args.o + item.b * args.o_view.batch + item.h * args.o_view.head + item.first * args.o_view.row;
        slab_product(o, args.o_view.row, item.count, slab, v);
    }
}

/* Of 32 query rows: p and keep dp to the slabs; their row sums; ds = scale p (dp - row sum); dq = ds k. */
template <typename T> __global__ void __launch_bounds__(THREADS) plain_backward_queries(const plain_args<T> args)
{
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
    float *const ds = args.slabs + (int64_t)blockIdx.x * args.slab, *const dp = ds + ROWS * args.keys;
    for (int64_t index = blockIdx.x; index < args.items; index += gridDim.x) {
        const struct plain_item item = item_at(args, index, args.queries);
        const matrix<T> q = head_matrix(args.q, args.q_view, item, item.first, item.count, args.head_dim);
        const matrix<T> d_o = head_matrix(args.d_o, args.o_view, item, item.first, item.count, args.head_dim);
        const matrix<T> k = head_matrix(args.k, args.k_view, item, 0, args.keys, args.head_dim);
        const matrix<T> v = head_matrix(args.v, args.v_view, item, 0, args.keys, args.head_dim);
        const int64_t row = (item.b * args.heads + item.h) * args.queries + item.first;
        for (int64_t j = 0; j < args.keys; j += ROWS) {
            float score[SUMS], product[SUMS];
            tile_product<true>(score, q, k, j);
            tile_product<true>(product, d_o, v, j);
            for (int i = 0; i < SUMS; i++) {
                const int r = warp * SUMS + i;
                if (r >= item.count || j + lane >= args.keys)
                    continue;
                ds[r * args.keys + j + lane] = expf(score[i] * args.scale - args.lse[row + r]);
                dp[r * args.keys + j + lane] = product[i] * keep_at(args, item, item.first + r, j + lane);
            }
        }
        __syncthreads();
        for (int r = warp * SUMS; r < warp * SUMS + SUMS && r < item.count; r++) {
            float *p_row = ds + r * args.keys, *dp_row = dp + r * args.keys, sum = 0.0f;
            for (int64_t j = lane; j < args.keys; j += WARP_SIZE)
                sum = fmaf(p_row[j], dp_row[j], sum);
            sum = warp_sum(sum);
            for (int64_t j = lane; j < args.keys; j += WARP_SIZE)
                p_row[j] *= (dp_row[j] - sum) * args.scale;
            if (lane == 0)
                args.row_sum[row + r] = sum;
        }
        T *dq = args.dq + item.b * args.q_view.batch + item.h * args.q_view.head + item.first * args.q_view.row;
        slab_product(dq, args.q_view.row, item.count, ds, k);
    }
}

/* Of 32 key rows: keep p and ds, transposed, to the slabs; dv = (keep p)^T d_o; dk = ds^T q. */
template <typename T> __global__ void __launch_bounds__(THREADS) plain_backward_keys(const plain_args<T> args)
{
    const int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE;
    float *const p = args.slabs + (int64_t)blockIdx.x * args.slab, *const ds = p + ROWS * args.queries;
    for (int64_t index = blockIdx.x; index < args.items; index += gridDim.x) {
        const struct plain_item item = item_at(args, index, args.keys);
        const matrix<T> k = head_matrix(args.k, args.k_view, item, item.first, item.count, args.head_dim);
        const matrix<T> v = head_matrix(args.v, args.v_view, item, item.first, item.count, args.head_dim);
        const matrix<T> q = head_matrix(args.q, args.q_view, item, 0, args.queries, args.head_dim);
        const matrix<T> d_o = head_matrix(args.d_o, args.o_view, item, 0, args.queries, args.head_dim);
        const int64_t row = (item.b * args.heads + item.h) * args.queries;
        for (int64_t query = 0; query < args.queries; query += ROWS) {
            float score[SUMS], product[SUMS];
            tile_product<true>(score, k, q, query);
            tile_product<true>(product, v, d_o, query);
            if (query + lane >= args.queries)
                continue; /* a warp's last lanes; the barriers are in tile_product, which all reach again */
            for (int i = 0; i < SUMS; i++) {
                const int r = warp * SUMS + i;
                const int64_t to = r * args.queries + query + lane;
                if (r >= item.count)
                    continue;
                float one = expf(score[i] * args.scale - args.lse[row + query + lane]);
                float keep = keep_at(args, item, query + lane, item.first + r);
                p[to] = one * keep;
                ds[to] = one * (product[i] * keep - args.row_sum[row + query + lane]) * args.scale;
            }
        }
        T *dk = args.dk + item.b * args.k_view.batch + item.h * args.k_view.head + item.first * args.k_view.row;
        T *dv = args.dv + item.b * args.v_view.batch + item.h * args.v_view.head + item.first * args.v_view.row;
        slab_product(dv, args.v_view.row, item.count, p, d_o);
        slab_product(dk, args.k_view.row, item.count, ds, q);
    }
}

/* ---- host ---- */

static int64_t items_of(const struct attention_desc *d, int64_t rows)
{
    return d->batch * d->heads * divide_up(rows, ROWS);
}

static int64_t grid_of(const struct backend *be, int64_t items)
{
    return least(items, (int64_t)BLOCKS_PER_SM * cuda_sm_count(be));
}

/* Floats of one block's slab. */
static int64_t slab_of(const struct attention_desc *d, bool backward)
{
    int64_t longest = backward && d->queries > d->keys ? d->queries : d->keys;
    return (backward ? 2 : 1) * ROWS * longest;
}

static int64_t row_sums_of(const struct attention_desc *d) { return round_up(d->batch * d->heads * d->queries, 64); }

size_t attention_plain_workspace(const struct backend *be, const struct attention_desc *d, bool backward)
{
    int64_t items = items_of(d, backward && d->keys > d->queries ? d->keys : d->queries);
    int64_t floats = grid_of(be, items) * slab_of(d, backward) + (backward ? row_sums_of(d) : 0);
    return (size_t)floats * sizeof(float);
}

template <typename T>
static plain_args<T> args_of(const struct attention_desc *d, const struct attention_call *call, void *workspace, bool backward)
{
    plain_args<T> a = {};
    a.q = (const T *)call->q, a.k = (const T *)call->k, a.v = (const T *)call->v, a.d_o = (const T *)call->d_o;
    a.o = (T *)call->o, a.dq = (T *)call->dq, a.dk = (T *)call->dk, a.dv = (T *)call->dv;
    a.lse = call->lse;
    a.q_view = d->q, a.k_view = d->k, a.v_view = d->v, a.o_view = d->o;
    a.heads = d->heads, a.queries = d->queries, a.keys = d->keys, a.head_dim = d->head_dim;
    a.scale = d->scale;
    if (d->dropout > 0)
        a.dropout = {call->random->seed, call->random->position, d->purpose, d->dropout, 1 / (1 - d->dropout)};
    a.row_sum = (float *)workspace;
    a.slabs = (float *)workspace + (backward ? row_sums_of(d) : 0);
    a.slab = slab_of(d, backward);
    return a;
}

void attention_plain_forward(struct backend *be, const struct attention_desc *d, const struct attention_call *call,
                             void *workspace)
{
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        plain_args<T> a = args_of<T>(d, call, workspace, false);
        a.items = items_of(d, d->queries);
        launch(be, "attention_plain_forward", plain_forward<T>, dim3((unsigned)grid_of(be, a.items)), dim3(THREADS), 0, a);
    });
}

void attention_plain_backward(struct backend *be, const struct attention_desc *d, const struct attention_call *call,
                              void *workspace)
{
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        plain_args<T> a = args_of<T>(d, call, workspace, true);
        a.items = items_of(d, d->queries);
        launch(be, "attention_plain_backward_queries", plain_backward_queries<T>, dim3((unsigned)grid_of(be, a.items)),
               dim3(THREADS), 0, a);
        a.items = items_of(d, d->keys);
        launch(be, "attention_plain_backward_keys", plain_backward_keys<T>, dim3((unsigned)grid_of(be, a.items)),
               dim3(THREADS), 0, a);
    });
}
