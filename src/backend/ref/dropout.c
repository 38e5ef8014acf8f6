#include "backend/ref/ref.h"

struct dropout_plan {
    struct op_plan plan;
    struct dropout_desc desc;
};

static vt_status dropout_plan(struct backend *be, const struct dropout_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->row_elements > 0 && ref_rate_ok(desc->rate, desc->row_elements));
    VT_TRY(ref_check_dtype("dropout", desc->dtype));
    struct dropout_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

static void dropout_forward(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    const struct dropout_desc *d = &((struct dropout_plan *)plan)->desc;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t e = 0; e < d->row_elements; e++) {
            double keep = ref_keep(d->rate, d->purpose, random, b, e);
            int64_t at = b * d->row_elements + e;
            ref_store(d->dtype, y, at, keep == 0 ? 0 : keep * ref_load(d->dtype, x, at));
        }
    ref_leave(plan->backend);
}

void ref_dropout_install(struct nn_ops *nn)
{
    nn->dropout_plan = dropout_plan;
    nn->dropout_forward = dropout_forward;
}
