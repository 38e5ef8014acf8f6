#include <math.h>

#include "tensors.h"

enum { X, W, BIAS, Y, PRE, INPUT_PRE, DY, DX, DX_SUM, DW, DB, B_ROUNDED, COUNT };

static const struct op_case CASES[] = {
    {"one element", .desc.linear = {1, 1, 1, .bias = true}},
    {"odd, no bias", .desc.linear = {5, 7, 3}},
    {"odd, bias", .desc.linear = {7, 5, 9, .bias = true}},
    {"strided x", .desc.linear = {6, 5, 4, .bias = true, .x_stride = 11}},
    {"gelu_erf out", .desc.linear = {5, 6, 7, .bias = true, .act = ACT_GELU_ERF}},
    {"gelu_tanh out", .desc.linear = {5, 6, 7, .bias = true, .act = ACT_GELU_TANH}},
    {"tanh out, no bias", .desc.linear = {5, 6, 7, .act = ACT_TANH}},
    {"gelu_erf in", .desc.linear = {5, 6, 7, .bias = true, .input_act = ACT_GELU_ERF}},
    {"gelu_tanh in", .desc.linear = {5, 6, 7, .bias = true, .input_act = ACT_GELU_TANH}},
    {"tanh in", .desc.linear = {5, 6, 7, .bias = true, .input_act = ACT_TANH}},
    {"gelu, pre not wanted", OPT_NO_PRE, .desc.linear = {9, 8, 10, .bias = true, .act = ACT_GELU_TANH}},
    {"gelu, b rounded", OPT_B_ROUNDED, .desc.linear = {9, 8, 16, .bias = true, .act = ACT_GELU_TANH}},
    {"odd, b rounded", OPT_B_ROUNDED, .desc.linear = {7, 5, 9, .bias = true}},
    {"logits, b rounded", OPT_LOGITS | OPT_B_ROUNDED, .desc.linear = {4, 9, 11, .bias = true}},
    {"db not wanted", OPT_NO_DB, .desc.linear = {9, 8, 10, .bias = true}},
    {"sums not wanted", OPT_NO_DB | OPT_NO_SUM, .desc.linear = {9, 8, 10, .bias = true, .input_act = ACT_GELU_TANH}},
    {"dx accumulates", OPT_ADD_DX, .desc.linear = {7, 5, 9, .bias = true}},
    {"dx accumulates, no sums", OPT_ADD_DX | OPT_NO_SUM, .desc.linear = {10, 16, 24}},
    {"strided dx accumulates", OPT_ADD_DX, .desc.linear = {6, 5, 4, .x_stride = 11}},
    {"logits fp32", OPT_LOGITS, .desc.linear = {4, 9, 11, .bias = true}},
    {"qkv 3x65 tokens", .desc.linear = {195, 96, 288, .bias = true}},
    {"fc1 197 tokens", .desc.linear = {197, 192, 768, .bias = true, .act = ACT_GELU_ERF}},
    {"fc2 197 tokens", .desc.linear = {197, 768, 192, .bias = true, .input_act = ACT_GELU_ERF}},
    {"fc1 tanh, odd rows", .desc.linear = {131, 160, 224, .bias = true, .act = ACT_GELU_TANH}},
    {"fc2 tanh, odd rows", .desc.linear = {131, 224, 160, .bias = true, .input_act = ACT_GELU_TANH}},
    {"cls rows to logits", OPT_LOGITS, .desc.linear = {13, 192, 1000, .bias = true, .x_stride = 65 * 192}},
    {"cls rows, dx accumulates", OPT_ADD_DX, .desc.linear = {13, 192, 192, .bias = true, .x_stride = 65 * 192}},
    {"cls rows, odd stride", OPT_ADD_DX, .desc.linear = {67, 64, 24, .bias = true, .x_stride = 5 * 64 + 3}},
    {"logits, dx accumulates", OPT_LOGITS | OPT_ADD_DX, .desc.linear = {13, 192, 50, .bias = true}},
    {"fc2 of strided rows", .desc.linear = {70, 64, 24, .bias = true, .input_act = ACT_GELU_ERF, .x_stride = 72}},
    {"sums, none in passing", .desc.linear = {9, 7, 5, .bias = true, .dx_sum = true}},
    {"sums in passing, one", .desc.linear = {1, 1, 1, .bias = true, .input_act = ACT_GELU_TANH, .dx_sum = true}},
    {"sums in passing, odd", .desc.linear = {131, 37, 5, .bias = true, .input_act = ACT_GELU_ERF, .dx_sum = true}},
    {"sums in passing, tanh", .desc.linear = {70, 72, 16, .bias = true, .input_act = ACT_TANH, .dx_sum = true}},
    {"sums in passing, wide", .desc.linear = {197, 528, 24, .bias = true, .input_act = ACT_GELU_TANH, .dx_sum = true}},
    {"sums in passing, erf", .desc.linear = {197, 768, 192, .bias = true, .input_act = ACT_GELU_ERF, .dx_sum = true}},
    {"sums in passing, strided", .desc.linear = {70, 64, 24, .input_act = ACT_GELU_TANH, .x_stride = 72, .dx_sum = true}},
    {"sums in passing, bad stride", .desc.linear = {70, 64, 24, .input_act = ACT_GELU_ERF, .x_stride = 67, .dx_sum = true}},
    {"sums in passing, logits", OPT_LOGITS, .desc.linear = {13, 64, 24, .input_act = ACT_GELU_TANH, .dx_sum = true}},
    {"sums planned, not wanted", OPT_NO_SUM, .desc.linear = {9, 16, 8, .input_act = ACT_GELU_TANH, .dx_sum = true}},
    {"patch projection", .desc.linear = {98, 768, 192, .bias = true}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.linear.dtype = dtype;
    c->desc.linear.dtype_out = dtype;
    if (c->options & OPT_LOGITS && dtype != DTYPE_F64)
        c->desc.linear.dtype_out = DTYPE_F32;
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct linear_desc *d = &c->desc.linear;
    int64_t stride = d->x_stride ? d->x_stride : d->in, x_count = (d->rows - 1) * stride + d->in;
    bool pre = d->act != ACT_NONE, pre_saved = pre && !(c->options & OPT_NO_PRE);
    int graded = pre == pre_saved; /* without `pre` there is no output that dy belongs to */
    s[X] = (struct tensor_spec){"x", d->dtype, x_count, FWD_IN | BWD_IN};
    s[W] = (struct tensor_spec){"w", d->dtype, d->out * d->in, FWD_IN | BWD_IN};
    s[BIAS] = (struct tensor_spec){"b", DTYPE_F32, d->out, FWD_IN};
    s[B_ROUNDED] = (struct tensor_spec){"b_rounded", d->dtype, d->out, c->options & OPT_B_ROUNDED ? FWD_IN : 0};
    s[Y] = (struct tensor_spec){"y", d->dtype_out, d->rows * d->out, FWD_OUT};
    s[PRE] = (struct tensor_spec){"pre", d->dtype, d->rows * d->out, pre_saved ? FWD_OUT : 0};
    s[INPUT_PRE] = (struct tensor_spec){"input_pre", d->dtype, d->rows * d->in, d->input_act ? FWD_IN | BWD_IN : 0};
    s[DY] =
        (struct tensor_spec){"dy", d->dtype_out, d->rows * d->out, BWD_IN, .dout_of = graded * (1 + (pre ? PRE : Y))};
    /* Where no epilogue does it, the slope multiplies a product that was rounded to T. */
    s[DX] = (struct tensor_spec){"dx", d->dtype, x_count, BWD_OUT | (c->options & OPT_ADD_DX ? ACCUMULATES : 0),
                                 .limit = d->input_act ? LIMIT_FUSED : LIMIT_DTYPE,
                                 .grad_of = graded * (1 + (d->input_act ? INPUT_PRE : X))};
    bool sum = !(c->options & OPT_NO_SUM);
    s[DX_SUM] = (struct tensor_spec){"dx_sum",
                                     DTYPE_F32,
                                     d->in,
                                     sum ? BWD_OUT | ACCUMULATES : 0,
                                     .limit = LIMIT_ROUNDED,
                                     .column_sum_of = sum && stride == d->in ? 1 + DX : 0};
    s[DW] = (struct tensor_spec){"dw", DTYPE_F32, d->out * d->in, BWD_OUT | ACCUMULATES, .grad_of = graded * (1 + W)};
    bool db = !(c->options & OPT_NO_DB);
    s[DB] = (struct tensor_spec){"db",
                                 DTYPE_F32,
                                 d->out,
                                 db ? BWD_OUT | ACCUMULATES : 0,
                                 .grad_of = db && d->bias ? graded * (1 + BIAS) : 0,
                                 .column_sum_of = db ? 1 + DY : 0};
    return COUNT;
}

static double act(enum activation kind, double x)
{
    if (kind == ACT_GELU_ERF)
        return x * (1 + erf(x / sqrt(2))) / 2;
    if (kind == ACT_GELU_TANH)
        return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    return tanh(x);
}

/* With an input activation, x is what it made of input_pre; b_rounded is b. */
static void derive(const struct op_case *c, void *const *t)
{
    const struct linear_desc *d = &c->desc.linear;
    struct tensor_spec s[MAX_TENSORS];
    specs(c, s);
    for (int64_t i = 0; d->input_act && i < d->rows * d->in; i++)
        tensor_set(&s[X], t[X], i, act(d->input_act, tensor_get(&s[INPUT_PRE], t[INPUT_PRE], i)));
    for (int64_t i = 0; c->options & OPT_B_ROUNDED && i < d->out; i++)
        tensor_set(&s[B_ROUNDED], t[B_ROUNDED], i, tensor_get(&s[BIAS], t[BIAS], i));
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, linear_plan)
    ENTRY_MISSING(be, nn, linear_forward)
    ENTRY_MISSING(be, nn, linear_backward_input)
    ENTRY_MISSING(be, nn, linear_backward_weight)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.linear_plan(be, &c->desc.linear, out);
}

