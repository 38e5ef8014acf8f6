/* The op contract. Each op has two phases: a desc (shapes, dtypes, fusion) becomes an `op_plan` before step 0, which
 * fixes the algorithm and says its workspace; then the plan is enqueued with pointers, any number of times. `ref` fills every
 * entry in plain loops that accumulate in double, and is the definition; other backends fill their own table; an entry
 * left NULL is refused by name when planned (ops_missing).
 *
 * Legend: B images (rows of a microbatch), H W pixels, C channels, P patch side, n = (H/P)*(W/P) patches, N tokens
 * (n + 1 with a class token), M = B*N token rows, D width, F mlp width, A heads, d = D/A, K classes, L depth, S labels/row.
 * T = compute dtype (fp32 or bf16), R = dtype of the residual stream (fp32 or bf16). Gradients: `d` + name.
 * All tensors are row-major and contiguous unless a stride is given; pointers 64-byte aligned unless they are views.
 * "overwrites": previous contents are ignored. "accumulates": dst += value when the `accumulate` argument is true, else
 * overwrites. Parameters (biases, norm weights, cls, pos) and their gradients are fp32; matrices are read in T.
 * Enqueues return void: shapes were checked by the plan, device errors surface at the next synchronising call.
 * Random ops take `struct op_random`: the draw for element e of row b is draw_uniform(seed, purpose, position[b], e),
 * with e counted within the row's own tensor; dropped when < rate; kept values are scaled by 1/(1-rate). With all rates 0,
 * `random` may be NULL. */
#ifndef VT_BACKEND_OPS_H
#define VT_BACKEND_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

struct backend;

/* First member of every backend's own plan struct. */
struct op_plan {
    struct backend *backend;
    size_t workspace_bytes; /* needed from the backend's shared workspace */
    double flops;           /* of one forward enqueue (2 per multiply-add; matrix products only), for MFU and benches */
    char algorithm[48];     /* for the printed plan */
    bool own_sums;          /* attention with desc.sums, linear with desc.dx_sum: they come with backward's own pass, not by one
                             * over its results */
    void (*destroy)(struct op_plan *plan);
};
/* Accepts NULL; sets the pointer to NULL. */
void op_plan_close(struct op_plan **plan);

struct op_random {
    uint64_t seed;
    const uint64_t *position; /* device [B]: stream position of each row */
};

/* Device counters of one step, written by ops, read by the host one step late. */
struct step_scalars {
    double loss_sum;      /* sum over valid rows of loss_b (not divided by G) */
    double weight_sum;    /* valid rows */
    uint64_t correct1, correct5;
    double sumsq;         /* squared global gradient norm */
    float grad_norm, clip_factor;
    uint32_t nonfinite;   /* 1 when loss or gradient norm is not finite: the update is skipped */
    uint32_t skipped;     /* steps of the run skipped so far: kept across steps, put back on resume; see optim_hyper.step */
};

/* ---- linear: y(M,out) = act(x(M,in) w(out,in)^T + b(out)) -------------------------------------------------------
 * y is the activation of the sum as rounded to T, so that backward's slope belongs to it and `activation` makes it again from
 * `pre`. A device whose products have an epilogue for act may take the sum before it is rounded. */
enum activation { ACT_NONE, ACT_GELU_ERF, ACT_GELU_TANH, ACT_TANH };

struct linear_desc {
    int64_t rows, in, out;
    enum dtype dtype;          /* T of x, w, dx, pre */
    enum dtype dtype_out;      /* of y and dy: T, or fp32 for logits */
    bool bias;
    enum activation act;       /* applied to y; `pre` then saves x w^T + b */
    enum activation input_act; /* of the op that made x: backward_input multiplies dx by input_act'(input_pre) */
    int64_t x_stride;          /* elements between rows of x and dx; 0 = in. input_pre is contiguous [M,in] */
    bool dx_sum;               /* dx_sum will be asked for where own_sums says that it costs little: planned with it */
    bool forward_only;         /* for evaluation: backward is not enqueued, pre is NULL, and nothing need be prepared for them */
};
struct linear_forward_args {
    const void *x;         /* T [M,in], rows x_stride apart */
    const void *w;         /* T [out,in] */
    const float *b;        /* [out]; only with a bias */
    const void *b_rounded; /* T [out]: b as rounded to T, of a caller that has it anyway, for products that would have to round it;
                            * NULL = none */
    void *y;               /* dtype_out [M,out]: overwritten */
    void *pre;             /* T [M,out]: overwritten; only with act, where NULL = not saved */
};
struct linear_input_args {
    const void *dy;        /* dtype_out [M,out] */
    const void *w;         /* T [out,in] */
    const void *input_pre; /* T [M,in]; only with input_act */
    void *dx;              /* T [M,in], rows x_stride apart: (dy w) * input_act'(input_pre). Must not alias dy */
    bool accumulate;       /* dx += that; the sum is rounded to T once. Not with input_act */
    float *dx_sum;         /* [in]: column sums of what dx then holds, before or after it is rounded, and themselves rounded to T
                            * once at most = bias gradient of the linear that made input_pre; NULL = not wanted. There in every
                            * plan; plan->own_sums says whether they are cheaper here than in what reads dx next */
    bool accumulate_sum;   /* for dx_sum */
};

