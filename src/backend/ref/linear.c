#include "backend/ref/activation.h"
#include "backend/ref/ref.h"

struct linear_plan {
    struct op_plan plan;
    struct linear_desc desc;
};

static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->rows > 0 && desc->in > 0 && desc->out > 0);
    VT_CHECK(desc->x_stride == 0 || desc->x_stride >= desc->in);
    VT_CHECK(desc->dtype_out == desc->dtype || desc->dtype_out == DTYPE_F32);
    VT_TRY(ref_check_dtype("linear", desc->dtype));
    struct linear_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 2 * desc->in, (void **)&made));
    made->desc = *desc;
    if (made->desc.x_stride == 0)
        made->desc.x_stride = desc->in;
    made->plan.own_sums = desc->dx_sum;
    made->plan.flops = 2.0 * (double)desc->rows * (double)desc->in * (double)desc->out;
    *plan = &made->plan;
    return VT_OK;
}

static void linear_forward(struct op_plan *plan, const struct linear_forward_args *args)
{
    const struct linear_desc *d = &((struct linear_plan *)plan)->desc;
    double *x_row = ref_workspace(plan);
    VT_CHECK(!d->forward_only || !args->pre);
    ref_enter(plan->backend);
    for (int64_t m = 0; m < d->rows; m++) {
        for (int64_t i = 0; i < d->in; i++)
            x_row[i] = ref_load(d->dtype, args->x, m * d->x_stride + i);
        for (int64_t o = 0; o < d->out; o++) {
            double sum = d->bias ? (double)args->b[o] : 0;
            for (int64_t i = 0; i < d->in; i++)
                sum += x_row[i] * ref_load(d->dtype, args->w, o * d->in + i);
            if (d->act != ACT_NONE)
                sum = ref_rounded(d->dtype, sum);
            if (d->act != ACT_NONE && args->pre)
                ref_store(d->dtype, args->pre, m * d->out + o, sum);
            ref_store(d->dtype_out, args->y, m * d->out + o, activation_value(d->act, sum));
        }
    }
    ref_leave(plan->backend);
}

/* One row of dx; each value is added to `sums`, unless that is NULL. */
static void store_input_row(const struct linear_desc *d, const struct linear_input_args *args, int64_t m, const double *product,
                            double *sums)
{
    for (int64_t i = 0; i < d->in; i++) {
        const int64_t at = m * d->x_stride + i;
        double value = product[i];
        if (d->input_act != ACT_NONE)
            value *= activation_slope(d->input_act, ref_load(d->dtype, args->input_pre, m * d->in + i));
        if (args->accumulate)
            value += ref_load(d->dtype, args->dx, at);
        ref_store(d->dtype, args->dx, at, value);
        if (sums)
            sums[i] += value;
    }
}

static void linear_backward_input(struct op_plan *plan, const struct linear_input_args *args)
{
    const struct linear_desc *d = &((struct linear_plan *)plan)->desc;
    double *row = ref_workspace(plan), *sums = args->dx_sum ? row + d->in : NULL;
    VT_CHECK(!d->forward_only && (d->input_act == ACT_NONE || (args->input_pre && !args->accumulate)));
    ref_enter(plan->backend);
    for (int64_t i = 0; sums && i < d->in; i++)
        sums[i] = 0;
    for (int64_t m = 0; m < d->rows; m++) {
        for (int64_t i = 0; i < d->in; i++)
            row[i] = 0;
        for (int64_t o = 0; o < d->out; o++) {
            double g = ref_load(d->dtype_out, args->dy, m * d->out + o);
            for (int64_t i = 0; i < d->in; i++)
                row[i] += g * ref_load(d->dtype, args->w, o * d->in + i);
        }
        store_input_row(d, args, m, row, sums);
    }
    for (int64_t i = 0; sums && i < d->in; i++)
        ref_accumulate(&args->dx_sum[i], sums[i], args->accumulate_sum);
    ref_leave(plan->backend);
}

static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                   bool accumulate)
{
    const struct linear_desc *d = &((struct linear_plan *)plan)->desc;
    double *dw_row = ref_workspace(plan);
    VT_CHECK(!d->forward_only);
    ref_enter(plan->backend);
    for (int64_t o = 0; o < d->out; o++) {
        double db_sum = 0;
        for (int64_t i = 0; i < d->in; i++)
            dw_row[i] = 0;
        for (int64_t m = 0; m < d->rows; m++) {
            double g = ref_load(d->dtype_out, dy, m * d->out + o);
            db_sum += g;
            for (int64_t i = 0; i < d->in; i++)
                dw_row[i] += g * ref_load(d->dtype, x, m * d->x_stride + i);
        }
        for (int64_t i = 0; i < d->in; i++)
            ref_accumulate(&dw[o * d->in + i], dw_row[i], accumulate);
        if (db)
            ref_accumulate(&db[o], db_sum, accumulate);
    }
    ref_leave(plan->backend);
}

void ref_linear_install(struct nn_ops *nn)
{
    nn->linear_plan = linear_plan;
    nn->linear_forward = linear_forward;
    nn->linear_backward_input = linear_backward_input;
    nn->linear_backward_weight = linear_backward_weight;
}