static void forward(const struct op_run *r)
{
    const struct linear_desc *d = &r->c->desc.linear;
    bool pre = d->act != ACT_NONE && !(r->c->options & OPT_NO_PRE);
    const struct linear_forward_args args = {.x = r->t[X],
                                             .w = r->t[W],
                                             .b = d->bias ? r->t[BIAS] : NULL,
                                             .b_rounded = r->c->options & OPT_B_ROUNDED ? r->t[B_ROUNDED] : NULL,
                                             .y = r->t[Y],
                                             .pre = pre ? r->t[PRE] : NULL};
    r->be->nn.linear_forward(r->plan, &args);
}

static void backward(const struct op_run *r)
{
    const struct linear_desc *d = &r->c->desc.linear;
    const struct linear_input_args input = {.dy = r->t[DY],
                                            .w = r->t[W],
                                            .input_pre = d->input_act ? r->t[INPUT_PRE] : NULL,
                                            .dx = r->t[DX],
                                            .accumulate = r->c->options & OPT_ADD_DX && r->accumulate,
                                            .dx_sum = r->c->options & OPT_NO_SUM ? NULL : r->t[DX_SUM],
                                            .accumulate_sum = r->accumulate};
    r->be->nn.linear_backward_input(r->plan, &input);
    r->be->nn.linear_backward_weight(r->plan, r->t[X], r->t[DY], r->t[DW], r->c->options & OPT_NO_DB ? NULL : r->t[DB],
                                     r->accumulate);
}

const struct op_family linear_family = {
    .name = "linear",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .derive = derive,
    .forward = forward,
    .backward = backward,
};