/* ---- activation: y = act(x), elementwise: what linear made of the `pre` it saved, once more ---------------------- */
struct activation_desc {
    int64_t rows, columns;
    enum dtype dtype;     /* T of x and y */
    enum activation act;  /* not NONE */
};

/* ---- attention: o = dropout(softmax(scale q k^T)) v, per image and head ------------------------------------------ */
struct attention_view { /* element strides of a [B, A, rows, d] view; d is contiguous */
    int64_t batch, head, row;
};
struct attention_desc {
    int64_t batch, heads, queries, keys, head_dim;
    enum dtype dtype;
    float scale;
    struct attention_view q, k, v, o; /* gradients have the strides of their tensors */
    float dropout;                    /* element e = (head * queries + i) * keys + j */
    uint32_t purpose;
    bool forward_only;                /* for evaluation: backward is not enqueued, and nothing need be prepared for it */
    bool sums;                        /* backward may be asked for attention_sums */
};
/* Sums of dq, dk and dv over images and rows, [A*d] each, d columns for each head: bias gradients of the linear that made q, k
 * and v. Of gradients before they are rounded to T, or after, as a backend likes. dk's are 0: as the softmax ignores what all
 * keys have in common, so does the loss. And dv's are those of d_o where nothing is dropped, as probabilities add up to 1. */
struct attention_sums {
    float *dq, *dk, *dv; /* accumulate; all of them */
    bool accumulate;
};

/* ---- add_norm: x_out = x + s[b] * ls * dropout(delta); y = LayerNorm(x_out) --------------------------------------
 * y and stats are those of x_out as rounded to R; ddelta, dls and the sums come from dx before it is rounded. */
struct add_norm_desc {
    int64_t batch, tokens, width;
    enum dtype dtype;        /* T of delta, y, ddelta, dy */
    enum dtype dtype_stream; /* R of x, x_out, dx */
    float eps;
    bool has_delta;          /* false: x_out is x itself (x_out pointer unused) and there is no ddelta */
    bool layer_scale;        /* ls(D) given */
    float dropout;           /* on delta; element e = token * width + column */
    uint32_t dropout_purpose;
    float drop_path;         /* s[b] = 0 with this rate, else 1/(1-rate); draw index 0 */
    uint32_t drop_path_purpose;
    int64_t x_stride;        /* elements between the rows of x; 0 = width. Else there is a delta, and x_out may not alias x */
    bool dx_in_first;        /* dx_in is R [B,D], of each image's first token; it is zero for the others, and may not alias dx */
};
/* Whether the gradients of x and of delta are the same bits: one tensor can be both. */
static inline bool add_norm_delta_is_dx(const struct add_norm_desc *d)
{
    return d->has_delta && d->dtype == d->dtype_stream && !d->layer_scale && d->dropout == 0 && d->drop_path == 0;
}
/* What every backend refuses as our own mistake. */
static inline bool add_norm_desc_ok(const struct add_norm_desc *d)
{
    return d->batch > 0 && d->tokens > 0 && d->width > 0 && d->eps > 0 && (d->x_stride == 0 || d->x_stride >= d->width) &&
           (d->has_delta || (!d->layer_scale && d->dropout <= 0 && d->drop_path <= 0 && d->x_stride == 0));
}
struct add_norm_forward_args {
    const void *x;           /* R [M,D], by x_stride */
    const void *delta;       /* T [M,D] */
    const float *ls, *weight, *bias;
    void *x_out;             /* R [M,D]; may alias x without an x_stride */
    void *y;                 /* T [M,D] */
    float *stats;            /* [M,2]: mean, 1/std; saved for backward */
};
struct add_norm_backward_args {
    const void *dy;          /* T [M,D] */
    const void *x_out;       /* R [M,D] as left by forward */
    const float *stats, *ls, *weight;
    const void *delta;       /* T [M,D]; only with layer_scale */
    const void *dx_in;       /* R [M,D]: gradient of x_out from its later users; NULL = zero; see dx_in_first */
    void *dx;                /* R [M,D]: dx_in + LN'(dy); gradient of x; may alias dx_in, but for dx_in_first */
    void *ddelta;            /* T [M,D]: gradient of delta; may be dx where add_norm_delta_is_dx: then it is written once */
    float *dweight, *dbias;  /* [D] accumulate */
    float *dls;              /* [D] accumulate; only with layer_scale */
    float *ddelta_sum;       /* [D] accumulate: column sums of ddelta = bias gradient of the linear that made delta; NULL = not wanted */
    bool accumulate;         /* for the [D] gradients */
};

