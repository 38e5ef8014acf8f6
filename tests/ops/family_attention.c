#include "op_case.h"

/* Packed, QKV has all of q, k and v; else k and v: one query's dq is far larger than the rest, and would pass for their size. */
enum { Q, QKV, POSITION, O, LSE, DO, DQ, DQKV, DQ_SUM, DK_SUM, DV_SUM, COUNT };

#define SIZE(b, h, q, k, c) .batch = b, .heads = h, .queries = q, .keys = k, .head_dim = c

static const struct op_case CASES[] = {
    {"one key", OPT_NO_SUM, .desc.attention = {SIZE(1, 1, 1, 1, 3), .scale = 0.5f}},
    {"packed, odd", .desc.attention = {SIZE(2, 2, 5, 5, 3), .scale = 0.577f}},
    {"packed, dropout", .desc.attention = {SIZE(2, 2, 5, 5, 3), .scale = 0.577f, .dropout = 0.3f, .purpose = 785}},
    {"head-major, odd", .layout = LAYOUT_HEADS, .desc.attention = {SIZE(2, 3, 4, 4, 5), .scale = 0.4f}},
    {"one query, 7 keys", OPT_NO_SUM, .layout = LAYOUT_TOKENS, .desc.attention = {SIZE(2, 2, 1, 7, 4), .scale = 0.5f}},
    {"3 queries, 6 keys, dropout", .layout = LAYOUT_TOKENS,
     .desc.attention = {SIZE(2, 2, 3, 6, 4), .scale = 0.5f, .dropout = 0.5f, .purpose = 17}},
    {"sharp softmax", OPT_SHARP | OPT_NO_SUM, .desc.attention = {SIZE(1, 2, 17, 17, 32), .scale = 4}},
    {"vit 2x3x65x64", .desc.attention = {SIZE(2, 3, 65, 65, 64), .scale = 0.125f}},
    {"vit 1x3x197x64", .desc.attention = {SIZE(1, 3, 197, 197, 64), .scale = 0.125f}},
    {"vit dropout 2x3x65x64",
     .desc.attention = {SIZE(2, 3, 65, 65, 64), .scale = 0.125f, .dropout = 0.1f, .purpose = 529}},
    {"d=80, 50 tokens", .desc.attention = {SIZE(2, 2, 50, 50, 80), .scale = 0.1118f}},
    {"map pool 2x4x1x49x32", .layout = LAYOUT_TOKENS, .desc.attention = {SIZE(2, 4, 1, 49, 32), .scale = 0.1768f}},
    {"class 2x3x1x5x4", .layout = LAYOUT_KV, .desc.attention = {SIZE(2, 3, 1, 5, 4), .scale = 0.5f}},
    {"class 2x3x1x197x64", .layout = LAYOUT_KV, .desc.attention = {SIZE(2, 3, 1, 197, 64), .scale = 0.125f}},
    {"class 2x2x1x257x80", .layout = LAYOUT_KV, .desc.attention = {SIZE(2, 2, 1, 257, 80), .scale = 0.1118f}},
    {"class dropout 3x2x1x50x64", .layout = LAYOUT_KV,
     .desc.attention = {SIZE(3, 2, 1, 50, 64), .scale = 0.125f, .dropout = 0.1f, .purpose = 529}},
    {"class 2x2x20x37x64", .layout = LAYOUT_KV, .desc.attention = {SIZE(2, 2, 20, 37, 64), .scale = 0.125f}},
    {"d=80, 257 tokens", .desc.attention = {SIZE(1, 1, 257, 257, 80), .scale = 0.1118f}},
    {"d=128, 21 queries, 70 keys", .layout = LAYOUT_TOKENS, .desc.attention = {SIZE(1, 2, 21, 70, 128), .scale = 0.0884f}},
    {"d=96, 145 queries, 33 keys", .layout = LAYOUT_HEADS, .desc.attention = {SIZE(1, 2, 145, 33, 96), .scale = 0.1021f}},
    {"d=64, 208 tokens", .desc.attention = {SIZE(1, 1, 208, 208, 64), .scale = 0.125f}},
    {"d=64, 300 tokens", .desc.attention = {SIZE(1, 1, 300, 300, 64), .scale = 0.125f}},
    {"d=48, 90 tokens", .desc.attention = {SIZE(1, 2, 90, 90, 48), .scale = 0.1443f}},
    {"d=32, 17 tokens, head-major", .layout = LAYOUT_HEADS,
     .desc.attention = {SIZE(3, 2, 17, 17, 32), .scale = 0.1768f}},
};

/* Elements of q's own buffer, if it has one. */
static int64_t q_count(const struct op_case *c)
{
    const struct attention_desc *d = &c->desc.attention;
    return c->layout == LAYOUT_PACKED ? 0 : d->batch * d->queries * d->heads * d->head_dim;
}

/* Element offsets of k and v in the other buffer, and its size. */
static int64_t offsets(const struct op_case *c, int64_t *k, int64_t *v)
{
    const struct attention_desc *d = &c->desc.attention;
    int64_t width = d->heads * d->head_dim;
    *k = c->layout == LAYOUT_PACKED ? width : 0;
    *v = *k + (c->layout == LAYOUT_PACKED || c->layout == LAYOUT_KV ? width : d->batch * d->keys * width);
    return (c->layout == LAYOUT_PACKED ? 3 : 2) * d->batch * d->keys * width;
}

