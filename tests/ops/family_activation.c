#include "op_case.h"

enum { X, Y, COUNT };

static const struct op_case CASES[] = {
    {"gelu_erf", .desc.activation = {5, 7, .act = ACT_GELU_ERF}},
    {"gelu_tanh", .desc.activation = {5, 7, .act = ACT_GELU_TANH}},
    {"tanh", .desc.activation = {3, 9, .act = ACT_TANH}},
    {"gelu_erf 197x768", .desc.activation = {197, 768, .act = ACT_GELU_ERF}},
    {"gelu_tanh 131x225 in place", OPT_ALIAS, .desc.activation = {131, 225, .act = ACT_GELU_TANH}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.activation.dtype = dtype;
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct activation_desc *d = &c->desc.activation;
    bool alias = c->options & OPT_ALIAS;
    s[X] = (struct tensor_spec){"x", d->dtype, d->rows * d->columns, FWD_IN | (alias ? FWD_OUT : 0)};
    s[Y] = (struct tensor_spec){"y", d->dtype, d->rows * d->columns, alias ? 0 : FWD_OUT};
    return COUNT;
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, activation_plan)
    ENTRY_MISSING(be, nn, activation_forward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.activation_plan(be, &c->desc.activation, out);
}

static void forward(const struct op_run *r)
{
    r->be->nn.activation_forward(r->plan, r->t[X], r->t[r->c->options & OPT_ALIAS ? X : Y]);
}

/* Its slope is linear's (input_act), which is where it is checked. */
const struct op_family activation_family = {
    .name = "activation",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .forward = forward,
};
