/* The kernels one instruction-set level provides: serial, on ranges a thread was given; the op files (linear.c,
 * attention.c, ...) cut the work and own the threads. Bodies are written once in *.inc over vec.inc and compiled per
 * level.
 *
 * Matrix products work on 32-bit words: one float (GEMM_F32) or a pair of bf16 neighbours along the depth (GEMM_BF16).
 * "depth" counts elements, "words" = depth or ceil(depth / 2). B operands are panels: `width` columns, [words][width].
 */
#ifndef VT_BACKEND_CPU_KERNELS_H
#define VT_BACKEND_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/cpu/isa.h"
#include "backend/ops.h"
#include "tensor/dtype.h"

enum gemm_mode { GEMM_F32, GEMM_BF16 };

static inline int64_t gemm_words(enum gemm_mode mode, int64_t depth)
{
    return mode == GEMM_BF16 ? (depth + 1) / 2 : depth;
}

/* c(rows, columns) (+)= a(rows, words) b(words, columns). Each element is summed over the depth in order, whatever the
 * shape of the call: results do not depend on how callers cut rows and columns. */
struct gemm_call {
    enum gemm_mode mode;
    int64_t rows, columns, words;
    const void *a;
    int64_t a_row, a_step; /* bytes between rows, and between words along the depth */
    const void *b;
    int64_t b_panel; /* bytes between panels */
    float *c;
    int64_t c_row; /* floats between rows */
    bool accumulate;
};

struct epilogue { /* a tile of fp32 products on its way to memory */
    const float *c;
    int64_t c_row, rows, columns;
    enum activation act;
    const float *bias; /* first column of the tile; NULL = none */
    void *pre;         /* forward: saved x w^T + b, may be NULL; backward: input_pre, read */
    void *y;
    int64_t y_row; /* elements between rows of y, and of pre */
    int64_t pre_row;
    enum dtype dtype, dtype_out; /* of pre, of y */
    bool accumulate;             /* backward, without an activation: y += c */
};

struct draw_keep { /* dropout factors of one row's tensor: 0 or 1 / (1 - rate) */
    uint64_t seed, position;
    uint32_t purpose;
    float rate; /* draw_normal does not look at it */
};

struct norm_row { /* one row of add_norm; pointers at the row's first element */
    int64_t width;
    enum dtype dtype, dtype_stream;
    float eps, path;   /* path = drop-path factor s[b] */
    const float *keep; /* [D] dropout factors, NULL = 1 */
};

struct softmax_rows {        /* rows of scaled scores of one (image, head) */
    int64_t rows, keys, row; /* floats between rows of scores, probabilities and keep */
    enum gemm_mode mode;     /* of the stored probabilities */
    float scale;
    float *scores;        /* overwritten */
    const float *keep;    /* [rows][row] dropout factors, NULL = 1 */
    void *p;              /* forward: [rows][p_row] in the mode's element type; zero from keys to the row's end */
    int64_t p_row;        /* elements */
    float *lse, *inverse; /* [rows]: log-sum-exp; forward: 1 / sum, to be applied to the product with v */
    /* backward */
    float *dp;     /* [rows][row] = do v^T; overwritten */
    void *p_pairs; /* words of rows (i, i+1): [ceil(rows/2)][row]; in F32 mode [rows][row] */
    void *ds;      /* [rows][p_row], NULL in F32 mode (ds_pairs serves) */
    void *ds_pairs;
};

struct adamw_call {
    float lr, decay, beta1, beta2, eps, correction1, correction2_sqrt, clip, ema_decay;
};
struct sgd_call {
    float lr, decay, momentum, clip, ema_decay;
    bool nesterov, first;
};

struct cpu_kernels {
    int width; /* floats a vector, columns a panel */

