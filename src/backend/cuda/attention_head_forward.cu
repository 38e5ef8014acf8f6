/* Whole-head attention forward, bf16, keys <= 272, d in {32, 64, 80, 96, 128}: o = softmax(scale q k^T) v, lse.
 *
 * One block per (image, head). K and V lie in shared memory; each warp takes tiles of 16 query rows in turn, by way of 16 rows of
 * shared memory of its own, and keeps their whole row of scores in registers, so the softmax is exact, in one pass, with no
 * rescaling. K and the first queries arrive first, so the scores of a warp's first tile are computed while V is under way; a
 * next tile's queries are fetched during the rest of this one. All global accesses are 16 bytes a lane, neighbours side by side.
 * Moves q, k, v, o once: 8 d bytes a token and head. Bound by memory at a ViT's lengths: 256 FLOP per 4 d bytes of k and v
 * for each 16 queries keep the tensor cores about half busy. */
#include "backend/cuda/attention_head.cuh"

/* Starts the copy of a tile's queries to the warp's own 16 rows, zeros past the last. All of the warp. */
template <int D>
__device__ inline void load_queries(bf16 *to, const bf16 *q, int64_t stride, int tile, int queries, int lane)
{
    load_rows<D>(to, q + tile * 16 * stride, stride, queries - tile * 16, 16, lane, 32);
}

/* The scores of 16 queries over all keys: score[2 j] and [2 j + 1] are those of keys 16 j..+15; columns past the last key are
 * -inf. */
