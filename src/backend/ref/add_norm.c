#include <math.h>
#include <string.h>

#include "backend/ref/ref.h"

struct add_norm_plan {
    struct op_plan plan;
    struct add_norm_desc desc;
};

/* The backward's sums over rows, [D] each, and its current row. */
struct add_norm_sums {
    double *dweight, *dbias, *dls, *ddelta;
    double *total; /* gradient of x_out in this row */
};

static vt_status add_norm_plan(struct backend *be, const struct add_norm_desc *desc, struct op_plan **plan)
{
    VT_CHECK(add_norm_desc_ok(desc));
    VT_CHECK(ref_rate_ok(desc->dropout, desc->tokens * desc->width) && ref_rate_ok(desc->drop_path, 1));
    VT_TRY(ref_check_dtype("add_norm", desc->dtype));
    VT_TRY(ref_check_dtype("add_norm stream", desc->dtype_stream));
    struct add_norm_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 5 * desc->width, (void **)&made));
    made->desc = *desc;
    if (desc->x_stride == 0)
        made->desc.x_stride = desc->width;
    *plan = &made->plan;
    return VT_OK;
}

/* s[b] dropout factor of (token t, column c) of image b: what multiplies ls * delta. */
static double delta_factor(const struct add_norm_desc *d, const struct op_random *random, int64_t b, int64_t t,
                           int64_t c)
{
    double s = ref_keep(d->drop_path, d->drop_path_purpose, random, b, 0);
    return s == 0 ? 0 : s * ref_keep(d->dropout, d->dropout_purpose, random, b, t * d->width + c);
}

static void add_row(const struct add_norm_desc *d, const struct add_norm_forward_args *a,
                    const struct op_random *random, int64_t b, int64_t t)
{
    int64_t m = b * d->tokens + t, row = m * d->width;
    for (int64_t c = 0; c < d->width; c++) {
        double factor = delta_factor(d, random, b, t, c) * (d->layer_scale ? (double)a->ls[c] : 1);
        double branch = factor == 0 ? 0 : factor * ref_load(d->dtype, a->delta, row + c);
        double x = ref_load(d->dtype_stream, a->x, m * d->x_stride + c);
        ref_store(d->dtype_stream, a->x_out, row + c, x + branch);
    }
}

/* LayerNorm of the row as stored: y is a function of the rounded x_out, and so is its backward. */
static void norm_row(const struct add_norm_desc *d, const struct add_norm_forward_args *a, const void *x_out, int64_t m)
{
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < d->width; c++)
        sum += ref_load(d->dtype_stream, x_out, m * d->width + c);
    double mean = sum / (double)d->width;
    for (int64_t c = 0; c < d->width; c++) {
        double centred = ref_load(d->dtype_stream, x_out, m * d->width + c) - mean;
        squares += centred * centred;
    }
    double rstd = 1 / sqrt(squares / (double)d->width + (double)d->eps);
    for (int64_t c = 0; c < d->width; c++) {
        double normal = (ref_load(d->dtype_stream, x_out, m * d->width + c) - mean) * rstd;
        ref_store(d->dtype, a->y, m * d->width + c, normal * (double)a->weight[c] + (double)a->bias[c]);
    }
    a->stats[2 * m] = (float)mean;
    a->stats[2 * m + 1] = (float)rstd;
}

static void add_norm_forward(struct op_plan *plan, const struct add_norm_forward_args *args,
                             const struct op_random *random)
{
    const struct add_norm_desc *d = &((struct add_norm_plan *)plan)->desc;
    VT_CHECK(add_norm_forward_ok(d, args));
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t t = 0; t < d->tokens; t++) {
            if (d->has_delta)
                add_row(d, args, random, b, t);
            norm_row(d, args, d->has_delta ? args->x_out : args->x, b * d->tokens + t);
        }
    ref_leave(plan->backend);
}