    void (*gemm)(const struct gemm_call *call);
    /* b[k][n] = src[n][k], src(columns, depth) with `stride` elements between rows. */
    void (*pack_transposed)(enum gemm_mode mode, const void *src, enum dtype dtype, int64_t stride, int64_t columns,
                            int64_t depth, void *panels, int64_t panel_bytes);
    /* b[k][n] = src[k][n], src(depth, columns). sums (NULL = not wanted): the rows are added to sums[columns], in
     * order. */
    void (*pack_rows)(enum gemm_mode mode, const void *src, enum dtype dtype, int64_t stride, int64_t depth,
                      int64_t columns, void *panels, int64_t panel_bytes, float *sums);
    /* dst[rows][words]: rows in the mode's element type, an odd depth padded with 0. */
    void (*convert_rows)(enum gemm_mode mode, const void *src, enum dtype dtype, int64_t stride, int64_t rows,
                         int64_t depth, void *dst);
    void (*epilogue_forward)(const struct epilogue *tile);
    void (*epilogue_backward)(const struct epilogue *tile); /* y = c * act'(pre), or y += c */
    /* y = act(x), act not NONE; y may be x. The bits that epilogue_forward gave for the `pre` it saved. */
    void (*activate)(enum activation act, const void *x, void *y, enum dtype dtype, int64_t count);

    void (*softmax_forward)(const struct softmax_rows *call);
    void (*softmax_backward)(const struct softmax_rows *call);
    /* o[i] = c[i] * factor[i] (NULL = 1), i < rows, `width` elements. */
    void (*scale_rows)(const float *c, int64_t c_row, const float *factor, int64_t rows, int64_t width, void *o,
                       enum dtype dtype, int64_t o_row);
    /* keep[0, count) for elements first .. first + count of the draw. */
    void (*draw_keep)(const struct draw_keep *draw, uint64_t first, int64_t count, float *keep);
    /* The same elements as N(0,1), within 1e-6 relative of normal_quantile((k + 1/2) / 2^24), k a draw's upper 24 bits. */
    void (*draw_normal)(const struct draw_keep *draw, uint64_t first, int64_t count, float *normal);

    void (*norm_forward)(const struct norm_row *row, const struct add_norm_forward_args *args, float *scratch);
    void (*norm_backward)(const struct norm_row *row, const struct add_norm_backward_args *args, float *scratch);

    /* y = x * factor elementwise in place of a loop over dtype; factor NULL = 1. */
    void (*multiply)(const void *x, const float *factor, void *y, enum dtype dtype, int64_t count);
    /* x = (a + pos) * keep (keep NULL = 1) */
    void (*embed_row)(const void *patch, enum dtype dtype, const float *pos, const float *keep, void *x,
                      enum dtype dtype_stream, int64_t width);
    void (*cast)(const void *src, enum dtype from, void *dst, enum dtype to, int64_t count);
    /* dst = weight * a + (1 - weight) * b */
    void (*blend)(const float *a, const float *b, float weight, void *dst, enum dtype dtype, int64_t count);
    /* dst += src * keep, rows of fp32 sums */
    void (*add_row)(float *dst, const void *src, enum dtype dtype, const float *keep, int64_t count);
    /* dst = src * scale in another dtype (pool) */
    void (*scale_store)(const float *src, float scale, void *dst, enum dtype dtype, int64_t count);

    double (*sum_squares)(const float *x, int64_t count);
    void (*adamw)(const struct adamw_call *call, int64_t count, float *p, const float *g, float *m, float *v,
                  bf16_t *compute, float *ema);
    void (*sgd)(const struct sgd_call *call, int64_t count, float *p, const float *g, float *buf, bf16_t *compute,
                float *ema);

    float (*row_max)(const float *z, int64_t count);
    double (*row_sum_exp)(const float *z, float top, int64_t count);
    /* d[k] = exp(z[k] - lse) * scale */
    void (*row_softmax)(const float *z, float lse, float scale, float *d, int64_t count);
    /* d[k] = (sigmoid(z) - target) * scale; returns sum of softplus(z) - target * z over the row */
    double (*row_sigmoid)(const float *z, float target, float scale, float *d, int64_t count);
};

/* NULL when this build has no such level. */
const struct cpu_kernels *cpu_kernels_of(enum cpu_isa isa);

extern const struct cpu_kernels cpu_kernels_base, cpu_kernels_avx2, cpu_kernels_avx512, cpu_kernels_avx512_bf16;

#endif
