/* Whole-head attention for short sequences, shared by its forward and backward: how rows of one (image, head) come into
 * shared memory and from there into the registers of mma.m16n8k16 (ptx.h says which lane holds what).
 *
 * Rows of D elements lie PITCH = D + 8 elements apart, so that the 8 rows of an ldmatrix fall on different banks for every
 * D here (D/8 + 1 is odd). Rows past the last are zero up to a multiple of 16. */
#ifndef VT_BACKEND_CUDA_ATTENTION_HEAD_CUH
#define VT_BACKEND_CUDA_ATTENTION_HEAD_CUH

#include "backend/cuda/op.cuh"
extern "C" {
#include "backend/cuda/attention.h"
}

struct head_args {
    const bf16 *q, *k, *v, *d_o;
    bf16 *o; /* forward writes it, backward reads it */
    float *lse;
    bf16 *dq, *dk, *dv;
    struct attention_view q_view, k_view, v_view, o_view;
    int heads, queries, keys;
    float scale; /* > 0 */
};

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.69314718055994531f;

template <int D> struct head_tile {
    static_assert(D % 16 == 0, "products go 16 deep");
    static constexpr int PITCH = D + 8, STEPS = D / 16, COLUMNS = D / 8;
};

__device__ inline int64_t head_offset(const struct attention_view &view, int b, int h)
{
    return (int64_t)b * view.batch + (int64_t)h * view.head;
}

/* Starts the copy of rows [0, rows) of D elements, and zeros up to `padded`. All threads; part of their current group. */
template <int D> __device__ inline void load_rows(bf16 *to, const bf16 *from, int64_t stride, int rows, int padded)
{
    constexpr int CHUNKS = D / 8;
    for (int i = (int)threadIdx.x; i < padded * CHUNKS; i += (int)blockDim.x) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        bool valid = row < rows;
        cp_async_16_or_zero(to + row * head_tile<D>::PITCH + chunk * 8, from + (valid ? row : 0) * stride + chunk * 8, valid);
    }
}

/* The 16x16 block whose first element is `block`, as operand a: rows are a's rows. */
__device__ inline void load_a(uint32_t a[4], const bf16 *block, int pitch, int lane)
{
    ldmatrix_x4(a, block + (lane & 15) * pitch + (lane >> 4) * 8);
}

/* Operand a from a block that is stored transposed: its rows are a's columns. */
__device__ inline void load_a_trans(uint32_t a[4], const bf16 *block, int pitch, int lane)
{
    ldmatrix_x4_trans(a, block + ((lane & 7) + (lane >> 4) * 8) * pitch + ((lane >> 3) & 1) * 8);
}

/* Two operands b, b[0..1] and b[2..3], of x y^T: the block's 16 rows are b's columns, 8 for each. */
__device__ inline void load_b_rows(uint32_t b[4], const bf16 *block, int pitch, int lane)
{
    ldmatrix_x4(b, block + ((lane & 7) + (lane >> 4) * 8) * pitch + ((lane >> 3) & 1) * 8);
}

/* Two operands b of x y: the block's 16 rows are b's depth, its columns b's columns, 8 for each. */
__device__ inline void load_b(uint32_t b[4], const bf16 *block, int pitch, int lane)
{
    ldmatrix_x4_trans(b, block + (lane & 15) * pitch + (lane >> 4) * 8);
}

/* c(16, 16) += a b over both operands b. */
__device__ inline void multiply(float c[2][4], const uint32_t a[4], const uint32_t b[4])
{
    mma_m16n8k16_bf16(c[0], a, b);
    mma_m16n8k16_bf16(c[1], a, b + 2);
}

/* A 16x16 block of sums, rounded, is operand a of the next product: the lanes hold the same elements. */
__device__ inline void sums_to_a(uint32_t a[4], const float c[2][4])
{
    a[0] = pack_bf16x2(c[0][0], c[0][1]);
    a[1] = pack_bf16x2(c[0][2], c[0][3]);
    a[2] = pack_bf16x2(c[1][0], c[1][1]);
    a[3] = pack_bf16x2(c[1][2], c[1][3]);
}

/* Writes 16 rows of D sums from row `first` of a view's head, those below `rows`, each multiplied by its factor. */
template <int D>
__device__ inline void store_rows(bf16 *to, int64_t stride, int first, int rows, const float c[head_tile<D>::COLUMNS][4],
                                  float upper, float lower, int lane)
{
    int row = first + lane / 4;
    bf16 *at = to + (int64_t)row * stride + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < head_tile<D>::COLUMNS; n++) {
        if (row < rows)
            *(uint32_t *)(at + n * 8) = pack_bf16x2(c[n][0] * upper, c[n][1] * upper);
        if (row + 8 < rows)
            *(uint32_t *)(at + 8 * stride + n * 8) = pack_bf16x2(c[n][2] * lower, c[n][3] * lower);
    }
}

/* ---- host ---- */

/* A compile-time number as a value, for picking template arguments. */
template <int N> struct constant {
    static constexpr int value = N;
};

/* body(constant<D>) for the head sizes there are kernels for; false for others. */
template <typename Body> bool with_head_dim(int64_t head_dim, Body body)
{
    switch (head_dim) {
    case 32:
        body(constant<32>{});
        return true;
    case 64:
        body(constant<64>{});
        return true;
    case 80:
        body(constant<80>{});
        return true;
    case 96:
        body(constant<96>{});
        return true;
    case 128:
        body(constant<128>{});
        return true;
    default:
        return false;
    }
}

static inline bool head_strides_ok(const struct attention_view *view)
{
    return view->batch % 8 == 0 && view->head % 8 == 0 && view->row % 8 == 0;
}

/* What forward and backward both need: bf16 on 16-byte rows, no dropout, 32-bit counts. */
static inline bool head_desc_ok(const struct attention_desc *d)
{
    return d->dtype == DTYPE_BF16 && d->dropout == 0 && d->scale > 0 && d->batch * d->heads <= INT32_MAX && d->queries <= INT32_MAX &&
           head_strides_ok(&d->q) && head_strides_ok(&d->k) && head_strides_ok(&d->v) && head_strides_ok(&d->o) &&
           with_head_dim(d->head_dim, [](auto) {});
}

static inline int64_t head_padded(int64_t rows) { return round_up(rows, 16); }

/* Threads for `tiles` of 16 rows: the fewest warps that finish in the least number of turns. */
static inline unsigned head_threads(int64_t tiles, int64_t most)
{
    int64_t warps = most / 32, turns = divide_up(tiles, warps);
    return (unsigned)(divide_up(tiles, turns) * 32);
}

static inline bool head_aligned(const void *pointer) { return (uintptr_t)pointer % 16 == 0; }

static inline struct head_args head_args_of(const struct attention_desc *d, const struct attention_call *call)
{
    VT_CHECK(head_aligned(call->q) && head_aligned(call->k) && head_aligned(call->v) && head_aligned(call->o));
    struct head_args a = {};
    a.q = (const bf16 *)call->q, a.k = (const bf16 *)call->k, a.v = (const bf16 *)call->v, a.d_o = (const bf16 *)call->d_o;
    a.o = (bf16 *)call->o, a.dq = (bf16 *)call->dq, a.dk = (bf16 *)call->dk, a.dv = (bf16 *)call->dv;
    a.lse = call->lse;
    a.q_view = d->q, a.k_view = d->k, a.v_view = d->v, a.o_view = d->o;
    a.heads = (int)d->heads, a.queries = (int)d->queries, a.keys = (int)d->keys;
    a.scale = d->scale;
    return a;
}

#endif
