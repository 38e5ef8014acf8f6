#include "op_case.h"

enum {
    X,
    DELTA,
    LS,
    WEIGHT,
    BIAS,
    POSITION,
    X_OUT,
    Y,
    STATS,
    DY,
    DX_IN,
    DX,
    DDELTA,
    DWEIGHT,
    DBIAS,
    DLS,
    DDELTA_SUM,
    COUNT
};

#define SIZE(b, n, d) .batch = b, .tokens = n, .width = d, .eps = 1e-6f
#define DELTA_ON .has_delta = true
#define DROP(rate) .dropout = rate, .dropout_purpose = 530
#define PATH(rate) .drop_path = rate, .drop_path_purpose = 533

static const struct op_case CASES[] = {
    {"norm only", .desc.add_norm = {SIZE(2, 3, 7)}},
    {"norm only, no dx_in", OPT_NO_DX_IN, .desc.add_norm = {SIZE(2, 3, 7)}},
    {"add", .desc.add_norm = {SIZE(2, 3, 5), DELTA_ON}},
    {"add in place", OPT_ALIAS, .desc.add_norm = {SIZE(2, 3, 5), DELTA_ON}},
    {"add, sums not wanted", OPT_NO_SUM | OPT_NO_DX_IN, .desc.add_norm = {SIZE(2, 3, 5), DELTA_ON}},
    {"add, one gradient", OPT_ONE_GRADIENT, .desc.add_norm = {SIZE(2, 3, 5), DELTA_ON}},
    {"one gradient in place 2x50x768", OPT_ALIAS | OPT_ONE_GRADIENT, .desc.add_norm = {SIZE(2, 50, 768), DELTA_ON}},
    {"one gradient, no sum, 67x200", OPT_NO_SUM | OPT_ONE_GRADIENT, .desc.add_norm = {SIZE(1, 67, 200), DELTA_ON}},
    {"layer scale", .desc.add_norm = {SIZE(3, 2, 6), DELTA_ON, .layer_scale = true}},
    {"dropout", .desc.add_norm = {SIZE(3, 2, 6), DELTA_ON, DROP(0.4f)}},
    {"drop path", .desc.add_norm = {SIZE(5, 2, 6), DELTA_ON, PATH(0.5f)}},
    {"everything, in place", OPT_ALIAS,
     .desc.add_norm = {SIZE(5, 2, 9), DELTA_ON, .layer_scale = true, DROP(0.25f), PATH(0.5f)}},
    {"vit 3x65x192", .desc.add_norm = {SIZE(3, 65, 192), DELTA_ON}},
    {"vit 2x197x384, all", .desc.add_norm = {SIZE(2, 197, 384), DELTA_ON, .layer_scale = true, DROP(0.1f), PATH(0.2f)}},
    {"vit in place 2x50x768", OPT_ALIAS, .desc.add_norm = {SIZE(2, 50, 768), DELTA_ON, .layer_scale = true}},
    {"final norm 4x17x48", OPT_NO_DX_IN, .desc.add_norm = {SIZE(4, 17, 48)}},
    {"width 1664, all", .desc.add_norm = {SIZE(2, 3, 1664), DELTA_ON, .layer_scale = true, DROP(0.2f), PATH(0.4f)}},
    {"drop path 31x7x1544", .desc.add_norm = {SIZE(31, 7, 1544), DELTA_ON, PATH(0.3f)}}, /* many turns of few blocks */
    {"width 2312, all, in place", OPT_ALIAS,
     .desc.add_norm = {SIZE(2, 3, 2312), DELTA_ON, .layer_scale = true, DROP(0.2f), PATH(0.4f)}},
    {"width 3200, layer scale", .desc.add_norm = {SIZE(1, 3, 3200), DELTA_ON, .layer_scale = true}},
    {"width 1001", .desc.add_norm = {SIZE(2, 5, 1001), DELTA_ON, DROP(0.1f)}},
    {"rows of x apart", .desc.add_norm = {SIZE(5, 1, 7), DELTA_ON, .x_stride = 23}},
    {"rows of x apart, 3x2x6, all",
     .desc.add_norm = {SIZE(3, 2, 6), DELTA_ON, .layer_scale = true, DROP(0.25f), PATH(0.4f), .x_stride = 11}},
    {"rows of x apart, width 16", .desc.add_norm = {SIZE(4, 1, 16), DELTA_ON, DROP(0.3f), .x_stride = 21}},
    {"class rows 13x384 of 17", OPT_ONE_GRADIENT, .desc.add_norm = {SIZE(13, 1, 384), DELTA_ON, .x_stride = 17 * 384}},
    {"class rows 3x2312, all",
     .desc.add_norm = {SIZE(3, 1, 2312), DELTA_ON, DROP(0.2f), PATH(0.4f), .x_stride = 3 * 2312}},
    {"dx_in of first tokens", .desc.add_norm = {SIZE(4, 3, 7), .dx_in_first = true}},
    {"dx_in of first, add, all",
     .desc.add_norm = {SIZE(3, 2, 6), DELTA_ON, .layer_scale = true, DROP(0.25f), PATH(0.4f), .dx_in_first = true}},
    {"dx_in of first, one gradient", OPT_ONE_GRADIENT,
     .desc.add_norm = {SIZE(5, 3, 16), DELTA_ON, .dx_in_first = true}},
    {"dx_in of first, not given", OPT_NO_DX_IN, .desc.add_norm = {SIZE(2, 3, 8), DELTA_ON, .dx_in_first = true}},
    {"dx_in of first, one token", .desc.add_norm = {SIZE(3, 1, 8), DELTA_ON, .dx_in_first = true}},
    {"dx_in of first 2x197x384", .desc.add_norm = {SIZE(2, 197, 384), DELTA_ON, DROP(0.1f), .dx_in_first = true}},
    {"dx_in of first 2x5x3200", .desc.add_norm = {SIZE(2, 5, 3200), DELTA_ON, .dx_in_first = true}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    c->desc.add_norm.dtype = dtype;
    c->desc.add_norm.dtype_stream = dtype_stream;
}

static bool in_place(const struct op_case *c)
{
    return c->options & OPT_ALIAS;
}

static bool one_gradient(const struct op_case *c)
{
    return c->options & OPT_ONE_GRADIENT && add_norm_delta_is_dx(&c->desc.add_norm);
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct add_norm_desc *d = &c->desc.add_norm;
    int64_t D = d->width, M = d->batch * d->tokens, all = M * D;
    int64_t later = d->dx_in_first ? d->batch * D : all, x_count = d->x_stride ? (M - 1) * d->x_stride + D : all;
    bool delta = d->has_delta, own_out = delta && !in_place(c);
    int sum = BWD_OUT | ACCUMULATES, dx_in = c->options & OPT_NO_DX_IN ? 0 : BWD_IN;
    int x_out = own_out ? X_OUT : X; /* where forward leaves the sum */
    s[X] = (struct tensor_spec){"x", d->dtype_stream, x_count,
                                FWD_IN | (own_out ? 0 : BWD_IN) | (delta && !own_out ? FWD_OUT : 0)};
    s[DELTA] = (struct tensor_spec){"delta", d->dtype, all, delta ? FWD_IN | BWD_IN : 0};
    s[LS] = (struct tensor_spec){"ls", DTYPE_F32, D, d->layer_scale ? FWD_IN | BWD_IN : 0, FILL_SCALE};
    s[WEIGHT] = (struct tensor_spec){"weight", DTYPE_F32, D, FWD_IN | BWD_IN, FILL_SCALE};
    s[BIAS] = (struct tensor_spec){"bias", DTYPE_F32, D, FWD_IN};
    s[POSITION] = (struct tensor_spec){"position", DTYPE_I64, d->batch, FWD_IN | BWD_IN, FILL_POSITION};
    s[X_OUT] = (struct tensor_spec){"x_out", d->dtype_stream, all, own_out ? FWD_OUT | BWD_IN : 0};
    s[Y] = (struct tensor_spec){"y", d->dtype, all, FWD_OUT};
    /* Statistics of a bf16 stream are those of x_out as rounded, and its roundings may differ in ties. */
    enum limit stats = delta && d->dtype_stream == DTYPE_BF16 ? LIMIT_ROUNDED : LIMIT_DTYPE;
    s[STATS] = (struct tensor_spec){"stats", DTYPE_F32, 2 * M, FWD_OUT | BWD_IN, .limit = stats};
    s[DY] = (struct tensor_spec){"dy", d->dtype, all, BWD_IN, .dout_of = 1 + Y};
    s[DX_IN] = (struct tensor_spec){"dx_in",
                                    d->dtype_stream,
                                    later,
                                    dx_in | (in_place(c) ? BWD_OUT : 0),
                                    .dout_of = dx_in ? 1 + x_out : 0,
                                    .columns = d->dx_in_first ? D : 0,
                                    .stride = d->tokens * D,
                                    .grad_of = in_place(c) ? 1 + X : 0};
    s[DX] = (struct tensor_spec){"dx",
                                 d->dtype_stream,
                                 all,
                                 in_place(c) ? 0 : BWD_OUT,
                                 .grad_of = in_place(c) ? 0 : 1 + X,
                                 .columns = d->x_stride ? D : 0,
                                 .stride = d->x_stride};
    const bool own_ddelta = delta && !one_gradient(c);
    s[DDELTA] =
        (struct tensor_spec){"ddelta", d->dtype, all, own_ddelta ? BWD_OUT : 0, .grad_of = own_ddelta ? 1 + DELTA : 0};
    s[DWEIGHT] = (struct tensor_spec){"dweight", DTYPE_F32, D, sum, .grad_of = 1 + WEIGHT};
    s[DBIAS] = (struct tensor_spec){"dbias", DTYPE_F32, D, sum, .grad_of = 1 + BIAS};
    s[DLS] =
        (struct tensor_spec){"dls", DTYPE_F32, D, d->layer_scale ? sum : 0, .grad_of = d->layer_scale ? 1 + LS : 0};
    bool wanted = delta && !(c->options & OPT_NO_SUM);
    const int ddelta = own_ddelta ? DDELTA : in_place(c) ? DX_IN : DX;
    s[DDELTA_SUM] = (struct tensor_spec){
        "ddelta_sum", DTYPE_F32, D, wanted ? sum : 0, .limit = LIMIT_ROUNDED, .column_sum_of = wanted ? 1 + ddelta : 0};
    return COUNT;
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, add_norm_plan)
    ENTRY_MISSING(be, nn, add_norm_forward)
    ENTRY_MISSING(be, nn, add_norm_backward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.add_norm_plan(be, &c->desc.add_norm, out);
}

static void forward(const struct op_run *r)
{
    const struct add_norm_desc *d = &r->c->desc.add_norm;
    struct op_random random = {78, r->t[POSITION]};
    struct add_norm_forward_args args = {
        .x = r->t[X],
        .delta = d->has_delta ? r->t[DELTA] : NULL,
        .ls = d->layer_scale ? r->t[LS] : NULL,
        .weight = r->t[WEIGHT],
        .bias = r->t[BIAS],
        .y = r->t[Y],
        .stats = r->t[STATS],
        .x_out = !d->has_delta    ? NULL
                 : in_place(r->c) ? r->t[X]
                                  : r->t[X_OUT],
    };
    r->be->nn.add_norm_forward(r->plan, &args, d->dropout > 0 || d->drop_path > 0 ? &random : NULL);
}

static void backward(const struct op_run *r)
{
    const struct add_norm_desc *d = &r->c->desc.add_norm;
    struct op_random random = {78, r->t[POSITION]};
    void *dx = in_place(r->c) ? r->t[DX_IN] : r->t[DX];
    struct add_norm_backward_args args = {
        .dy = r->t[DY],
        .x_out = d->has_delta && !in_place(r->c) ? r->t[X_OUT] : r->t[X],
        .stats = r->t[STATS],
        .ls = d->layer_scale ? r->t[LS] : NULL,
        .weight = r->t[WEIGHT],
        .delta = d->layer_scale ? r->t[DELTA] : NULL,
        .dx_in = r->c->options & OPT_NO_DX_IN ? NULL : r->t[DX_IN],
        .dx = dx,
        .ddelta = one_gradient(r->c) ? dx
                  : d->has_delta     ? r->t[DDELTA]
                                     : NULL,
        .dweight = r->t[DWEIGHT],
        .dbias = r->t[DBIAS],
        .dls = d->layer_scale ? r->t[DLS] : NULL,
        .ddelta_sum = d->has_delta && !(r->c->options & OPT_NO_SUM) ? r->t[DDELTA_SUM] : NULL,
        .accumulate = r->accumulate,
    };
    r->be->nn.add_norm_backward(r->plan, &args, d->dropout > 0 || d->drop_path > 0 ? &random : NULL);
}

const struct op_family add_norm_family = {
    .name = "add_norm",
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