static struct attention_view view(const struct op_case *c, int64_t rows)
{
    const struct attention_desc *d = &c->desc.attention;
    int64_t width = d->heads * d->head_dim;
    if (c->layout == LAYOUT_PACKED)
        return (struct attention_view){rows * 3 * width, d->head_dim, 3 * width};
    if (c->layout == LAYOUT_TOKENS || c->layout == LAYOUT_KV)
        return (struct attention_view){rows * width, d->head_dim, width};
    return (struct attention_view){rows * width, rows * d->head_dim, d->head_dim};
}

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    struct attention_desc *d = &c->desc.attention;
    int64_t width = d->heads * d->head_dim;
    d->dtype = dtype;
    d->q = view(c, d->queries);
    d->k = d->v = view(c, d->keys);
    if (c->layout == LAYOUT_KV)
        d->k = d->v = (struct attention_view){d->keys * 2 * width, d->head_dim, 2 * width};
    d->o = (struct attention_view){d->queries * width, d->head_dim, width};
    if (c->layout == LAYOUT_HEADS)
        d->o = view(c, d->queries);
    d->sums = !(c->options & OPT_NO_SUM);
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct attention_desc *d = &c->desc.attention;
    const int sum = c->options & OPT_NO_SUM ? 0 : BWD_OUT | ACCUMULATES;
    const int64_t width = d->heads * d->head_dim;
    int64_t k, v, qkv = offsets(c, &k, &v), o = d->batch * d->queries * d->heads * d->head_dim;
    const bool sharp = c->options & OPT_SHARP;
    const enum limit limit = sharp ? LIMIT_SHARP : LIMIT_FUSED, grad_limit = sharp ? LIMIT_SHARP_GRAD : LIMIT_FUSED;
    const int64_t own_q = q_count(c);
    s[Q] = (struct tensor_spec){"q", d->dtype, own_q, own_q ? FWD_IN | BWD_IN : 0};
    s[QKV] = (struct tensor_spec){"qkv", d->dtype, qkv, FWD_IN | BWD_IN};
    s[POSITION] = (struct tensor_spec){"position", DTYPE_I64, d->batch, FWD_IN | BWD_IN, .fill = FILL_POSITION};
    s[O] = (struct tensor_spec){"o", d->dtype, o, FWD_OUT | BWD_IN, .limit = limit};
    s[LSE] = (struct tensor_spec){"lse", DTYPE_F32, d->batch * d->heads * d->queries, FWD_OUT | BWD_IN};
    s[DO] = (struct tensor_spec){"d_o", d->dtype, o, BWD_IN, .dout_of = 1 + O};
    s[DQ] = (struct tensor_spec){
        "dq", d->dtype, own_q, own_q ? BWD_OUT : 0, .limit = grad_limit, .grad_of = own_q ? 1 + Q : 0};
    s[DQKV] = (struct tensor_spec){"dqkv", d->dtype, qkv, BWD_OUT, .limit = grad_limit, .grad_of = 1 + QKV};
    const bool rows = c->layout == LAYOUT_TOKENS || c->layout == LAYOUT_KV; /* dq is [rows, width] */
    s[DQ_SUM] = (struct tensor_spec){
        "dq_sum", DTYPE_F32, width, sum, .limit = LIMIT_ROUNDED, .column_sum_of = rows && sum ? 1 + DQ : 0};
    s[DK_SUM] = (struct tensor_spec){"dk_sum", DTYPE_F32, width, sum, .limit = LIMIT_EXACT};
    s[DV_SUM] = (struct tensor_spec){"dv_sum", DTYPE_F32, width, sum, .limit = LIMIT_ROUNDED};
    return COUNT;
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, attention_plan)
    ENTRY_MISSING(be, nn, attention_forward)
    ENTRY_MISSING(be, nn, attention_backward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.attention_plan(be, &c->desc.attention, out);
}

static void *element(const struct op_case *c, void *base, int64_t i)
{
    return (char *)base + (size_t)i * dtype_bytes(c->desc.attention.dtype);
}

static void *q_of(const struct op_run *r, int own, int packed) { return r->t[r->c->layout == LAYOUT_PACKED ? packed : own]; }

static void forward(const struct op_run *r)
{
    int64_t k, v;
    offsets(r->c, &k, &v);
    struct op_random random = {77, r->t[POSITION]};
    r->be->nn.attention_forward(r->plan, q_of(r, Q, QKV), element(r->c, r->t[QKV], k), element(r->c, r->t[QKV], v), r->t[O],
                                r->t[LSE], r->c->desc.attention.dropout > 0 ? &random : NULL);
}

static void backward(const struct op_run *r)
{
    int64_t k, v;
    offsets(r->c, &k, &v);
    struct op_random random = {77, r->t[POSITION]};
    const struct attention_sums sums = {r->t[DQ_SUM], r->t[DK_SUM], r->t[DV_SUM], r->accumulate};
    r->be->nn.attention_backward(r->plan, q_of(r, Q, QKV), element(r->c, r->t[QKV], k), element(r->c, r->t[QKV], v), r->t[O],
                                 r->t[LSE], r->t[DO], q_of(r, DQ, DQKV), element(r->c, r->t[DQKV], k),
                                 element(r->c, r->t[DQKV], v), r->c->options & OPT_NO_SUM ? NULL : &sums,
                                 r->c->desc.attention.dropout > 0 ? &random : NULL);
}

const struct op_family attention_family = {
    .name = "attention",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
