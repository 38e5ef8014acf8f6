#include "op_case.h"

enum { PATCHES, CLS, POS, POSITION, X, DX, DPATCHES, DCLS, DPOS, DPATCH_SUM, COUNT };

static const struct op_case CASES[] = {
    {"no class token", .desc.embed = {3, 4, 5}},
    {"class token", .desc.embed = {3, 4, 5, .cls_token = true}},
    {"class token, dropout", .desc.embed = {3, 4, 5, .cls_token = true, .dropout = 0.3f, .purpose = 16}},
    {"dropout, sum not wanted", OPT_NO_SUM, .desc.embed = {2, 3, 7, .dropout = 0.5f, .purpose = 16}},
    {"vit 3x64x192", .desc.embed = {3, 64, 192, .cls_token = true}},
    {"vit 2x49x384 dropout", .desc.embed = {2, 49, 384, .cls_token = true, .dropout = 0.1f, .purpose = 16}},
    {"map 5x16x100", .desc.embed = {5, 16, 100, .dropout = 0.1f, .purpose = 16}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    c->desc.embed.dtype = dtype;
    c->desc.embed.dtype_stream = dtype_stream;
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct embed_desc *d = &c->desc.embed;
    int64_t D = d->width, N = d->patches + d->cls_token, sum = BWD_OUT | ACCUMULATES;
    bool cls = d->cls_token, wanted = !(c->options & OPT_NO_SUM);
    s[PATCHES] = (struct tensor_spec){"patches", d->dtype, d->batch * d->patches * D, FWD_IN};
    s[CLS] = (struct tensor_spec){"cls", DTYPE_F32, D, cls ? FWD_IN : 0};
    s[POS] = (struct tensor_spec){"pos", DTYPE_F32, N * D, FWD_IN};
    s[POSITION] = (struct tensor_spec){"position", DTYPE_I64, d->batch, FWD_IN | BWD_IN, FILL_POSITION};
    s[X] = (struct tensor_spec){"x", d->dtype_stream, d->batch * N * D, FWD_OUT};
    s[DX] = (struct tensor_spec){"dx", d->dtype_stream, d->batch * N * D, BWD_IN, .dout_of = 1 + X};
    s[DPATCHES] =
        (struct tensor_spec){"dpatches", d->dtype, d->batch * d->patches * D, BWD_OUT, .grad_of = 1 + PATCHES};
    s[DCLS] = (struct tensor_spec){"dcls", DTYPE_F32, D, cls ? (int)sum : 0, .grad_of = cls ? 1 + CLS : 0};
    s[DPOS] = (struct tensor_spec){"dpos", DTYPE_F32, N * D, (int)sum, .grad_of = 1 + POS};
    s[DPATCH_SUM] = (struct tensor_spec){"dpatch_sum",
                                         DTYPE_F32,
                                         D,
                                         wanted ? (int)sum : 0,
                                         .limit = LIMIT_ROUNDED,
                                         .column_sum_of = wanted ? 1 + DPATCHES : 0};
    return COUNT;
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, embed_plan)
    ENTRY_MISSING(be, nn, embed_forward)
    ENTRY_MISSING(be, nn, embed_backward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.embed_plan(be, &c->desc.embed, out);
}

static void forward(const struct op_run *r)
{
    const struct embed_desc *d = &r->c->desc.embed;
    struct op_random random = {79, r->t[POSITION]};
    r->be->nn.embed_forward(r->plan, r->t[PATCHES], d->cls_token ? r->t[CLS] : NULL, r->t[POS], r->t[X],
                            d->dropout > 0 ? &random : NULL);
}

static void backward(const struct op_run *r)
{
    const struct embed_desc *d = &r->c->desc.embed;
    struct op_random random = {79, r->t[POSITION]};
    r->be->nn.embed_backward(r->plan, r->t[DX], r->t[DPATCHES], d->cls_token ? r->t[DCLS] : NULL, r->t[DPOS],
                             r->c->options & OPT_NO_SUM ? NULL : r->t[DPATCH_SUM], r->accumulate,
                             d->dropout > 0 ? &random : NULL);
}

const struct op_family embed_family = {
    .name = "embed",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .has_stream = true,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};
