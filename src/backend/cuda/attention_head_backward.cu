/* Whole-head attention backward, bf16: dq, dk, dv of one (image, head) by one block, from q, k, v, d_o in shared memory.
 *
 * First each warp owns 16 or 32 keys, their k and v in registers, and walks over the queries: p = exp(scale q k^T - lse) and
 * ds = p (d_o v^T - row_sum) come transposed out of the tensor cores, and are operands of dv += p^T d_o and dk += ds^T q, which
 * stay in registers. Then each warp owns queries: dq = ds k, with ds kept in shared memory by the first part (KEEP: fewer
 * products) or computed again (fits longer rows). No atomics, no scratch in global memory: every gradient is written once, in an
 * order that nothing changes.
 * Moves q, k, v, o, d_o, dq, dk, dv once: 16 d bytes a token and head. One block per multiprocessor at a ViT's lengths,
 * bound by its products, by what they read from shared memory, and by what the loads of one block do not overlap. */
#include "backend/cuda/attention_head.cuh"

/* The block's operands in shared memory. */
struct head_shared {
    const bf16 *q, *k, *v, *d_o;
    const float2 *rows; /* of queries: -lse in base 2, -inf past the last so that p is 0 there; sum of d_o * o */
    bf16 *ds;           /* KEEP: [keys, ds_pitch], transposed */
    int ds_pitch;       /* queries in whole tiles + 8 */
};

/* Of 8 products of bf16. */
__device__ inline float dot8(uint4 x, uint4 y)
{
    const uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum = fmaf(__uint_as_float(xs[i] << 16), __uint_as_float(ys[i] << 16), sum);
        sum = fmaf(__uint_as_float(xs[i] & 0xffff0000u), __uint_as_float(ys[i] & 0xffff0000u), sum);
    }
    return sum;
}

template <int D> __device__ inline void clear(float c[head_tile<D>::COLUMNS][4])
{
#pragma unroll
    for (int n = 0; n < head_tile<D>::COLUMNS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[n][e] = 0.0f;
}

/* TILES x 16 rows as operands a, the first HELD of their 16-column steps in registers: a warp reads what it owns again and
 * again. Tiles past the last row are the first one again: what comes of them is not used. */
template <int D, int TILES, int HELD> struct own_rows {
    uint32_t held[TILES][HELD ? HELD : 1][4];
    const bf16 *row[TILES]; /* of the steps not held */

    __device__ void load(const bf16 *from, int first, int rows, int lane)
    {
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            row[t] = from + (first + t * 16 < rows ? first + t * 16 : first) * head_tile<D>::PITCH;
#pragma unroll
            for (int step = 0; step < HELD; step++)
                load_a(held[t][step], row[t] + step * 16, head_tile<D>::PITCH, lane);
        }
    }

    __device__ void step_of(uint32_t a[4], int t, int step, int lane) const
    {
        if (step >= HELD)
            load_a(a, row[t] + step * 16, head_tile<D>::PITCH, lane);
        else
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = held[t][step][i];
    }
};

/* c(16,8) = x y^T for each tile x; y has 8 rows. */
template <int D, int TILES, int HELD>
__device__ inline void products_of_rows(float c[TILES][4], const own_rows<D, TILES, HELD> &x, const bf16 *y, int lane)
{
    constexpr int STEPS = head_tile<D>::STEPS, PITCH = head_tile<D>::PITCH;
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[t][e] = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS; step += 2) {
        uint32_t b[4]; /* of two steps */
        if (step + 1 < STEPS)
            ldmatrix_x4(b, y + (lane & 7) * PITCH + step * 16 + (lane >> 3) * 8);
        else
            ldmatrix_x2(b, y + (lane & 7) * PITCH + step * 16 + ((lane >> 3) & 1) * 8);
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            uint32_t a[4];
            x.step_of(a, t, step, lane);
            mma_m16n8k16_bf16(c[t], a, b);
            if (step + 1 < STEPS) {
                x.step_of(a, t, step + 1, lane);
                mma_m16n8k16_bf16(c[t], a, b + 2);
            }
        }
    }
}

/* c(16,D) += a(16,16) rows(16,D) for each tile. */
template <int D, int TILES>
__device__ inline void add_products(float c[TILES][head_tile<D>::COLUMNS][4], const uint32_t a[TILES][4], const bf16 *rows,
                                    int lane)
{
#pragma unroll
    for (int step = 0; step < head_tile<D>::STEPS; step++) {
        uint32_t b[4];
        load_b(b, rows + step * 16, head_tile<D>::PITCH, lane);
#pragma unroll
        for (int t = 0; t < TILES; t++)
            multiply(&c[t][2 * step], a[t], b);
    }
}

