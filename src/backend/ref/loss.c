#include <math.h>

#include "backend/ref/ref.h"

struct loss_plan {
    struct op_plan plan;
    struct loss_desc desc;
};

static vt_status loss_plan(struct backend *be, const struct loss_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->classes > 0 && desc->labels > 0);
    VT_CHECK(desc->smoothing >= 0 && desc->smoothing <= 1);
    VT_TRY(ref_check_dtype("loss", desc->dtype_grad));
    struct loss_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 2 * desc->classes, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

static void row_targets(const struct loss_desc *d, const struct loss_args *a, int64_t b, double *t)
{
    for (int64_t k = 0; k < d->classes; k++)
        t[k] = (double)d->smoothing / (double)d->classes;
    for (int64_t s = 0; s < d->labels; s++) {
        int32_t id = a->label_id[b * d->labels + s];
        VT_CHECKF(id < d->classes, "label %d of %lld classes", id, (long long)d->classes);
        if (id >= 0)
            t[id] += (1 - (double)d->smoothing) * (double)a->label_weight[b * d->labels + s];
    }
}

/* Loss of one row and its gradient in dz. With target sum T: L = T lse - sum t z, dz = T softmax - t. */
static double softmax_row(const float *z, const double *t, int64_t classes, double *dz)
{
    double largest = (double)z[0], sum = 0, target_sum = 0, target_dot = 0;
    for (int64_t k = 1; k < classes; k++)
        largest = fmax(largest, (double)z[k]);
    for (int64_t k = 0; k < classes; k++) {
        sum += dz[k] = exp((double)z[k] - largest);
        target_sum += t[k];
        target_dot += t[k] == 0 ? 0 : t[k] * ((double)z[k] - largest);
    }
    for (int64_t k = 0; k < classes; k++)
        dz[k] = target_sum * dz[k] / sum - t[k];
    return target_sum * log(sum) - target_dot;
}

/* BCE with logits: max(z, 0) - z t + log(1 + exp(-|z|)); dz = sigmoid(z) - t. */
static double sigmoid_row(const float *logits, const double *t, int64_t classes, double *dz)
{
    double loss = 0;
    for (int64_t k = 0; k < classes; k++) {
        double z = (double)logits[k];
        loss += (z > 0 ? z : 0) - z * t[k] + log1p(exp(-fabs(z)));
        dz[k] = 1 / (1 + exp(-z)) - t[k];
    }
    return loss;
}

/* How many classes come before `id` by logit, ties in class order; a NaN comes last. */
static int64_t rank_of(const float *z, int64_t classes, int64_t id)
{
    if (isnan(z[id]))
        return classes;
    int64_t before = 0;
    for (int64_t k = 0; k < classes; k++)
        before += z[k] > z[id] || (z[k] == z[id] && k < id);
    return before;
}

static void count_correct(const struct loss_desc *d, const struct loss_args *a, int64_t b)
{
    int64_t best = d->classes;
    for (int64_t s = 0; s < d->labels; s++) {
        int32_t id = a->label_id[b * d->labels + s];
        if (id < 0 || !(a->label_weight[b * d->labels + s] > 0))
            continue;
        int64_t rank = rank_of(a->logits + b * d->classes, d->classes, id);
        best = rank < best ? rank : best;
    }
    a->scalars->correct1 += best < 1;
    a->scalars->correct5 += best < 5 && best < d->classes;
}

static void loss_row(const struct loss_desc *d, const struct loss_args *a, int64_t b, double *t, double *dz)
{
    const float *z = a->logits + b * d->classes;
    bool valid = a->row_weight[b] != 0;
    double loss = 0;
    if (valid) {
        row_targets(d, a, b, t);
        loss = d->kind == LOSS_SOFTMAX ? softmax_row(z, t, d->classes, dz) : sigmoid_row(z, t, d->classes, dz);
        a->scalars->loss_sum += loss;
        a->scalars->weight_sum += 1;
        count_correct(d, a, b);
    }
    if (a->row_loss)
        a->row_loss[b] = (float)loss;
    for (int64_t k = 0; a->dlogits && k < d->classes; k++)
        ref_store(d->dtype_grad, a->dlogits, b * d->classes + k, valid ? (double)a->grad_scale * dz[k] : 0);
}

static void loss_forward_backward(struct op_plan *plan, const struct loss_args *args)
{
    const struct loss_desc *d = &((struct loss_plan *)plan)->desc;
    double *t = ref_workspace(plan), *dz = t + d->classes;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        loss_row(d, args, b, t, dz);
    ref_leave(plan->backend);
}

void ref_loss_install(struct nn_ops *nn)
{
    nn->loss_plan = loss_plan;
    nn->loss_forward_backward = loss_forward_backward;
}
