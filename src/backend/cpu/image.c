/* The two ends of the network behind patchify: embed, and the pooling before the head. */
#include "backend/cpu/cpu.h"

#include <string.h>

/* ---- embed: forward by rows; backward by tokens, so that a token's sum over images has one owner ---- */

struct embed_plan {
    struct op_plan plan;
    struct embed_desc desc;
    int64_t prefix, tokens, row_bytes; /* class tokens; N; a [D] row of floats */
};

struct embed_job {
    const struct embed_plan *plan;
    const void *patches, *dx;
    const float *cls, *pos;
    void *x, *dpatches;
    float *dcls, *dpos, *dpatch_sum;
    bool accumulate;
    const struct op_random *random;
};

static const float *embed_keep(const struct embed_job *job, int64_t b, int64_t token, float *keep)
{
    const struct embed_desc *d = &job->plan->desc;
    if (d->dropout <= 0)
        return NULL;
    struct draw_keep draw = {job->random->seed, job->random->position[b], d->purpose, d->dropout};
    cpu_of(&job->plan->plan)->kernels->draw_keep(&draw, (uint64_t)(token * d->width), d->width, keep);
    return keep;
}

/* Per worker two rows, dropout factors and a product, after the [N] rows of token sums. */
static float *embed_scratch(const struct embed_plan *p, int worker)
{
    return (float *)(cpu_workspace(&p->plan) + (p->tokens + 2 * worker) * p->row_bytes);
}

static void embed_rows(void *context, int part, int parts, int worker)
{
    const struct embed_job *job = context;
    const struct embed_plan *p = job->plan;
    const struct embed_desc *d = &p->desc;
    float *scratch = embed_scratch(p, worker);
    struct cpu_range own = cpu_share(d->batch * p->tokens, 1, part, parts);
    for (int64_t m = own.begin; m < own.end; m++) {
        int64_t b = m / p->tokens, token = m % p->tokens;
        bool is_cls = token < p->prefix;
        const void *from =
            is_cls ? job->cls : at_element(job->patches, d->dtype, (b * d->patches + token - p->prefix) * d->width);
        cpu_of(&p->plan)->kernels->embed_row(
            from, is_cls ? DTYPE_F32 : d->dtype, job->pos + token * d->width, embed_keep(job, b, token, scratch),
            at_element(job->x, d->dtype_stream, m * d->width), d->dtype_stream, d->width);
    }
}

static void add_or_set(const struct cpu_kernels *k, float *dst, const float *src, bool accumulate, int64_t count)
{
    if (!accumulate)
        memset(dst, 0, (size_t)count * sizeof *dst);
    k->add_row(dst, src, DTYPE_F32, NULL, count);
}

static void backward_token(const struct embed_job *job, int64_t token, float *sum, float *scratch)
{
    const struct embed_plan *p = job->plan;
    const struct embed_desc *d = &p->desc;
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    memset(sum, 0, (size_t)d->width * sizeof *sum);
    for (int64_t b = 0; b < d->batch; b++) {
        const void *dx = at_element(job->dx, d->dtype_stream, (b * p->tokens + token) * d->width);
        const float *keep = embed_keep(job, b, token, scratch);
        k->add_row(sum, dx, d->dtype_stream, keep, d->width);
        if (token < p->prefix)
            continue;
        void *to = at_element(job->dpatches, d->dtype, (b * d->patches + token - p->prefix) * d->width);
        if (!keep) {
            k->cast(dx, d->dtype_stream, to, d->dtype, d->width);
            continue;
        }
        float *product = scratch + p->row_bytes / 4;
        k->cast(dx, d->dtype_stream, product, DTYPE_F32, d->width);
        k->multiply(product, keep, product, DTYPE_F32, d->width);
        k->cast(product, DTYPE_F32, to, d->dtype, d->width);
    }
    add_or_set(k, job->dpos + token * d->width, sum, job->accumulate, d->width);
    if (token < p->prefix)
        add_or_set(k, job->dcls, sum, job->accumulate, d->width);
}

static void backward_tokens(void *context, int part, int parts, int worker)
{
    const struct embed_job *job = context;
    const struct embed_plan *p = job->plan;
    float *sums = (float *)cpu_workspace(&p->plan), *scratch = embed_scratch(p, worker);
    struct cpu_range own = cpu_share(p->tokens, 1, part, parts);
    for (int64_t token = own.begin; token < own.end; token++)
        backward_token(job, token, sums + token * (p->row_bytes / 4), scratch);
}

static void sum_patches(void *context, int part, int parts, int worker)
{
    const struct embed_job *job = context;
    const struct embed_plan *p = job->plan;
    const float *sums = (const float *)cpu_workspace(&p->plan);
    struct cpu_range columns = cpu_share(p->desc.width, 16, part, parts);
    const int64_t count = columns.end - columns.begin;
    (void)worker;
    if (!job->accumulate)
        memset(job->dpatch_sum + columns.begin, 0, (size_t)count * sizeof *job->dpatch_sum);
    for (int64_t token = p->prefix; token < p->tokens; token++)
        cpu_of(&p->plan)->kernels->add_row(job->dpatch_sum + columns.begin,
                                           sums + token * (p->row_bytes / 4) + columns.begin, DTYPE_F32, NULL, count);
}

static void embed_forward(struct op_plan *plan, const void *patches, const float *cls, const float *pos, void *x,
                          const struct op_random *random)
{
    struct embed_job job = {
        .plan = (const struct embed_plan *)plan, .patches = patches, .cls = cls, .pos = pos, .x = x, .random = random};
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->desc.batch * job.plan->tokens), embed_rows, &job);
}