/* p = 2^(c s - lse), ds = p (dp - row_sum): s and dp become these, but for the factor `scale` that dq and dk get at the end. */
__device__ inline void softmax_gradient(float &s, float &dp, float c, float minus_lse, float row_sum)
{
    s = exp2_approx(fmaf(s, c, minus_lse));
    dp = s * (dp - row_sum);
}

/* dk and dv of TILES x 16 keys; with KEEP also ds for the second part. */
template <int D, bool KEEP, int TILES, int HELD>
__device__ inline void backward_keys(const struct head_shared &sh, const struct head_args &args, int key, int64_t k_head,
                                     int64_t v_head, int lane)
{
    constexpr int PITCH = head_tile<D>::PITCH;
    own_rows<D, TILES, head_tile<D>::STEPS> k;
    own_rows<D, TILES, HELD> v;
    float dk[TILES][head_tile<D>::COLUMNS][4], dv[TILES][head_tile<D>::COLUMNS][4];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        clear<D>(dk[t]);
        clear<D>(dv[t]);
    }
    k.load(sh.k, key, args.keys, lane);
    v.load(sh.v, key, args.keys, lane);
    const int row = key + lane / 4;
#pragma unroll 1
    for (int query = 0; query < args.queries; query += 16) {
        uint32_t p[TILES][4], ds[TILES][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float s[TILES][4], dp[TILES][4];
            products_of_rows(s, k, sh.q + (query + half * 8) * PITCH, lane);
            products_of_rows(dp, v, sh.d_o + (query + half * 8) * PITCH, lane);
            const float4 two = *(const float4 *)(sh.rows + query + half * 8 + lane % 4 * 2);
#pragma unroll
            for (int t = 0; t < TILES; t++) {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    softmax_gradient(s[t][e], dp[t][e], args.scale_log2, e % 2 ? two.z : two.x, e % 2 ? two.w : two.y);
                sums_to_half_a(p[t] + half * 2, s[t]);
                sums_to_half_a(ds[t] + half * 2, dp[t]);
            }
        }
        if (KEEP)
#pragma unroll
            for (int t = 0; t < TILES; t++)
                if (key + t * 16 < args.keys)
#pragma unroll
                    for (int e = 0; e < 4; e++) { /* 0 past the last key, where p can be anything: dq sums over keys */
                        const int at = row + t * 16 + e % 2 * 8;
                        *(uint32_t *)(sh.ds + at * sh.ds_pitch + query + lane % 4 * 2 + e / 2 * 8) = at < args.keys ? ds[t][e] : 0;
                    }
        add_products<D, TILES>(dv, p, sh.d_o + query * PITCH, lane);
        add_products<D, TILES>(dk, ds, sh.q + query * PITCH, lane);
    }
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        store_rows<D>(args.dk + k_head, args.k_view.row, key + t * 16, args.keys, dk[t], args.scale, args.scale, lane);
        store_rows<D>(args.dv + v_head, args.v_view.row, key + t * 16, args.keys, dv[t], 1.0f, 1.0f, lane);
    }
}

/* A lane's part of the column sums of dq and of d_o, whose sum over queries is that of dv over keys. Columns as in c of a product.
 */