template <int D, int TILES>
__device__ inline void scores_of_tile(float (*score)[4], const bf16 *q, const bf16 *k, int keys, int lane)
{
    constexpr int PITCH = head_tile<D>::PITCH;
#pragma unroll
    for (int n = 0; n < 2 * TILES; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            score[n][e] = 0.0f;
#pragma unroll (TILES <= 9 ? head_tile<D>::STEPS : 1) /* else the next step's operands spill */
    for (int step = 0; step < head_tile<D>::STEPS; step++) {
        uint32_t a[4];
        load_a(a, q + step * 16, PITCH, lane);
#pragma unroll
        for (int j = 0; j < TILES; j++)
            if (j * 16 < keys) {
                uint32_t b[4];
                load_b_rows(b, k + j * 16 * PITCH + step * 16, PITCH, lane);
                multiply(&score[2 * j], a, b);
            }
    }
#pragma unroll
    for (int n = 0; n < 2 * TILES; n++)
        if (n * 8 + 8 > keys)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (n * 8 + lane % 4 * 2 + e % 2 >= keys)
                    score[n][e] = -INFINITY;
}

__device__ inline float quad_max(float value)
{
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

__device__ inline float quad_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

/* p = 2^(c s - c max): unnormalised, at most 1; rounded, as operand a of the product with v: half the registers. Row lane / 4 is
 * [0] of largest and sum, the row 8 below it [1]. */
template <int TILES>
__device__ inline void exponentiate(uint32_t (*p)[4], float (*score)[4], float c, float largest[2], float sum[2])
{
    largest[0] = largest[1] = -INFINITY;
#pragma unroll
    for (int n = 0; n < 2 * TILES; n++) {
        largest[0] = fmaxf(largest[0], fmaxf(score[n][0], score[n][1]));
        largest[1] = fmaxf(largest[1], fmaxf(score[n][2], score[n][3]));
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        largest[half] = quad_max(largest[half]) * c;
        sum[half] = 0.0f;
    }
#pragma unroll
    for (int j = 0; j < TILES; j++) {
#pragma unroll
        for (int e = 0; e < 8; e++) {
            float *s = &score[2 * j + e / 4][e % 4];
            *s = exp2_approx(fmaf(*s, c, -largest[e % 4 / 2]));
            sum[e % 4 / 2] += *s;
        }
        sums_to_a(p[j], &score[2 * j]);
    }
    sum[0] = quad_sum(sum[0]);
    sum[1] = quad_sum(sum[1]);
}

/* out(16, D) = p v. */
template <int D, int TILES>
__device__ inline void product_with_v(float (*out)[4], const uint32_t (*p)[4], const bf16 *v, int keys, int lane)
{
    constexpr int PITCH = head_tile<D>::PITCH;
#pragma unroll
    for (int n = 0; n < head_tile<D>::COLUMNS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            out[n][e] = 0.0f;
#pragma unroll
    for (int j = 0; j < TILES; j++) {
        if (j * 16 < keys) {
#pragma unroll
            for (int step = 0; step < head_tile<D>::STEPS; step++) {
                uint32_t b[4];
                load_b(b, v + j * 16 * PITCH + step * 16, PITCH, lane);
                multiply(&out[2 * step], p[j], b);
            }
        }
    }
}

template <int D, int TILES, int THREADS, int BLOCKS>
__global__ void __launch_bounds__(THREADS, BLOCKS) attention_head_forward_kernel(const struct head_args args)
{
    SHARED_DYNAMIC(bf16, k);
    constexpr int PITCH = head_tile<D>::PITCH;
    const int b = (int)blockIdx.x / args.heads, h = (int)blockIdx.x % args.heads;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    const int padded = (args.keys + 15) / 16 * 16, tiles = (args.queries + 15) / 16;
    bf16 *const v = k + padded * PITCH, *const own_q = v + (padded + warp * 16) * PITCH;
    const bf16 *const q = args.q + head_offset(args.q_view, b, h);
    if (warp < tiles)
        load_queries<D>(own_q, q, args.q_view.row, warp, args.queries, lane);
    load_rows<D>(k, args.k + head_offset(args.k_view, b, h), args.k_view.row, args.keys, padded);
    cp_async_commit();
    load_rows<D>(v, args.v + head_offset(args.v_view, b, h), args.v_view.row, args.keys, padded);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    for (int first = 0; first < tiles; first += warps) { /* the same count for all warps: they meet at V */
        const int tile = first + warp;
        float largest[2], sum[2], out[head_tile<D>::COLUMNS][4];
        uint32_t p[TILES][4];
        if (tile < tiles) {
            float score[2 * TILES][4];
            scores_of_tile<D, TILES>(score, own_q, k, args.keys, lane);
            __syncwarp(); /* all of the warp have read */
            if (tile + warps < tiles)
                load_queries<D>(own_q, q, args.q_view.row, tile + warps, args.queries, lane);
            cp_async_commit();
            exponentiate<TILES>(p, score, args.scale_log2, largest, sum);
        }
        if (first == 0) {
            if (tile < tiles)
                cp_async_wait<1>();
            else
                cp_async_wait<0>();
            __syncthreads();
        }
        if (tile >= tiles)
            continue;
        product_with_v<D, TILES>(out, p, v, args.keys, lane);
        store_rows<D>(args.o + head_offset(args.o_view, b, h), args.o_view.row, tile * 16, args.queries, out, 1.0f / sum[0],
                      1.0f / sum[1], lane);
        float *lse = args.lse + (int64_t)blockIdx.x * args.queries + tile * 16 + lane / 4;
#pragma unroll
        for (int half = 0; half < 2; half++)
            if (lane % 4 == 0 && tile * 16 + lane / 4 + half * 8 < args.queries)
                lse[half * 8] = (largest[half] + log2f(sum[half])) * LN_2;
        cp_async_wait<0>();
        __syncwarp();
    }
}

/* ---- host ---- */

enum { KEYS_MAX = 272 };

/* Threads and blocks per multiprocessor: what the registers of a row of scores leave room for (the scores' loop does not
 * spill). A ViT's 13 tiles take 7 warps 2 turns, twice on a multiprocessor, or 4 warps 4 turns, three times. */
struct head_size {
    int threads, blocks;
};
static constexpr head_size size_of(int d, int tiles, int choice)
{
    if (tiles > 13)
        return d <= 80 ? head_size{192, 2} : head_size{288, 1};
    if (tiles > 9)
        return choice == 1 ? head_size{128, 3} : head_size{224, d <= 96 ? 2 : 1};
    return head_size{160, tiles > 5 && d > 96 ? 2 : 3};
}
static constexpr int choices_of(int d, int tiles) { return tiles == 13 && d <= 64 ? 2 : 1; }

/* body(constant<TILES>) for the least kernel that takes so many keys. */
template <typename Body> static void with_tiles(int64_t keys, Body body)
{
    if (keys <= 80)
        body(constant<5>{});
    else if (keys <= 144)
        body(constant<9>{});
    else if (keys <= 208)
        body(constant<13>{});
    else
        body(constant<17>{});
}

static unsigned threads_for(const struct attention_desc *d, head_size size)
{
    return head_threads(divide_up(d->queries, 16), size.threads);
}

static size_t shared_bytes(const struct attention_desc *d, head_size size)
{
    const int64_t rows = 2 * head_padded(d->keys) + threads_for(d, size) / 32 * 16;
    return (size_t)(rows * (d->head_dim + 8)) * sizeof(bf16);
}

int attention_head_forward_choices(const struct attention_desc *d, size_t limit)
{
    int choices = 0;
    if (!head_desc_ok(d) || d->keys > KEYS_MAX)
        return 0;
    with_tiles(d->keys, [&](auto tiles) {
        const int most = choices_of((int)d->head_dim, decltype(tiles)::value);
        while (choices < most && shared_bytes(d, size_of((int)d->head_dim, decltype(tiles)::value, choices)) <= limit)
            choices++;
    });
    return choices;
}

template <int D, int TILES, int CHOICE>
static void launch_forward(struct backend *be, const struct attention_desc *d, const struct head_args &args)
{
    constexpr head_size SIZE = size_of(D, TILES, CHOICE);
    launch(be, "attention_head_forward", attention_head_forward_kernel<D, TILES, SIZE.threads, SIZE.blocks>,
           dim3((unsigned)(d->batch * d->heads)), dim3(threads_for(d, SIZE)), shared_bytes(d, SIZE), args);
}

void attention_head_forward(struct backend *be, const struct attention_desc *d, const struct attention_call *call, int choice)
{
    const struct head_args args = head_args_of(d, call);
    with_head_dim(d->head_dim, [&](auto dim) {
        with_tiles(d->keys, [&](auto tiles) {
            constexpr int D = decltype(dim)::value, TILES = decltype(tiles)::value;
            if constexpr (choices_of(D, TILES) > 1)
                if (choice == 1) {
                    launch_forward<D, TILES, 1>(be, d, args);
                    return;
                }
            launch_forward<D, TILES, 0>(be, d, args);
        });
    });
}
