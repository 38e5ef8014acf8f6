#include "backend/ref/ref.h"

struct pool_plan {
    struct op_plan plan;
    struct pool_desc desc;
};

static vt_status pool_plan(struct backend *be, const struct pool_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->tokens > 0 && desc->width > 0);
    VT_CHECK(desc->prefix >= 0 && desc->prefix <= 1);
    VT_CHECKF(desc->kind != POOL_CLS || desc->prefix == 1, "pooling by a class token that is not there");
    VT_CHECKF(desc->kind != POOL_MEAN || desc->prefix < desc->tokens, "mean over no tokens");
    VT_TRY(ref_check_dtype("pool", desc->dtype));
    struct pool_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

/* y = sum over tokens of weight * x. */
static double token_weight(const struct pool_desc *d, int64_t t)
{
    if (d->kind == POOL_CLS)
        return t == 0 ? 1 : 0;
    return t < d->prefix ? 0 : 1 / (double)(d->tokens - d->prefix);
}

static void pool_forward(struct op_plan *plan, const void *x, void *y)
{
    const struct pool_desc *d = &((struct pool_plan *)plan)->desc;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t c = 0; c < d->width; c++) {
            double sum = 0;
            for (int64_t t = 0; t < d->tokens; t++)
                if (token_weight(d, t) != 0)
                    sum += token_weight(d, t) * ref_load(d->dtype, x, (b * d->tokens + t) * d->width + c);
            ref_store(d->dtype, y, b * d->width + c, sum);
        }
    ref_leave(plan->backend);
}

static void pool_backward(struct op_plan *plan, const void *dy, void *dx)
{
    const struct pool_desc *d = &((struct pool_plan *)plan)->desc;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t t = 0; t < d->tokens; t++)
            for (int64_t c = 0; c < d->width; c++) {
                double g = token_weight(d, t) * ref_load(d->dtype, dy, b * d->width + c);
                ref_store(d->dtype, dx, (b * d->tokens + t) * d->width + c, g);
            }
    ref_leave(plan->backend);
}

void ref_pool_install(struct nn_ops *nn)
{
    nn->pool_plan = pool_plan;
    nn->pool_forward = pool_forward;
    nn->pool_backward = pool_backward;
}