static void embed_backward(struct op_plan *plan, const void *dx, void *dpatches, float *dcls, float *dpos,
                           float *dpatch_sum, bool accumulate, const struct op_random *random)
{
    struct embed_job job = {.plan = (const struct embed_plan *)plan,
                            .dx = dx,
                            .dpatches = dpatches,
                            .dcls = dcls,
                            .dpos = dpos,
                            .dpatch_sum = dpatch_sum,
                            .accumulate = accumulate,
                            .random = random};
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->tokens), backward_tokens, &job);
    if (dpatch_sum)
        cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->desc.width / 64), sum_patches, &job);
}

static vt_status embed_plan(struct backend *be, const struct embed_desc *desc, struct op_plan **plan)
{
    int64_t prefix = desc->cls_token ? 1 : 0, row_bytes = round_up(desc->width * 4, 64);
    VT_CHECK(desc->batch > 0 && desc->patches > 0 && desc->width > 0);
    VT_CHECK(cpu_rate_ok(desc->dropout, (desc->patches + prefix) * desc->width));
    VT_TRY(cpu_check_dtype("embed", desc->dtype));
    VT_TRY(cpu_check_dtype("embed stream", desc->dtype_stream));
    struct embed_plan *made;
    int64_t rows = desc->patches + prefix + 2 * be->threads;
    VT_TRY(cpu_plan_new(be, "rows", sizeof *made, rows * row_bytes, (void **)&made));
    made->desc = *desc;
    made->prefix = prefix;
    made->tokens = desc->patches + prefix;
    made->row_bytes = row_bytes;
    *plan = &made->plan;
    return VT_OK;
}

/* ---- pool: parts are images ---- */

struct pool_plan {
    struct op_plan plan;
    struct pool_desc desc;
    int64_t row_bytes;
};

struct pool_job {
    const struct pool_plan *plan;
    const void *from;
    void *to;
};

static void pool_images(void *context, int part, int parts, int worker)
{
    const struct pool_job *job = context;
    const struct pool_desc *d = &job->plan->desc;
    const struct cpu_kernels *k = cpu_of(&job->plan->plan)->kernels;
    float *sum = (float *)(cpu_workspace(&job->plan->plan) + worker * job->plan->row_bytes);
    struct cpu_range own = cpu_share(d->batch, 1, part, parts);
    for (int64_t b = own.begin; b < own.end; b++) {
        bool mean = d->kind == POOL_MEAN;
        int64_t begin = mean ? d->prefix : 0, end = mean ? d->tokens : 1;
        memset(sum, 0, (size_t)job->plan->row_bytes);
        for (int64_t t = begin; t < end; t++)
            k->add_row(sum, at_element(job->from, d->dtype, (b * d->tokens + t) * d->width), d->dtype, NULL, d->width);
        k->scale_store(sum, 1.0f / (float)(end - begin), at_element(job->to, d->dtype, b * d->width), d->dtype,
                       d->width);
    }
}

static void unpool_images(void *context, int part, int parts, int worker)
{
    const struct pool_job *job = context;
    const struct pool_desc *d = &job->plan->desc;
    const struct cpu_kernels *k = cpu_of(&job->plan->plan)->kernels;
    float *row = (float *)(cpu_workspace(&job->plan->plan) + worker * job->plan->row_bytes);
    const int64_t row_bytes = d->width * dtype_size(d->dtype);
    struct cpu_range own = cpu_share(d->batch, 1, part, parts);
    for (int64_t b = own.begin; b < own.end; b++) {
        k->cast(at_element(job->from, d->dtype, b * d->width), d->dtype, row, DTYPE_F32, d->width);
        for (int64_t t = 0; t < d->tokens; t++) {
            void *to = at_element(job->to, d->dtype, (b * d->tokens + t) * d->width);
            bool mean = d->kind == POOL_MEAN;
            if (mean ? t >= d->prefix : t == 0)
                k->scale_store(row, mean ? 1.0f / (float)(d->tokens - d->prefix) : 1.0f, to, d->dtype, d->width);
            else
                memset(to, 0, (size_t)row_bytes);
        }
    }
}

static void pool_forward(struct op_plan *plan, const void *x, void *y)
{
    struct pool_job job = {(const struct pool_plan *)plan, x, y};
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->desc.batch), pool_images, &job);
}

static void pool_backward(struct op_plan *plan, const void *dy, void *dx)
{
    struct pool_job job = {(const struct pool_plan *)plan, dy, dx};
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->desc.batch), unpool_images, &job);
}

static vt_status pool_plan(struct backend *be, const struct pool_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->tokens > 0 && desc->width > 0 && desc->prefix >= 0);
    VT_CHECK(desc->kind == POOL_CLS || desc->tokens > desc->prefix);
    VT_TRY(cpu_check_dtype("pool", desc->dtype));
    int64_t row_bytes = round_up(desc->width * 4, 64);
    struct pool_plan *made;
    VT_TRY(cpu_plan_new(be, "rows", sizeof *made, row_bytes * be->threads, (void **)&made));
    made->desc = *desc;
    made->row_bytes = row_bytes;
    *plan = &made->plan;
    return VT_OK;
}

void cpu_image_install(struct nn_ops *nn)
{
    nn->embed_plan = embed_plan;
    nn->embed_forward = embed_forward;
    nn->embed_backward = embed_backward;
    nn->pool_plan = pool_plan;
    nn->pool_forward = pool_forward;
    nn->pool_backward = pool_backward;
}
