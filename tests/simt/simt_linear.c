/* linear on the SIMT backend: the products, which cuBLASLt does on a GPU, are ref's, in fp32 or bf16 as there;
 * activations and bias gradients are the kernels that linear.c uses where no epilogue fuses them. */
#include "simt_linear.h"

#include <stdlib.h>

#include "backend/cuda/kernels.h"
#include "base/check.h"

struct linear_plan {
    struct op_plan plan;
    struct linear_desc desc;
    struct op_plan *product; /* of ref */
    struct backend *ref;
};

static void destroy_plan(struct op_plan *plan)
{
    op_plan_close(&((struct linear_plan *)plan)->product);
    free(plan);
}

static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    struct linear_plan *made;
    const int64_t widest = desc->in > desc->out ? desc->in : desc->out;
    VT_TRY(cuda_plan_new(be, "ref products", sizeof *made, cuda_column_sums_bytes(be, desc->rows, widest), (void **)&made));
    made->plan.destroy = destroy_plan;
    made->desc = *desc;
    if (made->desc.x_stride == 0)
        made->desc.x_stride = desc->in;
    made->ref = simt_ref(be);
    struct linear_desc product = *desc;
    product.act = product.input_act = ACT_NONE;
    made->plan.own_sums = desc->dx_sum && desc->input_act != ACT_NONE;
    vt_status status = made->ref->nn.linear_plan(made->ref, &product, &made->product);
    if (status != VT_OK) {
        destroy_plan(&made->plan);
        return status;
    }
    *plan = &made->plan;
    return VT_OK;
}

static void linear_forward(struct op_plan *plan, const struct linear_forward_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    void *y = args->y, *pre = args->pre;
    bool saved = d->act != ACT_NONE && pre && d->dtype == d->dtype_out;
    struct linear_forward_args product = *args;
    product.y = saved ? pre : y;
    product.pre = NULL;
    p->ref->nn.linear_forward(p->product, &product);
    if (d->act != ACT_NONE)
        cuda_activation_forward(plan->backend, d->act, saved ? pre : y, d->dtype_out, y, d->dtype_out, d->rows, d->out);
}

static void linear_backward_input(struct op_plan *plan, const struct linear_input_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    struct linear_input_args product = *args;
    product.dx_sum = NULL;
    VT_CHECK(d->input_act == ACT_NONE || (args->input_pre && !args->accumulate));
    p->ref->nn.linear_backward_input(p->product, &product);
    if (args->dx_sum && plan->own_sums) {
        cuda_activation_backward_sums(plan->backend, d->input_act, args->input_pre, args->dx, d->dtype, d->rows, d->in, d->x_stride,
                                      args->dx_sum, args->accumulate_sum, cuda_workspace(plan));
        return;
    }
    if (d->input_act != ACT_NONE)
        cuda_activation_backward(plan->backend, d->input_act, args->input_pre, args->dx, d->dtype, d->rows, d->in, d->x_stride);
    if (args->dx_sum)
        cuda_column_sums(plan->backend, args->dx, d->dtype, d->rows, d->in, d->x_stride, args->dx_sum, args->accumulate_sum,
                         cuda_workspace(plan));
}

static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                   bool accumulate)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    p->ref->nn.linear_backward_weight(p->product, x, dy, dw, NULL, accumulate);
    if (db)
        cuda_column_sums(plan->backend, dy, d->dtype_out, d->rows, d->out, d->out, db, accumulate, cuda_workspace(plan));
}

void simt_linear_install(struct backend *be)
{
    be->nn.linear_plan = linear_plan;
    be->nn.linear_forward = linear_forward;
    be->nn.linear_backward_input = linear_backward_input;
    be->nn.linear_backward_weight = linear_backward_weight;
}
