/* Matrix products as cuBLASLt takes them, and which of them a linear layer is made of. Pure: no device, no vendor
 * header.
 *
 * A product is D(m,n) = epilogue(op(A)(m,k) op(B)(k,n) + beta D), all matrices column-major with leading dimensions. A
 * row-major [r,c] matrix is the column-major (c,r) one, so with x[rows,in], w[out,in], y[rows,out]:
 *   forward  y = x w^T     D = y  (out,rows)   A = w (in,out) transposed   B = x  (in,rows)               k = in
 *   input    dx = dy w     D = dx (in,rows)    A = w (in,out)              B = dy (out,rows)              k = out
 *   weight   dw = dy^T x   D = dw (in,out)     A = x (in,rows)             B = dy (out,rows) transposed   k = rows
 * Biases run along D's rows, as the epilogues want, and so do the sums of `input` (DGELU_BGRAD); the bias gradient of `weight`
 * along its columns (BGRADB). */
#ifndef VT_BACKEND_CUDA_GEMM_SHAPE_H
#define VT_BACKEND_CUDA_GEMM_SHAPE_H

#include "backend/ops.h"

enum gemm_epilogue {
    GEMM_PLAIN,
    GEMM_BIAS, /* D = AB + bias */
    GEMM_GELU, /* D = gelu_tanh(AB [+ bias]) */
    GEMM_GELU_BIAS,
    GEMM_GELU_AUX, /* the same, and aux = AB [+ bias] */
    GEMM_GELU_AUX_BIAS,
    GEMM_DGELU,       /* D = AB * gelu_tanh'(aux) */
    GEMM_DGELU_BGRAD, /* the same, and bias = row sums of D */
    GEMM_BGRADB,      /* bias = row sums of op(B): over k */
    GEMM_EPILOGUE_COUNT
};

struct gemm_shape {
    int64_t m, n, k;
    bool a_transposed, b_transposed;
    int64_t lda, ldb, ldd, ld_aux; /* elements; ld_aux 0 = no aux */
    enum dtype dtype_in;           /* of A and B; aux has D's */
    enum dtype dtype_out;          /* of D */
    enum dtype dtype_bias;         /* of the bias or its gradient */
    enum gemm_epilogue epilogue;
    bool accumulates; /* timed with beta = 1, as it mostly runs */
    int sm_target;    /* multiprocessors to be planned for: others run a collective beside it; 0 = all */
};

bool gemm_has_bias(enum gemm_epilogue epilogue); /* or its gradient */
bool gemm_has_aux(enum gemm_epilogue epilogue);
/* Elements of A, B, D from their pointers on. */
int64_t gemm_a_count(const struct gemm_shape *s);
int64_t gemm_b_count(const struct gemm_shape *s);
int64_t gemm_d_count(const struct gemm_shape *s);
/* Largest power of two up to 16 that divides the bytes between columns: what pointer alignment is worth. */
int gemm_alignment(int64_t ld, enum dtype dtype);
/* "gemm/TN/768x50432x3072/..." everything an algorithm depends on but device and library; no blanks. */
enum { GEMM_KEY_BYTES = 192 };
void gemm_key(const struct gemm_shape *s, char key[GEMM_KEY_BYTES]);

/* ---- a linear layer's products ---- */

enum linear_route {
    ROUTE_FUSED,  /* the product alone */
    ROUTE_SPLIT,  /* the product with the bias, then an own kernel for the rest */
    ROUTE_SCRATCH /* an fp32 product, by way of the workspace, and own kernels for all the rest: any shape the others refuse. Forward's
                   * reads x and w as they are; of gradients both operands are widened to fp32 first */
};
const char *linear_route_name(enum linear_route route);
/* False when no route has this name. */
bool linear_route_parse(const char *name, enum linear_route *route);

struct linear_candidate {
    enum linear_route route;
    struct gemm_shape shape;
};
enum { LINEAR_CANDIDATES = 6 };

/* The ways to run each, best guess first; all meet the contract of ops.h. Return how many. desc->x_stride must be set.
 * pre: forward saves it. sum: backward_input with dx_sum in passing, by the product (ROUTE_FUSED) or by the kernel that applies the
 * activation's slope; none without one. db: of backward_weight, fused (ROUTE_FUSED) or by column sums (ROUTE_SPLIT). */
int linear_forward_candidates(const struct linear_desc *desc, bool pre, struct linear_candidate out[LINEAR_CANDIDATES]);
int linear_input_candidates(const struct linear_desc *desc, bool sum, struct linear_candidate out[LINEAR_CANDIDATES]);
int linear_weight_candidates(const struct linear_desc *desc, bool db, struct linear_candidate out[LINEAR_CANDIDATES]);

/* Logits have fp32 dy beside bf16 x and w, which no product takes: `input` rounds dy to bf16 first (one more rounding
 * below dx's own), `weight` widens x, so that fp32 gradients of fp32 logits stay fp32. */
bool linear_is_mixed(const struct linear_desc *desc);

#endif
