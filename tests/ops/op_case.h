/* The op checker's table. A family is one op with its backward: a list of tensors with their roles, how to plan and
 * enqueue it, and rows of cases. Everything else (values, guard bands, running on a device, comparing, differentiating)
 * is generic: a new case is one row, a new op one family file and a line in families.c, a new backend one line in
 * test_ops.c. dtypes in a case row are placeholders: set_dtype fills them, so each row runs in every combination. */
#ifndef VT_TESTS_OP_CASE_H
#define VT_TESTS_OP_CASE_H

#include "backend/backend.h"

enum { MAX_TENSORS = 20 };

enum role {
    FWD_IN = 1,  /* read by forward */
    FWD_OUT = 2, /* written by forward; with FWD_IN: in place */
    BWD_IN = 4,  /* read by backward; if forward does not write it, it has values of its own */
    BWD_OUT = 8, /* written by backward */
    ACCUMULATES = 16
};
enum fill {
    FILL_NORMAL,     /* N(0,1), multiples of 2^-12 so that finite differences step exactly */
    FILL_SCALE,      /* near 1: norm weights, layer scales */
    FILL_POSITIVE,   /* squares of the above: second moments */
    FILL_SMALL,      /* N(0,1)/100 */
    FILL_POSITION,   /* int64 stream positions past 2^32 */
    FILL_PIXEL,      /* uint8 */
    FILL_LABEL,      /* int32 in [-1, label_classes) */
    FILL_WEIGHT,     /* [0, 1) */
    FILL_ROW_WEIGHT, /* 1, and 0 in each third row */
    FILL_SCALARS     /* struct step_scalars with something in each field */
};
enum limit {
    LIMIT_DTYPE,   /* by dtype: fp32 1e-5; bf16 by rounding floors */
    LIMIT_EXACT,   /* bit for bit */
    LIMIT_ROUNDED, /* fp32 sums whose terms a backend may round to T first: one bf16 rounding when T is bf16 */
    LIMIT_FUSED,   /* bf16 results of chained products: intermediates (p, ds) may be rounded to bf16 too */
    LIMIT_SHARP,   /* FUSED, with scores near 80: fp32 rounds them by 80 * 2^-24, which exp passes on; fp32 1e-3 */
    LIMIT_SHARP_GRAD /* SHARP; in bf16 the sum of p dp may be that of d_o o, with o as rounded: 2^-9 |d_o| |o| scale |k| of
                        error, beside which the gradients of a nearly one-hot softmax are small */
};

struct tensor_spec {
    const char *name;
    enum dtype dtype;
    int64_t count;
    int roles;
    enum fill fill;
    enum limit limit;
    int grad_of;       /* 1 + index of the input this is the gradient of */
    int dout_of;       /* 1 + index of the output this is the gradient from */
    int64_t columns, stride; /* where it belongs to rows of that tensor: element i to i / columns * stride + i % columns */
    int column_sum_of; /* 1 + index of the [rows, count] tensor whose column sums this is */
    bool scalars;      /* one struct step_scalars, compared field by field */
    int32_t label_classes;
};

enum option {
    OPT_NO_PRE = 1,
    OPT_NO_DB = 2,
    OPT_ALIAS = 4, /* output shares the input's memory where the contract allows it */
    OPT_NO_DX_IN = 8,
    OPT_NO_SUM = 16, /* ddelta_sum, dpatch_sum, dx_sum = NULL */
    OPT_NO_DLOGITS = 32,
    OPT_NO_ROW_LOSS = 64,
    OPT_LOGITS = 128,      /* linear: y in fp32 */
    OPT_NAN_PADDING = 256, /* loss: rows of weight 0 hold NaN logits */
    OPT_NONFINITE = 512,   /* optim: a NaN among the gradients */
    OPT_NO_COPIES = 1024,  /* optim: compute and ema = NULL */
    OPT_SHARP = 2048,      /* attention: large scores */
    OPT_ONE_GRADIENT = 4096, /* add_norm: ddelta is dx where the contract allows it */
    OPT_NO_MIX = 8192,       /* patchify: mix = NULL, whatever the desc announced */
    OPT_NO_LAMBDA = 16384,   /* patchify: lambda = NULL, though the desc announced mixup */
    OPT_NO_ERASE = 32768,    /* patchify: erase = NULL, though the desc announced it */
    OPT_ADD_DX = 65536,      /* linear: dx accumulates, too */
    OPT_B_ROUNDED = 131072   /* linear: the bias is there in T, too */
};
/* attention: [B,N,3,A,d]; [B,N,A,d] each; [B,A,N,d] each; q [B,Nq,A,d] and [B,N,2,A,d] */
enum layout { LAYOUT_PACKED, LAYOUT_TOKENS, LAYOUT_HEADS, LAYOUT_KV };

struct optim_case {
    int64_t count;
    struct optim_hyper hyper;
    float ema_decay;
    uint32_t skipped;      /* steps before this one */
    float grad_norm_scale; /* multiplies the gradients */
    int segments;          /* 0: the three of segments_of */
};

struct op_case {
    const char *name;
    int options;
    enum layout layout;
    enum dtype from, to; /* cast */
    union {
        struct linear_desc linear;
        struct activation_desc activation;
        struct attention_desc attention;
        struct add_norm_desc add_norm;
        struct patchify_desc patchify;
        struct embed_desc embed;
        struct pool_desc pool;
        struct dropout_desc dropout;
        struct loss_desc loss;
        struct optim_case optim;
    } desc;
};

struct op_run {
    struct backend *be;
    struct op_plan *plan;
    const struct op_case *c;
    void *t[MAX_TENSORS]; /* pointers of the specs, in their order */
    bool accumulate;
};

struct op_family {
    const char *name;
    const struct op_case *cases;
    int case_count;
    bool has_stream;                                                                 /* R matters */
    void (*set_dtype)(struct op_case *c, enum dtype dtype, enum dtype dtype_stream); /* NULL: dtypes are fixed */
    int (*specs)(const struct op_case *c, struct tensor_spec *specs);
    const char *(*missing)(const struct backend *be); /* name of a NULL entry this family calls, or NULL */
    vt_status (*plan)(struct backend *be, const struct op_case *c, struct op_plan **plan); /* NULL: planless */
    void (*prepare)(const struct op_case *c, void *const *t); /* host: special values among the inputs; may be NULL */
    void (*derive)(const struct op_case *c,
                   void *const *t); /* host: inputs that are functions of others; may be NULL */
    void (*forward)(const struct op_run *run);
    void (*backward)(const struct op_run *run);                   /* may be NULL */
    double (*objective)(const struct op_case *c, void *const *t); /* instead of sum dout * out */
};

extern const struct op_family linear_family, activation_family, attention_family, add_norm_family, patchify_family,
    embed_family, pool_family, dropout_family, loss_family, reduce_add_family, cast_family, scalars_family, norm_family,
    adamw_family, sgd_family;
extern const struct op_family *const op_families[];
extern const int op_family_count;

/* For `missing`: the first entry of the family that is NULL. */
#define ENTRY_MISSING(be, group, entry)                                                                                \
    if (!(be)->group.entry)                                                                                            \
        return #group "." #entry;

#endif
