/* Whole-head attention backward, bf16: dq, dk, dv of one (image, head) by one block, from q, k, v, d_o in shared memory.
 *
 * First each warp owns 16 keys and walks over the queries: p = exp(scale q k^T - lse) and ds = scale p (d_o v^T - row_sum) come
 * transposed out of the tensor cores, and are operands of dv += p^T d_o and dk += ds^T q, which stay in registers. Then each warp
 * owns 16 queries: dq = ds k, with ds kept in shared memory by the first part (KEEP: fewer products) or computed again (fits
 * longer rows). No atomics, no scratch in global memory: every gradient is written once, in an order that nothing changes.
 * Moves q, k, v, o, d_o, dq, dk, dv once: 16 d bytes a token and head. One block per multiprocessor at a ViT's lengths,
 * bound by its products and by what the loads of one block do not overlap. */
#include "backend/cuda/attention_head.cuh"

/* The block's operands in shared memory. */
struct head_shared {
    const bf16 *q, *k, *v, *d_o;
    const float *lse;     /* times log2 e; +inf past the last query, so that p is 0 there */
    const float *row_sum; /* of d_o * o */
    bf16 *ds;             /* KEEP: [keys, ds_pitch], transposed */
    int ds_pitch;         /* queries in whole tiles + 8 */
};