static inline bool add_norm_forward_ok(const struct add_norm_desc *d, const struct add_norm_forward_args *a)
{
    return d->x_stride == 0 || d->x_stride == d->width || a->x_out != a->x;
}
static inline bool add_norm_backward_ok(const struct add_norm_desc *d, const struct add_norm_backward_args *a)
{
    return (a->ddelta != a->dx || add_norm_delta_is_dx(d)) && (!d->dx_in_first || !a->dx_in || a->dx_in != a->dx);
}

/* ---- patchify, embed, pool -------------------------------------------------------------------------------------- */
enum erase_fill {
    ERASE_NONE,
    ERASE_ZERO, /* 0, after normalisation: the mean colour (timm RandomErasing, "const") */
    ERASE_NOISE /* N(0,1) for each value, after normalisation (timm, "pixel"): normal_quantile((k + 1/2) / 2^24), k the
                 * upper 24 bits of draw e = (y * W + x) * C + c */
};
struct patchify_desc { /* u8 [B,H,W,C] -> T [B*n, C*P*P], vector order (c, row, column): the conv weight's */
    int64_t batch, height, width, channels, patch;
    enum dtype dtype;
    float mean[4], std[4]; /* value = (u8/255 - mean[c]) / std[c] */
    bool mixup, cutmix;    /* what patchify_mix may ask for; all off: the plain op, with no cost for the rest */
    enum erase_fill erase;
    uint32_t erase_purpose; /* of ERASE_NOISE's draws */
};
struct pixel_box { /* pixels with x0 <= x < x1 and y0 <= y < y1; empty where there are none. May reach out of the picture */
    int32_t x0, y0, x1, y1;
};
/* Mixing and erasing by row, in fp32 and on normalised values v; what comes out is rounded to T once. First one of
 *   mixup (Zhang et al. 2018): v = lambda v + (1 - lambda) v', v' the partner's value at the same place;
 *   CutMix (Yun et al. 2019): v = v' inside the box. A row whose box is not empty takes CutMix alone: its lambda may then be
 *     the one of its labels;
 * then erasing (Zhong et al. 2020): the fill inside the erase box. (timm's loader has this order; DeiT's erases first.)
 * v' is the partner's own: neither mixed nor erased. So partners need not be mutual, and boxes of two rows not equal.
 * All are device arrays, and inputs; NULL = none in this enqueue. Only what the desc announced may be given.
 * What draws them, and the soft labels that go with them, are not there yet: no data.transform asks for them, and
 * model/patch_embed.c plans none. */
struct patchify_mix {
    const int32_t *partner;         /* [B]: row of this microbatch, 0..B-1 (anything else is fatal); the row itself = not
                                     * mixed. Needed by the next two. A pair of the deal (input/deal.h) is two rows in
                                     * turn, in one microbatch where B is even */
    const float *lambda;            /* [B] in [0, 1]; 1 = not mixed */
    const struct pixel_box *cutmix; /* [B]; empty = not cut */
    const struct pixel_box *erase;  /* [B]; empty = not erased */
};
/* Whether a mix may be enqueued under this desc. */
static inline bool patchify_mix_ok(const struct patchify_desc *d, const struct patchify_mix *mix,
                                   const struct op_random *random)
{
    return (d->mixup || !mix->lambda) && (d->cutmix || !mix->cutmix) && (d->erase != ERASE_NONE || !mix->erase) &&
           (mix->partner || (!mix->lambda && !mix->cutmix)) && (random || !mix->erase || d->erase != ERASE_NOISE);
}
struct embed_desc { /* x(B,N,D) = dropout(concat(cls, patches) + pos) */
    int64_t batch, patches, width;
    bool cls_token;
    enum dtype dtype, dtype_stream; /* patches T, x R */
    float dropout;                  /* element e = token * width + column */
    uint32_t purpose;
};
enum pool_kind { POOL_CLS, POOL_MEAN }; /* mean over patch tokens only, the class token excluded */
struct pool_desc { /* T [B,N,D] -> T [B,D] */
    int64_t batch, tokens, width;
    int64_t prefix; /* class tokens in front (0 or 1) */
    enum pool_kind kind;
    enum dtype dtype;
};

