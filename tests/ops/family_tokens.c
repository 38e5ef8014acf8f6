/* pool and dropout. */
#include "op_case.h"

/* ---- pool */
enum { POOL_X, POOL_Y, POOL_DY, POOL_DX, POOL_COUNT };

static const struct op_case POOL_CASES[] = {
    {"cls", .desc.pool = {3, 5, 7, 1, POOL_CLS}},
    {"mean", .desc.pool = {3, 5, 7, 0, POOL_MEAN}},
    {"mean behind a class token", .desc.pool = {3, 5, 7, 1, POOL_MEAN}},
    {"one token", .desc.pool = {2, 1, 3, 1, POOL_CLS}},
    {"cls 4x65x192", .desc.pool = {4, 65, 192, 1, POOL_CLS}},
    {"mean 4x196x384", .desc.pool = {4, 196, 384, 0, POOL_MEAN}},
    {"mean behind cls 2x50x100", .desc.pool = {2, 50, 100, 1, POOL_MEAN}},
};

static void pool_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.pool.dtype = dtype;
}

static int pool_specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct pool_desc *d = &c->desc.pool;
    int64_t all = d->batch * d->tokens * d->width, pooled = d->batch * d->width;
    s[POOL_X] = (struct tensor_spec){"x", d->dtype, all, FWD_IN};
    s[POOL_Y] = (struct tensor_spec){"y", d->dtype, pooled, FWD_OUT};
    s[POOL_DY] = (struct tensor_spec){"dy", d->dtype, pooled, BWD_IN, .dout_of = 1 + POOL_Y};
    s[POOL_DX] = (struct tensor_spec){"dx", d->dtype, all, BWD_OUT, .grad_of = 1 + POOL_X};
    return POOL_COUNT;
}

static const char *pool_missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, pool_plan)
    ENTRY_MISSING(be, nn, pool_forward)
    ENTRY_MISSING(be, nn, pool_backward)
    return NULL;
}

static vt_status pool_plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.pool_plan(be, &c->desc.pool, out);
}

static void pool_forward(const struct op_run *r)
{
    r->be->nn.pool_forward(r->plan, r->t[POOL_X], r->t[POOL_Y]);
}

static void pool_backward(const struct op_run *r)
{
    r->be->nn.pool_backward(r->plan, r->t[POOL_DY], r->t[POOL_DX]);
}

const struct op_family pool_family = {
    .name = "pool",
    .cases = POOL_CASES,
    .case_count = sizeof POOL_CASES / sizeof *POOL_CASES,
    .set_dtype = pool_dtype,
    .specs = pool_specs,
    .missing = pool_missing,
    .plan = pool_plan,
    .forward = pool_forward,
    .backward = pool_backward,
};

/* ---- dropout: the same op runs backward on the gradient */
enum { DROP_X, DROP_POSITION, DROP_Y, DROP_DY, DROP_DX, DROP_COUNT };

static const struct op_case DROPOUT_CASES[] = {
    {"rate 0", .desc.dropout = {2, 5, .rate = 0}},
    {"rate 0.5", .desc.dropout = {3, 7, .rate = 0.5f, .purpose = 20}},
    {"rate 0.1, in place", OPT_ALIAS, .desc.dropout = {3, 7, .rate = 0.1f, .purpose = 20}},
    {"3x65x100", .desc.dropout = {3, 6500, .rate = 0.1f, .purpose = 275}},
    {"3x12345 in place", OPT_ALIAS, .desc.dropout = {3, 12345, .rate = 0.9f, .purpose = 275}},
};

static void dropout_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.dropout.dtype = dtype;
}

static int dropout_specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct dropout_desc *d = &c->desc.dropout;
    int64_t all = d->batch * d->row_elements;
    bool alias = c->options & OPT_ALIAS;
    s[DROP_X] = (struct tensor_spec){"x", d->dtype, all, FWD_IN | (alias ? FWD_OUT : 0)};
    s[DROP_POSITION] = (struct tensor_spec){"position", DTYPE_I64, d->batch, FWD_IN | BWD_IN, FILL_POSITION};
    s[DROP_Y] = (struct tensor_spec){"y", d->dtype, all, alias ? 0 : FWD_OUT};
    s[DROP_DY] = (struct tensor_spec){"dy", d->dtype, all, BWD_IN, .dout_of = 1 + (alias ? DROP_X : DROP_Y)};
    s[DROP_DX] = (struct tensor_spec){"dx", d->dtype, all, BWD_OUT, .grad_of = 1 + DROP_X};
    return DROP_COUNT;
}

static const char *dropout_missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, dropout_plan)
    ENTRY_MISSING(be, nn, dropout_forward)
    return NULL;
}

static vt_status dropout_plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.dropout_plan(be, &c->desc.dropout, out);
}

static void dropout_forward(const struct op_run *r)
{
    struct op_random random = {80, r->t[DROP_POSITION]};
    void *y = r->c->options & OPT_ALIAS ? r->t[DROP_X] : r->t[DROP_Y];
    r->be->nn.dropout_forward(r->plan, r->t[DROP_X], y, &random);
}

static void dropout_backward(const struct op_run *r)
{
    struct op_random random = {80, r->t[DROP_POSITION]};
    r->be->nn.dropout_forward(r->plan, r->t[DROP_DY], r->t[DROP_DX], &random);
}

const struct op_family dropout_family = {
    .name = "dropout",
    .cases = DROPOUT_CASES,
    .case_count = sizeof DROPOUT_CASES / sizeof *DROPOUT_CASES,
    .set_dtype = dropout_dtype,
    .specs = dropout_specs,
    .missing = dropout_missing,
    .plan = dropout_plan,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
