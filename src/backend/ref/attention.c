#include <math.h>
#include <string.h>

#include "backend/ref/ref.h"

struct attention_plan {
    struct op_plan plan;
    struct attention_desc desc;
};

/* The workspace of one (image, head): sums over the other side are kept in double until they are whole. */
struct attention_rows {
    double *p, *dp;  /* [keys] */
    double *acc;     /* [head_dim] */
    double *dk, *dv; /* [keys, head_dim] */
    double *dq_sum, *dv_sum; /* [heads, head_dim]: of all images */
};

static vt_status attention_plan(struct backend *be, const struct attention_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->heads > 0 && desc->queries > 0 && desc->keys > 0 && desc->head_dim > 0);
    VT_CHECK(ref_rate_ok(desc->dropout, desc->heads * desc->queries * desc->keys));
    VT_TRY(ref_check_dtype("attention", desc->dtype));
    struct attention_plan *made;
    int64_t doubles = 2 * desc->keys + (1 + 2 * desc->keys + 2 * desc->heads) * desc->head_dim;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, doubles, (void **)&made));
    made->desc = *desc;
    made->plan.own_sums = desc->sums;
    made->plan.flops =
        4.0 * (double)(desc->batch * desc->heads) * (double)(desc->queries * desc->keys * desc->head_dim);
    *plan = &made->plan;
    return VT_OK;
}

static struct attention_rows rows_of(const struct op_plan *plan, const struct attention_desc *d)
{
    double *w = ref_workspace(plan), *sums = w + 2 * d->keys + (1 + 2 * d->keys) * d->head_dim;
    return (struct attention_rows){
        .p = w,
        .dp = w + d->keys,
        .acc = w + 2 * d->keys,
        .dk = w + 2 * d->keys + d->head_dim,
        .dv = w + 2 * d->keys + d->head_dim + d->keys * d->head_dim,
        .dq_sum = sums,
        .dv_sum = sums + d->heads * d->head_dim,
    };
}

static int64_t at(const struct attention_view *view, int64_t b, int64_t h, int64_t row)
{
    return b * view->batch + h * view->head + row * view->row;
}

static double dot(enum dtype dtype, const void *left, int64_t l, const void *right, int64_t r, int64_t count)
{
    double sum = 0;
    for (int64_t c = 0; c < count; c++)
        sum += ref_load(dtype, left, l + c) * ref_load(dtype, right, r + c);
    return sum;
}

static double keep_at(const struct attention_desc *d, const struct op_random *random, int64_t b, int64_t h, int64_t i,
                      int64_t j)
{
    return ref_keep(d->dropout, d->purpose, random, b, (h * d->queries + i) * d->keys + j);
}

/* p = softmax of one row of scores; returns the log of the sum of their exponentials. */
static double softmax(double *p, int64_t count)
{
    double largest = p[0], sum = 0;
    for (int64_t j = 1; j < count; j++)
        largest = p[j] > largest ? p[j] : largest;
    for (int64_t j = 0; j < count; j++)
        sum += p[j] = exp(p[j] - largest);
    for (int64_t j = 0; j < count; j++)
        p[j] /= sum;
    return largest + log(sum);
}

static void attention_forward(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random)
{
    const struct attention_desc *d = &((struct attention_plan *)plan)->desc;
    struct attention_rows rows = rows_of(plan, d);
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t h = 0; h < d->heads; h++)
            for (int64_t i = 0; i < d->queries; i++) {
                for (int64_t j = 0; j < d->keys; j++)
                    rows.p[j] =
                        (double)d->scale * dot(d->dtype, q, at(&d->q, b, h, i), k, at(&d->k, b, h, j), d->head_dim);
                lse[(b * d->heads + h) * d->queries + i] = (float)softmax(rows.p, d->keys);
                memset(rows.acc, 0, (size_t)d->head_dim * sizeof *rows.acc);
                for (int64_t j = 0; j < d->keys; j++) {
                    double p = rows.p[j] * keep_at(d, random, b, h, i, j);
                    for (int64_t c = 0; c < d->head_dim; c++)
                        rows.acc[c] += p * ref_load(d->dtype, v, at(&d->v, b, h, j) + c);
                }
                for (int64_t c = 0; c < d->head_dim; c++)
                    ref_store(d->dtype, o, at(&d->o, b, h, i) + c, rows.acc[c]);
            }
    ref_leave(plan->backend);
}

