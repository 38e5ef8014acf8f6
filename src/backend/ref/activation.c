#include "backend/ref/activation.h"
#include "backend/ref/ref.h"

struct activation_plan {
    struct op_plan plan;
    struct activation_desc desc;
};

static vt_status activation_plan(struct backend *be, const struct activation_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->rows > 0 && desc->columns > 0 && desc->act != ACT_NONE);
    VT_TRY(ref_check_dtype("activation", desc->dtype));
    struct activation_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

static void activation_forward(struct op_plan *plan, const void *x, void *y)
{
    const struct activation_desc *d = &((struct activation_plan *)plan)->desc;
    ref_enter(plan->backend);
    for (int64_t i = 0; i < d->rows * d->columns; i++)
        ref_store(d->dtype, y, i, activation_value(d->act, ref_load(d->dtype, x, i)));
    ref_leave(plan->backend);
}

void ref_activation_install(struct nn_ops *nn)
{
    nn->activation_plan = activation_plan;
    nn->activation_forward = activation_forward;
}
