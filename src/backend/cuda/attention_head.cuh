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
    float *partial_sums; /* backward: as attention.h has them; NULL = not wanted */
    int heads, queries, keys;
    float scale, scale_log2; /* > 0; times log2 e */
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

/* Starts the copy of rows [0, rows) of D elements, and zeros up to `padded`, by `threads` threads of which this is one; part
 * of their current group. */
template <int D>
__device__ inline void load_rows(bf16 *to, const bf16 *from, int64_t stride, int rows, int padded, int thread, int threads)
{
    constexpr int CHUNKS = D / 8;
    int row = thread / CHUNKS, chunk = thread % CHUNKS; /* carried along: a division costs more than the copy */
    const int rows_on = threads / CHUNKS, chunks_on = threads % CHUNKS;
#pragma unroll 1 /* unrolled, the addresses of a next tile's copies spill what forward holds */
    while (row < padded) {
        bool valid = row < rows;
        cp_async_16_or_zero(to + row * head_tile<D>::PITCH + chunk * 8, from + (valid ? row : 0) * stride + chunk * 8, valid);
        row += rows_on;
        if (32 % CHUNKS) { /* else whole warps step by whole rows */
            chunk += chunks_on;
            row += chunk >= CHUNKS;
            chunk -= chunk >= CHUNKS ? CHUNKS : 0;
        }
    }
}

/* The same by the whole block. */
template <int D> __device__ inline void load_rows(bf16 *to, const bf16 *from, int64_t stride, int rows, int padded)
{
    load_rows<D>(to, from, stride, rows, padded, (int)threadIdx.x, (int)blockDim.x);
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

/* A 16x16 block of sums, rounded, is operand a of the next product: the lanes hold the same elements. 8 columns are half of it. */
__device__ inline void sums_to_half_a(uint32_t a[2], const float c[4])
{
    a[0] = pack_bf16x2(c[0], c[1]);
    a[1] = pack_bf16x2(c[2], c[3]);
}

__device__ inline void sums_to_a(uint32_t a[4], const float c[2][4])
{
    sums_to_half_a(a, c[0]);
    sums_to_half_a(a + 2, c[1]);
}

/* Lane t of a quad holds row t of a 4x4 matrix of words: afterwards its column t. All lanes. */
__device__ inline void transpose_quad(uint32_t word[4], int lane)
{
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & bit)
                continue;
            const bool upper = lane & bit;
            const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? word[i] : word[i + bit], bit);
            word[i] = upper ? got : word[i];
            word[i + bit] = upper ? word[i + bit] : got;
        }
}

/* The 16-byte pieces of 16 rows as a quad moves them, 4 at a time, of its row (half 0) and the row 8 below (half 1): piece t of
 * group j. Neighbouring lanes have neighbouring pieces: whole sectors. */
struct row_piece {
    int half, chunk;
};
template <int D> __device__ constexpr row_piece piece_of(int j, int t)
{
    if (j == D / 16 - 1 && j % 2 == 0) /* what is left of an odd number of groups: two pieces of each row */
        return row_piece{t / 2, 2 * j + t % 2};
    return row_piece{j % 2, j / 2 * 4 + t};
}

/* Writes 16 rows of D sums from row `first` of a view's head, those below `rows`, each multiplied by its factor. */
template <int D>
__device__ inline void store_rows(bf16 *to, int64_t stride, int first, int rows, const float c[head_tile<D>::COLUMNS][4],
                                  float upper, float lower, int lane)
{
    const int row = first + lane / 4;
    uint32_t word[head_tile<D>::STEPS][4];
#pragma unroll
    for (int j = 0; j < head_tile<D>::STEPS; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const row_piece p = piece_of<D>(j, i);
            const float factor = p.half ? lower : upper;
            word[j][i] = pack_bf16x2(c[p.chunk][2 * p.half] * factor, c[p.chunk][2 * p.half + 1] * factor);
        }
        transpose_quad(word[j], lane);
    }
#pragma unroll
    for (int j = 0; j < head_tile<D>::STEPS; j++) {
        const row_piece p = piece_of<D>(j, lane % 4);
        if (row + p.half * 8 < rows)
            *(uint4 *)(to + (int64_t)(row + p.half * 8) * stride + p.chunk * 8) =
                make_uint4(word[j][0], word[j][1], word[j][2], word[j][3]);
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
    a.scale = d->scale, a.scale_log2 = d->scale * LOG2_E;
    return a;
}

#endif