/* ---- dropout: y = x * keep / (1 - rate); the same op runs backward on the gradient -------------------------------- */
struct dropout_desc {
    int64_t batch, row_elements; /* element e within a row of row_elements */
    enum dtype dtype;
    float rate;
    uint32_t purpose;
};

/* ---- loss ------------------------------------------------------------------------------------------------------- */
enum loss_kind {
    LOSS_SOFTMAX, /* -sum_k t_k log softmax(z)_k, t = (1 - smoothing) * labels + smoothing / K */
    LOSS_SIGMOID  /* sum_k BCE(sigmoid(z_k), t_k), summed over classes (big_vision sigmoid_xent); smoothing as above */
};
struct loss_desc {
    int64_t batch, classes, labels; /* labels per row S */
    enum loss_kind kind;
    float smoothing;
    enum dtype dtype_grad;          /* of dlogits */
};
struct loss_args {
    const float *logits;        /* [B,K] fp32 */
    const int32_t *label_id;    /* [B,S], -1 = none */
    const float *label_weight;  /* [B,S] soft targets: t_k = sum of the weights of k */
    const float *row_weight;    /* [B]: 1, or 0 = padding: no loss, zero dlogits, whatever its logits and labels are */
    float grad_scale;           /* 1/G */
    void *dlogits;              /* overwritten; NULL = evaluation */
    float *row_loss;            /* [B] overwritten; NULL = not wanted */
    struct step_scalars *scalars; /* loss_sum, weight_sum, correct1, correct5 += */
    /* correct: a row's best (5 best) logits include a label of positive weight; ties count as lower class id first. */
};

struct nn_ops {
    vt_status (*linear_plan)(struct backend *be, const struct linear_desc *desc, struct op_plan **plan);
    void (*linear_forward)(struct op_plan *plan, const struct linear_forward_args *args);
    void (*linear_backward_input)(struct op_plan *plan, const struct linear_input_args *args);
    /* dw(out,in) = dy^T x, db(out) = column sums of dy; fp32, accumulate. db NULL = not wanted. */
    void (*linear_backward_weight)(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db, bool accumulate);

    vt_status (*activation_plan)(struct backend *be, const struct activation_desc *desc, struct op_plan **plan);
    void (*activation_forward)(struct op_plan *plan, const void *x, void *y); /* overwrites y, which may alias x */

    vt_status (*attention_plan)(struct backend *be, const struct attention_desc *desc, struct op_plan **plan);
    /* Overwrites o and lse[B,A,queries] (natural-log sum of exp of scaled scores, fp32; saved for backward). */
    void (*attention_forward)(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random);
    /* Overwrites dq, dk, dv. None may alias an input. sums NULL = not wanted; else the desc said `sums`. They are there in every
     * plan, but plan->own_sums says whether they are cheaper here than in what reads dq, dk and dv next. */
    void (*attention_backward)(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random);

    vt_status (*add_norm_plan)(struct backend *be, const struct add_norm_desc *desc, struct op_plan **plan);
    void (*add_norm_forward)(struct op_plan *plan, const struct add_norm_forward_args *args, const struct op_random *random);
    void (*add_norm_backward)(struct op_plan *plan, const struct add_norm_backward_args *args, const struct op_random *random);

    vt_status (*patchify_plan)(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan);
    /* Overwrites patches, which may alias no input. mix NULL = plain; random (positions of the rows) may be NULL unless noise
     * fills an erase box. */
    void (*patchify_forward)(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                             const struct op_random *random);

    vt_status (*embed_plan)(struct backend *be, const struct embed_desc *desc, struct op_plan **plan);
    /* pos is [N,D]; cls [D], NULL without class token. Overwrites x. */
    void (*embed_forward)(struct op_plan *plan, const void *patches, const float *cls, const float *pos, void *x,
                          const struct op_random *random);
    /* Overwrites dpatches (T [B*n,D]); dcls [D], dpos [N,D] and dpatch_sum [D] (column sums of dpatches = bias gradient of the
     * patch projection; may be NULL) accumulate. */
    void (*embed_backward)(struct op_plan *plan, const void *dx, void *dpatches, float *dcls, float *dpos,
                           float *dpatch_sum, bool accumulate, const struct op_random *random);