template <int D> struct query_sums {
    float dq[head_tile<D>::COLUMNS][2], d_o[head_tile<D>::COLUMNS][2];

    __device__ void clear()
    {
#pragma unroll
        for (int n = 0; n < head_tile<D>::COLUMNS; n++)
            dq[n][0] = dq[n][1] = d_o[n][0] = d_o[n][1] = 0.0f;
    }

    /* 16 queries' worth; rows past the last are 0 in d_o, and whatever in c. */
    __device__ void add(const float c[head_tile<D>::COLUMNS][4], float factor, const bf16 *d_o_rows, int query, int queries, int lane)
    {
        const float upper = query + lane / 4 < queries ? factor : 0.0f, lower = query + lane / 4 + 8 < queries ? factor : 0.0f;
        const bf16 *const at = d_o_rows + (query + lane / 4) * head_tile<D>::PITCH + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < head_tile<D>::COLUMNS; n++) {
            const uint32_t one = *(const uint32_t *)(at + n * 8), two = *(const uint32_t *)(at + 8 * head_tile<D>::PITCH + n * 8);
            dq[n][0] += c[n][0] * upper + c[n][2] * lower;
            dq[n][1] += c[n][1] * upper + c[n][3] * lower;
            d_o[n][0] += __uint_as_float(one << 16) + __uint_as_float(two << 16);
            d_o[n][1] += __uint_as_float(one & 0xffff0000u) + __uint_as_float(two & 0xffff0000u);
        }
    }

    /* The block's, to partial[0][] and partial[1][], `apart` floats from each other. All threads; `scratch` is shared memory
     * that nothing needs any more, 2 D floats for each of the first `warps` warps, which have queries. */
    __device__ void finish(float *scratch, int warps, float *partial, int64_t apart, int warp, int lane)
    {
#pragma unroll
        for (int n = 0; n < head_tile<D>::COLUMNS; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
#pragma unroll
                for (int distance = 4; distance < 32; distance *= 2) {
                    dq[n][e] += __shfl_xor_sync(0xffffffffu, dq[n][e], distance);
                    d_o[n][e] += __shfl_xor_sync(0xffffffffu, d_o[n][e], distance);
                }
        __syncthreads();
        if (warp < warps && lane < 4)
#pragma unroll
            for (int n = 0; n < head_tile<D>::COLUMNS; n++) {
                *(float2 *)(scratch + warp * 2 * D + n * 8 + lane * 2) = make_float2(dq[n][0], dq[n][1]);
                *(float2 *)(scratch + warp * 2 * D + D + n * 8 + lane * 2) = make_float2(d_o[n][0], d_o[n][1]);
            }
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 2 * D; i += (int)blockDim.x) {
            float sum = 0.0f;
            for (int w = 0; w < warps; w++)
                sum += scratch[w * 2 * D + i];
            partial[i / D * apart + i % D] = sum;
        }
    }
};

/* dq of TILES x 16 queries, with the ds that was kept. */
template <int D, int TILES>
__device__ inline void backward_queries_kept(const struct head_shared &sh, const struct head_args &args, int query,
                                             int64_t q_head, query_sums<D> &sums, int lane)
{
    float dq[TILES][head_tile<D>::COLUMNS][4];
#pragma unroll
    for (int t = 0; t < TILES; t++)
        clear<D>(dq[t]);
    for (int key = 0; key < args.keys; key += 16) {
        uint32_t ds[TILES][4];
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            const int from = query + t * 16 < args.queries ? query + t * 16 : query; /* past the last query: not stored */
            load_a_trans(ds[t], sh.ds + key * sh.ds_pitch + from, sh.ds_pitch, lane);
        }
        add_products<D, TILES>(dq, ds, sh.k + key * head_tile<D>::PITCH, lane);
    }
#pragma unroll
    for (int t = 0; t < TILES; t++)
        store_rows<D>(args.dq + q_head, args.q_view.row, query + t * 16, args.queries, dq[t], args.scale, args.scale, lane);
    if (args.partial_sums)
#pragma unroll
        for (int t = 0; t < TILES; t++)
            if (query + t * 16 < args.queries)
                sums.add(dq[t], args.scale, sh.d_o, query + t * 16, args.queries, lane);
}

/* dq of 16 queries, with ds computed again. */
template <int D>
__device__ inline void backward_queries_again(const struct head_shared &sh, const struct head_args &args, int query,
                                              int64_t q_head, query_sums<D> &sums, int lane)
{
    constexpr int PITCH = head_tile<D>::PITCH;
    own_rows<D, 1, head_tile<D>::STEPS> q, d_o;
    float dq[1][head_tile<D>::COLUMNS][4];
    q.load(sh.q, query, args.queries, lane);
    d_o.load(sh.d_o, query, args.queries, lane);
    clear<D>(dq[0]);
    const float2 rows[2] = {sh.rows[query + lane / 4], sh.rows[query + lane / 4 + 8]};
#pragma unroll 1
    for (int key = 0; key < args.keys; key += 16) {
        uint32_t ds[1][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float s[1][4], dp[1][4];
            products_of_rows(s, q, sh.k + (key + half * 8) * PITCH, lane);
            products_of_rows(dp, d_o, sh.v + (key + half * 8) * PITCH, lane);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                softmax_gradient(s[0][e], dp[0][e], args.scale_log2, rows[e / 2].x, rows[e / 2].y);
                if (key + half * 8 + lane % 4 * 2 + e % 2 >= args.keys)
                    dp[0][e] = 0.0f;
            }
            sums_to_half_a(ds[0] + half * 2, dp[0]);
        }
        add_products<D, 1>(dq, ds, sh.k + key * PITCH, lane);
    }
    store_rows<D>(args.dq + q_head, args.q_view.row, query, args.queries, dq[0], args.scale, args.scale, lane);
    if (args.partial_sums)
        sums.add(dq[0], args.scale, sh.d_o, query, args.queries, lane);
}