template <int D> __device__ inline void clear(float c[head_tile<D>::COLUMNS][4])
{
#pragma unroll
    for (int n = 0; n < head_tile<D>::COLUMNS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[n][e] = 0.0f;
}

/* c(16,16) = x y^T, the rows of both being D long. */
template <int D> __device__ inline void product_of_rows(float c[2][4], const bf16 *x, const bf16 *y, int lane)
{
#pragma unroll
    for (int e = 0; e < 8; e++)
        c[e / 4][e % 4] = 0.0f;
#pragma unroll
    for (int step = 0; step < head_tile<D>::STEPS; step++) {
        uint32_t a[4], b[4];
        load_a(a, x + step * 16, head_tile<D>::PITCH, lane);
        load_b_rows(b, y + step * 16, head_tile<D>::PITCH, lane);
        multiply(c, a, b);
    }
}

/* c(16,D) += a(16,16) rows(16,D). */
template <int D>
__device__ inline void add_product(float c[head_tile<D>::COLUMNS][4], const uint32_t a[4], const bf16 *rows, int lane)
{
#pragma unroll
    for (int step = 0; step < head_tile<D>::STEPS; step++) {
        uint32_t b[4];
        load_b(b, rows + step * 16, head_tile<D>::PITCH, lane);
        multiply(&c[2 * step], a, b);
    }
}

/* p = 2^(c s - lse), ds = scale p (dp - row_sum): dp becomes ds. */
__device__ inline void softmax_gradient(float &s, float &dp, float c, float scale, float lse, float row_sum, bool valid)
{
    s = valid ? exp2_approx(fmaf(s, c, -lse)) : 0.0f;
    dp = s * (dp - row_sum) * scale;
}

/* p^T and ds^T of 16 keys and 16 queries as operands a. */
template <int D>
__device__ inline void transposed_block(uint32_t p[4], uint32_t ds[4], const struct head_shared &sh, int key, int query, int keys,
                                        float scale, int lane)
{
    float s[2][4], dp[2][4];
    product_of_rows<D>(s, sh.k + key * head_tile<D>::PITCH, sh.q + query * head_tile<D>::PITCH, lane);
    product_of_rows<D>(dp, sh.v + key * head_tile<D>::PITCH, sh.d_o + query * head_tile<D>::PITCH, lane);
#pragma unroll
    for (int e = 0; e < 8; e++) {
        const int column = query + e / 4 * 8 + lane % 4 * 2 + e % 2, row = key + lane / 4 + e % 4 / 2 * 8;
        softmax_gradient(s[e / 4][e % 4], dp[e / 4][e % 4], scale * LOG2_E, scale, sh.lse[column], sh.row_sum[column], row < keys);
    }
    sums_to_a(p, s);
    sums_to_a(ds, dp);
}

/* dk and dv of 16 keys; with KEEP also ds for the second part. */
template <int D, bool KEEP>
__device__ inline void backward_keys(const struct head_shared &sh, const struct head_args &args, int key, int64_t k_head,
                                     int64_t v_head, int lane)
{
    float dk[head_tile<D>::COLUMNS][4], dv[head_tile<D>::COLUMNS][4];
    clear<D>(dk);
    clear<D>(dv);
    for (int query = 0; query < args.queries; query += 16) {
        uint32_t p[4], ds[4];
        transposed_block<D>(p, ds, sh, key, query, args.keys, args.scale, lane);
        if (KEEP) {
#pragma unroll
            for (int e = 0; e < 4; e++)
                *(uint32_t *)(sh.ds + (key + lane / 4 + e % 2 * 8) * sh.ds_pitch + query + lane % 4 * 2 + e / 2 * 8) = ds[e];
        }
        add_product<D>(dv, p, sh.d_o + query * head_tile<D>::PITCH, lane);
        add_product<D>(dk, ds, sh.q + query * head_tile<D>::PITCH, lane);
    }
    store_rows<D>(args.dk + k_head, args.k_view.row, key, args.keys, dk, 1.0f, 1.0f, lane);
    store_rows<D>(args.dv + v_head, args.v_view.row, key, args.keys, dv, 1.0f, 1.0f, lane);
}

/* ds of 16 queries and 16 keys as operand a, computed again. */
template <int D>
__device__ inline void gradient_block(uint32_t ds[4], const struct head_shared &sh, int query, int key, int keys, float scale,
                                      int lane)
{
    float s[2][4], dp[2][4];
    product_of_rows<D>(s, sh.q + query * head_tile<D>::PITCH, sh.k + key * head_tile<D>::PITCH, lane);
    product_of_rows<D>(dp, sh.d_o + query * head_tile<D>::PITCH, sh.v + key * head_tile<D>::PITCH, lane);
#pragma unroll
    for (int e = 0; e < 8; e++) {
        const int column = key + e / 4 * 8 + lane % 4 * 2 + e % 2, row = query + lane / 4 + e % 4 / 2 * 8;
        softmax_gradient(s[e / 4][e % 4], dp[e / 4][e % 4], scale * LOG2_E, scale, sh.lse[row], sh.row_sum[row], column < keys);
    }
    sums_to_a(ds, dp);
}

template <int D, bool KEEP>
__device__ inline void backward_queries(const struct head_shared &sh, const struct head_args &args, int query, int64_t q_head,
                                        int lane)
{
    float dq[head_tile<D>::COLUMNS][4];
    clear<D>(dq);
    for (int key = 0; key < args.keys; key += 16) {
        uint32_t ds[4];
        if (KEEP)
            load_a_trans(ds, sh.ds + key * sh.ds_pitch + query, sh.ds_pitch, lane);
        else
            gradient_block<D>(ds, sh, query, key, args.keys, args.scale, lane);
        add_product<D>(dq, ds, sh.k + key * head_tile<D>::PITCH, lane);
    }
    store_rows<D>(args.dq + q_head, args.q_view.row, query, args.queries, dq, 1.0f, 1.0f, lane);
}

/* row_sum[i] = sum over columns of d_o * o, and lse[i] in base 2: a warp per row. d_o is in shared memory, o is not. */
template <int D>
__device__ inline void prepare_rows(const struct head_args &args, const bf16 *d_o, const bf16 *o, const float *lse, int padded,
                                    float *lse_to, float *row_sum_to)
{
    const int lane = (int)threadIdx.x % 32;
    for (int row = (int)threadIdx.x / 32; row < padded; row += (int)blockDim.x / 32) {
        float sum = 0.0f;
        if (row < args.queries)
            for (int c = lane * 2; c < D; c += 64)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    sum += to_float(d_o[row * head_tile<D>::PITCH + c + e]) * to_float(o[row * args.o_view.row + c + e]);
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (lane == 0) {
            lse_to[row] = row < args.queries ? lse[row] * LOG2_E : INFINITY;
            row_sum_to[row] = sum;
        }
    }
}

template <int D, bool KEEP, int THREADS>
__global__ void __launch_bounds__(THREADS, 1) attention_head_backward_kernel(const struct head_args args)
{
    SHARED_DYNAMIC(bf16, q);
    constexpr int PITCH = head_tile<D>::PITCH;
    const int b = (int)blockIdx.x / args.heads, h = (int)blockIdx.x % args.heads;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    const int queries = (args.queries + 15) / 16 * 16, keys = (args.keys + 15) / 16 * 16;
    bf16 *const d_o = q + queries * PITCH, *const k = d_o + queries * PITCH, *const v = k + keys * PITCH;
    float *const lse = (float *)(v + keys * PITCH), *const row_sum = lse + queries;
    const struct head_shared sh = {q, k, v, d_o, lse, row_sum, (bf16 *)(row_sum + queries), queries + 8};
    const int64_t q_head = head_offset(args.q_view, b, h), k_head = head_offset(args.k_view, b, h);
    const int64_t v_head = head_offset(args.v_view, b, h), o_head = head_offset(args.o_view, b, h);

    load_rows<D>(d_o, args.d_o + o_head, args.o_view.row, args.queries, queries);
    cp_async_commit();
    load_rows<D>(q, args.q + q_head, args.q_view.row, args.queries, queries);
    load_rows<D>(k, args.k + k_head, args.k_view.row, args.keys, keys);
    load_rows<D>(v, args.v + v_head, args.v_view.row, args.keys, keys);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    prepare_rows<D>(args, d_o, args.o + o_head, args.lse + (int64_t)blockIdx.x * args.queries, queries, lse, row_sum);
    cp_async_wait<0>();
    __syncthreads();
    for (int key = warp * 16; key < args.keys; key += warps * 16)
        backward_keys<D, KEEP>(sh, args, key, k_head, v_head, lane);
    if (KEEP)
        __syncthreads();
    for (int query = warp * 16; query < args.queries; query += warps * 16)
        backward_queries<D, KEEP>(sh, args, query, q_head, lane);
}

/* ---- host ---- */

static size_t shared_bytes(const struct attention_desc *d, bool keep)
{
    const int64_t queries = head_padded(d->queries), keys = head_padded(d->keys);
    int64_t elements = 2 * (queries + keys) * (d->head_dim + 8) + (keep ? keys * (queries + 8) : 0);
    return (size_t)elements * sizeof(bf16) + (size_t)(2 * queries) * sizeof(float);
}

static bool keeps(const struct attention_desc *d, size_t limit) { return d->head_dim <= 80 && shared_bytes(d, true) <= limit; }

size_t attention_head_backward_shared(const struct attention_desc *d, size_t limit)
{
    size_t bytes = shared_bytes(d, keeps(d, limit));
    return head_desc_ok(d) && bytes <= limit ? bytes : 0;
}

/* Most threads: gradients of 16 rows in registers without spilling, in whole warps for each scheduler. */
static constexpr int threads_of(int d, bool keep) { return !keep ? d <= 96 ? 288 : 256 : d <= 64 ? 416 : 384; }

template <int D, bool KEEP>
static void launch_backward(struct backend *be, const struct attention_desc *d, const struct head_args &args)
{
    constexpr int THREADS = threads_of(D, KEEP);
    const int64_t longest = d->queries > d->keys ? d->queries : d->keys;
    launch(be, "attention_head_backward", attention_head_backward_kernel<D, KEEP, THREADS>, dim3((unsigned)(d->batch * d->heads)),
           dim3(head_threads(divide_up(longest, 16), THREADS)), shared_bytes(d, KEEP), args);
}

void attention_head_backward(struct backend *be, const struct attention_desc *d, const struct attention_call *call, size_t limit)
{
    const struct head_args args = head_args_of(d, call);
    VT_CHECK(head_aligned(call->d_o) && head_aligned(call->dq) && head_aligned(call->dk) && head_aligned(call->dv));
    with_head_dim(d->head_dim, [&](auto dim) {
        constexpr int D = decltype(dim)::value;
        if constexpr (D <= 80) {
            if (keeps(d, limit)) {
                launch_backward<D, true>(be, d, args);
                return;
            }
        }
        launch_backward<D, false>(be, d, args);
    });
}