    vt_status (*pool_plan)(struct backend *be, const struct pool_desc *desc, struct op_plan **plan);
    void (*pool_forward)(struct op_plan *plan, const void *x, void *y);
    void (*pool_backward)(struct op_plan *plan, const void *dy, void *dx); /* overwrites all of dx(B,N,D) */

    vt_status (*dropout_plan)(struct backend *be, const struct dropout_desc *desc, struct op_plan **plan);
    void (*dropout_forward)(struct op_plan *plan, const void *x, void *y, const struct op_random *random); /* y may alias x */

    vt_status (*loss_plan)(struct backend *be, const struct loss_desc *desc, struct op_plan **plan);
    void (*loss_forward_backward)(struct op_plan *plan, const struct loss_args *args);

    /* dst[i] (fp32) += src[i], the seam through which staged gradients reach the accumulator. */
    void (*reduce_add)(struct backend *be, float *dst, const float *src, int64_t count);
    void (*cast)(struct backend *be, const void *src, enum dtype from, void *dst, enum dtype to, int64_t count);
    /* Start a step's counters: everything but `skipped` becomes 0. */
    void (*scalars_reset)(struct backend *be, struct step_scalars *scalars);
};

/* Strided convolutions and group norm for hybrid stems: filled when the hybrids are built. */
struct conv_ops {
    vt_status (*conv_plan)(struct backend *be, const void *desc, struct op_plan **plan);
};

/* ---- optim: elementwise over ranges of the flat fp32 buffers; segments and hyper are host memory, read by the call ---- */
enum { NORM_CHUNK = 65536 }; /* elements per chunk of the global norm, counted from the start of the flat buffer */

struct optim_segment { /* a run of the flat buffer with one set of multipliers; segments tile the range */
    int64_t begin, end; /* elements of the flat buffer */
    float lr_scale;     /* multiplies hyper.lr */
    float weight_decay; /* this segment's decay */
};
struct optim_hyper { /* one step's host scalars */
    float lr, beta1, beta2, eps, momentum;
    bool nesterov;
    int64_t step;       /* 1-based, skipped steps counted too. The update it makes is number t = step - scalars->skipped: a
                           step that was skipped does not advance Adam's bias correction, as under torch's GradScaler */
    float clip;         /* global-norm limit; 0 = none */
};
struct optim_ops {
    /* partial[c] = sum of squares (double) of chunk c of grads[0, count). Overwrites ceil(count / NORM_CHUNK) partials. */
    void (*sumsq_chunks)(struct backend *be, const float *grads, int64_t count, double *partial);
    /* Sum `count` partials in order; set sumsq, grad_norm, clip_factor = min(1, clip / (norm + 1e-6)) (torch
     * clip_grad_norm_; 1 without a limit or when the norm is not finite), nonfinite (norm not finite: a non-finite loss
     * makes its gradients so) and count skipped. */
    void (*norm_finish)(struct backend *be, const double *partial, int64_t count, float clip, struct step_scalars *scalars);
    /* AdamW (Loshchilov & Hutter 2019, algorithm 2, as torch): p -= lr*wd*p; m, v update; p -= lr * mhat / (sqrt(vhat) + eps),
     * with mhat = m / (1 - beta1^t), vhat = v / (1 - beta2^t), t >= 1 (optim_hyper.step).
     * g is multiplied by scalars->clip_factor; nothing is written when scalars->nonfinite. Pointers address the flat
     * buffers' element 0; only [segments] are touched. compute (bf16, may be NULL) gets the rounded new p. ema (may be NULL):
     * ema += (1 - ema_decay) * (p - ema). */
    void (*adamw)(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                  float *p, const float *g, float *m, float *v, bf16_t *compute, float *ema, float ema_decay,
                  const struct step_scalars *scalars);
    /* torch SGD: g += wd*p; buf = t == 1 ? g : momentum*buf + g; p -= lr * (nesterov ? g + momentum*buf : buf). */
    void (*sgd)(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                float *p, const float *g, float *buf, bf16_t *compute, float *ema, float ema_decay,
                const struct step_scalars *scalars);
};

/* The name of the first NULL entry in the tables a ViT needs, or NULL. */
const char *ops_missing(const struct backend *be);

#endif