/* The rows of o and lse that a thread has on their way: 8 lanes a row, 16 bytes each, AHEAD rows far apart. */
template <int D> struct rows_of_o {
    static constexpr int LANES = 8, PARTS = (D / 8 + LANES - 1) / LANES, AHEAD = 8 / PARTS;
    uint4 o[AHEAD][PARTS];
    float minus_lse[AHEAD];

    __device__ static int count() { return (int)blockDim.x / LANES; } /* of rows at once */

    __device__ void load(const struct head_args &args, const bf16 *from, const float *lse_from, int first)
    {
#pragma unroll
        for (int r = 0; r < AHEAD; r++) {
            const int row = first + r * count() + (int)threadIdx.x / LANES, chunk = (int)threadIdx.x % LANES;
            minus_lse[r] = row < args.queries ? -lse_from[row] * LOG2_E : -INFINITY;
#pragma unroll
            for (int part = 0; part < PARTS; part++)
                o[r][part] = row < args.queries && chunk + part * LANES < D / 8
                                 ? *(const uint4 *)(from + row * args.o_view.row + (chunk + part * LANES) * 8)
                                 : make_uint4(0, 0, 0, 0);
        }
    }

    /* to[row] = -lse in base 2, sum over columns of d_o * o. All threads. */
    __device__ void sum(const bf16 *d_o, int first, int padded, float2 *to)
    {
#pragma unroll
        for (int r = 0; r < AHEAD; r++) {
            const int row = first + r * count() + (int)threadIdx.x / LANES, chunk = (int)threadIdx.x % LANES;
            float sum = 0.0f;
#pragma unroll
            for (int part = 0; part < PARTS; part++)
                if (row < padded && chunk + part * LANES < D / 8)
                    sum += dot8(o[r][part], *(const uint4 *)(d_o + row * head_tile<D>::PITCH + (chunk + part * LANES) * 8));
#pragma unroll
            for (int distance = LANES / 2; distance > 0; distance /= 2)
                sum += __shfl_xor_sync(0xffffffffu, sum, distance);
            if (row < padded && chunk == 0)
                to[row] = make_float2(minus_lse[r], sum);
        }
    }
};

template <int D, bool KEEP, int THREADS, int TILES, int HELD>
__global__ void __launch_bounds__(THREADS, 1) attention_head_backward_kernel(const struct head_args args)
{
    SHARED_DYNAMIC(bf16, q);
    constexpr int PITCH = head_tile<D>::PITCH;
    const int b = (int)blockIdx.x / args.heads, h = (int)blockIdx.x % args.heads;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    const int queries = (args.queries + 15) / 16 * 16, keys = (args.keys + 15) / 16 * 16;
    bf16 *const d_o = q + queries * PITCH, *const k = d_o + queries * PITCH, *const v = k + keys * PITCH;
    float2 *const rows = (float2 *)(v + keys * PITCH);
    const struct head_shared sh = {q, k, v, d_o, rows, (bf16 *)(rows + queries), queries + 8};
    const int64_t q_head = head_offset(args.q_view, b, h), k_head = head_offset(args.k_view, b, h);
    const int64_t v_head = head_offset(args.v_view, b, h), o_head = head_offset(args.o_view, b, h);
    const float *const lse = args.lse + (int64_t)blockIdx.x * args.queries;

    rows_of_o<D> o;
    load_rows<D>(d_o, args.d_o + o_head, args.o_view.row, args.queries, queries);
    cp_async_commit();
    o.load(args, args.o + o_head, lse, 0);
    load_rows<D>(q, args.q + q_head, args.q_view.row, args.queries, queries);
    load_rows<D>(k, args.k + k_head, args.k_view.row, args.keys, keys);
    load_rows<D>(v, args.v + v_head, args.v_view.row, args.keys, keys);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    o.sum(d_o, 0, queries, rows);
    for (int first = o.AHEAD * o.count(); first < queries; first += o.AHEAD * o.count()) {
        o.load(args, args.o + o_head, lse, first);
        o.sum(d_o, first, queries, rows);
    }
    cp_async_wait<0>();
    __syncthreads();
    for (int key = warp * TILES * 16; key < args.keys; key += warps * TILES * 16)
        backward_keys<D, KEEP, TILES, HELD>(sh, args, key, k_head, v_head, lane);
    query_sums<D> sums;
    sums.clear();
    constexpr int QUERIES = KEEP ? TILES * 16 : 16; /* of a warp's turn */
    if (KEEP)
        __syncthreads();
    for (int query = warp * QUERIES; query < args.queries; query += warps * QUERIES)
        if constexpr (KEEP)
            backward_queries_kept<D, TILES>(sh, args, query, q_head, sums, lane);
        else
            backward_queries_again<D>(sh, args, query, q_head, sums, lane);
    if (args.partial_sums)
        sums.finish((float *)q, min(warps, (args.queries + QUERIES - 1) / QUERIES), args.partial_sums + (int64_t)blockIdx.x * D,
                    (int64_t)gridDim.x * D, warp, lane);
}