/* The gradient of x_out from its later users. */
static double later_at(const struct add_norm_desc *d, const struct add_norm_backward_args *a, int64_t m, int64_t c)
{
    if (!a->dx_in || (d->dx_in_first && m % d->tokens != 0))
        return 0;
    int64_t row = d->dx_in_first ? m / d->tokens : m;
    return ref_load(d->dtype_stream, a->dx_in, row * d->width + c);
}

/* total = dx_in + rstd (g - mean(g) - n mean(g n)), with g = weight dy and n the normalised row. */
static void norm_backward_row(const struct add_norm_desc *d, const struct add_norm_backward_args *a,
                              const struct add_norm_sums *sums, int64_t m)
{
    double mean = (double)a->stats[2 * m], rstd = (double)a->stats[2 * m + 1];
    double g_sum = 0, gn_sum = 0;
    for (int64_t c = 0; c < d->width; c++) {
        double dy = ref_load(d->dtype, a->dy, m * d->width + c);
        double n = (ref_load(d->dtype_stream, a->x_out, m * d->width + c) - mean) * rstd;
        sums->dweight[c] += dy * n;
        sums->dbias[c] += dy;
        g_sum += dy * (double)a->weight[c];
        gn_sum += dy * (double)a->weight[c] * n;
    }
    for (int64_t c = 0; c < d->width; c++) {
        double g = ref_load(d->dtype, a->dy, m * d->width + c) * (double)a->weight[c];
        double n = (ref_load(d->dtype_stream, a->x_out, m * d->width + c) - mean) * rstd;
        sums->total[c] = later_at(d, a, m, c) + rstd * (g - (g_sum + n * gn_sum) / (double)d->width);
    }
    for (int64_t c = 0; c < d->width; c++)
        ref_store(d->dtype_stream, a->dx, m * d->width + c, sums->total[c]);
}

static void delta_backward_row(const struct add_norm_desc *d, const struct add_norm_backward_args *a,
                               const struct add_norm_sums *sums, const struct op_random *random, int64_t b, int64_t t)
{
    int64_t row = (b * d->tokens + t) * d->width;
    for (int64_t c = 0; c < d->width; c++) {
        double branch = sums->total[c] * delta_factor(d, random, b, t, c);
        double ddelta = branch * (d->layer_scale ? (double)a->ls[c] : 1);
        if (d->layer_scale && branch != 0)
            sums->dls[c] += branch * ref_load(d->dtype, a->delta, row + c);
        sums->ddelta[c] += ddelta;
        ref_store(d->dtype, a->ddelta, row + c, ddelta);
    }
}

static void add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args,
                              const struct op_random *random)
{
    const struct add_norm_desc *d = &((struct add_norm_plan *)plan)->desc;
    double *w = ref_workspace(plan);
    VT_CHECK(add_norm_backward_ok(d, args));
    struct add_norm_sums sums = {w, w + d->width, w + 2 * d->width, w + 3 * d->width, w + 4 * d->width};
    memset(w, 0, (size_t)(4 * d->width) * sizeof *w);
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t t = 0; t < d->tokens; t++) {
            norm_backward_row(d, args, &sums, b * d->tokens + t);
            if (d->has_delta)
                delta_backward_row(d, args, &sums, random, b, t);
        }
    for (int64_t c = 0; c < d->width; c++) {
        ref_accumulate(&args->dweight[c], sums.dweight[c], args->accumulate);
        ref_accumulate(&args->dbias[c], sums.dbias[c], args->accumulate);
        if (d->layer_scale)
            ref_accumulate(&args->dls[c], sums.dls[c], args->accumulate);
        if (d->has_delta && args->ddelta_sum)
            ref_accumulate(&args->ddelta_sum[c], sums.ddelta[c], args->accumulate);
    }
    ref_leave(plan->backend);
}

void ref_add_norm_install(struct nn_ops *nn)
{
    nn->add_norm_plan = add_norm_plan;
    nn->add_norm_forward = add_norm_forward;
    nn->add_norm_backward = add_norm_backward;
}
