#include <string.h>

#include "backend/ref/ref.h"

struct embed_plan {
    struct op_plan plan;
    struct embed_desc desc;
    int64_t prefix, tokens; /* class tokens; N */
};

static vt_status embed_plan(struct backend *be, const struct embed_desc *desc, struct op_plan **plan)
{
    int64_t prefix = desc->cls_token ? 1 : 0;
    VT_CHECK(desc->batch > 0 && desc->patches > 0 && desc->width > 0);
    VT_CHECK(ref_rate_ok(desc->dropout, (desc->patches + prefix) * desc->width));
    VT_TRY(ref_check_dtype("embed", desc->dtype));
    VT_TRY(ref_check_dtype("embed stream", desc->dtype_stream));
    struct embed_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 2 * desc->width, (void **)&made));
    made->desc = *desc;
    made->prefix = prefix;
    made->tokens = desc->patches + prefix;
    *plan = &made->plan;
    return VT_OK;
}

static void embed_forward(struct op_plan *plan, const void *patches, const float *cls, const float *pos, void *x,
                          const struct op_random *random)
{
    const struct embed_plan *p = (const struct embed_plan *)plan;
    const struct embed_desc *d = &p->desc;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t t = 0; t < p->tokens; t++)
            for (int64_t c = 0; c < d->width; c++) {
                int64_t from = (b * d->patches + t - p->prefix) * d->width + c;
                double token = t < p->prefix ? (double)cls[c] : ref_load(d->dtype, patches, from);
                double sum = token + (double)pos[t * d->width + c];
                double keep = ref_keep(d->dropout, d->purpose, random, b, t * d->width + c);
                ref_store(d->dtype_stream, x, (b * p->tokens + t) * d->width + c, keep * sum);
            }
    ref_leave(plan->backend);
}

/* One token of every image: dpatches of it, and the sum over images in token_sum. */
static void backward_token(const struct embed_plan *p, const void *dx, void *dpatches, const struct op_random *random,
                           int64_t t, double *token_sum)
{
    const struct embed_desc *d = &p->desc;
    memset(token_sum, 0, (size_t)d->width * sizeof *token_sum);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t c = 0; c < d->width; c++) {
            double g = ref_load(d->dtype_stream, dx, (b * p->tokens + t) * d->width + c) *
                       ref_keep(d->dropout, d->purpose, random, b, t * d->width + c);
            token_sum[c] += g;
            if (t >= p->prefix)
                ref_store(d->dtype, dpatches, (b * d->patches + t - p->prefix) * d->width + c, g);
        }
}

static void embed_backward(struct op_plan *plan, const void *dx, void *dpatches, float *dcls, float *dpos,
                           float *dpatch_sum, bool accumulate, const struct op_random *random)
{
    const struct embed_plan *p = (const struct embed_plan *)plan;
    int64_t width = p->desc.width;
    double *token_sum = ref_workspace(plan), *patch_sum = token_sum + width;
    memset(patch_sum, 0, (size_t)width * sizeof *patch_sum);
    ref_enter(plan->backend);
    for (int64_t t = 0; t < p->tokens; t++) {
        backward_token(p, dx, dpatches, random, t, token_sum);
        for (int64_t c = 0; c < width; c++) {
            ref_accumulate(&dpos[t * width + c], token_sum[c], accumulate);
            if (t < p->prefix)
                ref_accumulate(&dcls[c], token_sum[c], accumulate);
            else
                patch_sum[c] += token_sum[c];
        }
    }
    for (int64_t c = 0; dpatch_sum && c < width; c++)
        ref_accumulate(&dpatch_sum[c], patch_sum[c], accumulate);
    ref_leave(plan->backend);
}

void ref_embed_install(struct nn_ops *nn)
{
    nn->embed_plan = embed_plan;
    nn->embed_forward = embed_forward;
    nn->embed_backward = embed_backward;
}