/* ---- host ---- */

static size_t shared_bytes(const struct attention_desc *d, bool keep)
{
    const int64_t queries = head_padded(d->queries), keys = head_padded(d->keys);
    int64_t elements = 2 * (queries + keys) * (d->head_dim + 8) + (keep ? keys * (queries + 8) : 0);
    return (size_t)elements * sizeof(bf16) + (size_t)(2 * queries) * sizeof(float);
}

static bool keeps(const struct attention_desc *d, size_t limit) { return d->head_dim <= 80 && shared_bytes(d, true) <= limit; }

/* Most threads, and tiles of 16 keys (then of queries) a warp owns at once: what the registers of their operands and gradients
 * leave room for (no loop over keys or queries spills; registers go to warps by the 4). Two tiles halve what is read from
 * shared memory for each product, one has twice the warps to hide latency. */
struct head_size {
    int threads, tiles, held; /* held: of v's 16-column steps in registers */
};
static constexpr head_size size_of(int d, bool keep, int choice)
{
    if (keep && d <= 64)
        return choice == 1 ? head_size{416, 1, d / 16 - 1} : head_size{224, 2, d / 16};
    return head_size{keep ? 384 : d <= 80 ? 288 : 256, 1, d / 16};
}

int attention_head_backward_choices(const struct attention_desc *d, size_t limit)
{
    const bool keep = keeps(d, limit);
    if (!head_desc_ok(d) || shared_bytes(d, keep) > limit)
        return 0;
    return keep && d->head_dim <= 64 ? 2 : 1;
}

template <int D, bool KEEP, int CHOICE>
static void launch_backward(struct backend *be, const struct attention_desc *d, const struct head_args &args)
{
    constexpr head_size SIZE = size_of(D, KEEP, CHOICE);
    const int64_t longest = d->queries > d->keys ? d->queries : d->keys;
    launch(be, "attention_head_backward", attention_head_backward_kernel<D, KEEP, SIZE.threads, SIZE.tiles, SIZE.held>,
           dim3((unsigned)(d->batch * d->heads)), dim3(head_threads(divide_up(longest, 16 * SIZE.tiles), SIZE.threads)),
           shared_bytes(d, KEEP), args);
}

void attention_head_backward(struct backend *be, const struct attention_desc *d, const struct attention_call *call, size_t limit,
                             int choice, float *partial_sums)
{
    struct head_args args = head_args_of(d, call);
    const bool keep = keeps(d, limit);
    VT_CHECK(head_aligned(call->d_o) && head_aligned(call->dq) && head_aligned(call->dk) && head_aligned(call->dv));
    args.partial_sums = partial_sums;
    with_head_dim(d->head_dim, [&](auto dim) {
        constexpr int D = decltype(dim)::value;
        if constexpr (D <= 64)
            if (keep && choice == 1) {
                launch_backward<D, true, 1>(be, d, args);
                return;
            }
        if constexpr (D <= 80)
            if (keep) {
                launch_backward<D, true, 0>(be, d, args);
                return;
            }
        launch_backward<D, false, 0>(be, d, args);
    });
}