/* One query row: dv += keep p d_o; dp = keep (d_o . v); ds = p (dp - sum p dp) scale; dq = ds k; dk += ds q. */
static void backward_query(const struct attention_desc *d, const struct attention_rows *rows, int64_t b, int64_t h,
                           int64_t i, const void *q, const void *k, const void *v, double lse, const void *d_o,
                           void *dq, const struct op_random *random)
{
    int64_t q_at = at(&d->q, b, h, i), o_at = at(&d->o, b, h, i);
    double mean = 0;
    for (int64_t j = 0; j < d->keys; j++) {
        int64_t k_at = at(&d->k, b, h, j), v_at = at(&d->v, b, h, j);
        double p = exp((double)d->scale * dot(d->dtype, q, q_at, k, k_at, d->head_dim) - lse);
        double keep = keep_at(d, random, b, h, i, j);
        for (int64_t c = 0; c < d->head_dim; c++)
            rows->dv[j * d->head_dim + c] += p * keep * ref_load(d->dtype, d_o, o_at + c);
        rows->p[j] = p;
        rows->dp[j] = keep * dot(d->dtype, d_o, o_at, v, v_at, d->head_dim);
        mean += p * rows->dp[j];
    }
    memset(rows->acc, 0, (size_t)d->head_dim * sizeof *rows->acc);
    for (int64_t j = 0; j < d->keys; j++) {
        double ds = rows->p[j] * (rows->dp[j] - mean) * (double)d->scale;
        for (int64_t c = 0; c < d->head_dim; c++) {
            rows->acc[c] += ds * ref_load(d->dtype, k, at(&d->k, b, h, j) + c);
            rows->dk[j * d->head_dim + c] += ds * ref_load(d->dtype, q, q_at + c);
        }
    }
    for (int64_t c = 0; c < d->head_dim; c++) {
        ref_store(d->dtype, dq, q_at + c, rows->acc[c]);
        rows->dq_sum[h * d->head_dim + c] += rows->acc[c];
    }
}

static void store_sums(const struct attention_desc *d, const struct attention_rows *rows, const struct attention_sums *sums)
{
    VT_CHECK(d->sums);
    for (int64_t i = 0; i < d->heads * d->head_dim; i++) {
        ref_accumulate(&sums->dq[i], rows->dq_sum[i], sums->accumulate);
        ref_accumulate(&sums->dk[i], 0, sums->accumulate);
        ref_accumulate(&sums->dv[i], rows->dv_sum[i], sums->accumulate);
    }
}

/* p is rebuilt from lse. `o` is there for backends that use sum p dp = d_o . o; the definition has no need of it. */
static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random)
{
    (void)o;
    const struct attention_desc *d = &((struct attention_plan *)plan)->desc;
    struct attention_rows rows = rows_of(plan, d);
    ref_enter(plan->backend);
    memset(rows.dq_sum, 0, (size_t)(2 * d->heads * d->head_dim) * sizeof *rows.dq_sum); /* and dv_sum */
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t h = 0; h < d->heads; h++) {
            memset(rows.dk, 0, (size_t)(2 * d->keys * d->head_dim) * sizeof *rows.dk); /* dk and dv */
            for (int64_t i = 0; i < d->queries; i++)
                backward_query(d, &rows, b, h, i, q, k, v, (double)lse[(b * d->heads + h) * d->queries + i], d_o, dq,
                               random);
            for (int64_t j = 0; j < d->keys; j++)
                for (int64_t c = 0; c < d->head_dim; c++) {
                    ref_store(d->dtype, dk, at(&d->k, b, h, j) + c, rows.dk[j * d->head_dim + c]);
                    ref_store(d->dtype, dv, at(&d->v, b, h, j) + c, rows.dv[j * d->head_dim + c]);
                    rows.dv_sum[h * d->head_dim + c] += rows.dv[j * d->head_dim + c];
                }
        }
    if (sums)
        store_sums(d, &rows, sums);
    ref_leave(plan->backend);
}

void ref_attention_install(struct nn_ops *nn)
{
    nn->attention_plan = attention_plan;
    nn->attention_forward = attention_forward;
    nn->attention_backward = attention_backward;
}
