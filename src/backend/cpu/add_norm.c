/* Residual + LayerNorm. Threads share whole chunks of rows; each chunk sums its columns on its own, and the chunks'
 * sums are added in order, so gradients of weights do not depend on the number of threads. */
#include "backend/cpu/cpu.h"

#include <string.h>

#include "base/philox.h"

enum { MAX_CHUNKS = 128, MIN_CHUNK_ROWS = 16, SUMS = 4 }; /* sums: dweight, dbias, dls, ddelta */

struct add_norm_plan {
    struct op_plan plan;
    struct add_norm_desc desc;
    int64_t rows, chunk_rows, chunks;
    int64_t row_bytes;      /* a [D] row of floats */
    int64_t scratch_offset; /* per thread two rows, after the chunks' sums */
};

struct add_norm_job {
    const struct add_norm_plan *plan;
    const struct add_norm_forward_args *forward;
    const struct add_norm_backward_args *backward;
    const struct op_random *random;
};

static float path_factor(const struct add_norm_job *job, int64_t b)
{
    const struct add_norm_desc *d = &job->plan->desc;
    if (!d->has_delta || d->drop_path <= 0)
        return 1;
    bool dropped = draw_uniform(job->random->seed, d->drop_path_purpose, job->random->position[b], 0) < d->drop_path;
    return dropped ? 0 : 1 / (1 - d->drop_path);
}

/* Fills what belongs to row m; keep is drawn into `keep`. */
static struct norm_row row_of(const struct add_norm_job *job, int64_t m, float *keep)
{
    const struct add_norm_desc *d = &job->plan->desc;
    int64_t b = m / d->tokens, token = m % d->tokens;
    struct norm_row row = {.width = d->width,
                           .dtype = d->dtype,
                           .dtype_stream = d->dtype_stream,
                           .eps = d->eps,
                           .path = path_factor(job, b)};
    if (d->has_delta && d->dropout > 0 && row.path != 0) {
        struct draw_keep draw = {job->random->seed, job->random->position[b], d->dropout_purpose, d->dropout};
        cpu_of(&job->plan->plan)->kernels->draw_keep(&draw, (uint64_t)(token * d->width), d->width, keep);
        row.keep = keep;
    }
    return row;
}

static float *scratch_of(const struct add_norm_plan *p, int thread)
{
    return (float *)(cpu_workspace(&p->plan) + p->scratch_offset + thread * 2 * p->row_bytes);
}

static void forward_rows(void *context, int part, int parts, int worker)
{
    const struct add_norm_job *job = context;
    const struct add_norm_plan *p = job->plan;
    const struct add_norm_desc *d = &p->desc;
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    float *scratch = scratch_of(p, worker), *keep = scratch + p->row_bytes / 4;
    struct cpu_range own = cpu_share(p->rows, 1, part, parts);
    for (int64_t m = own.begin; m < own.end; m++) {
        struct norm_row row = row_of(job, m, keep);
        struct add_norm_forward_args a = *job->forward;
        bool add = d->has_delta && row.path != 0;
        a.x = at_element(a.x, d->dtype_stream, m * d->x_stride);
        a.delta = add ? at_element(a.delta, d->dtype, m * d->width) : NULL;
        a.x_out = d->has_delta ? at_element(a.x_out, d->dtype_stream, m * d->width) : NULL;
        a.ls = d->layer_scale ? a.ls : NULL;
        a.y = at_element(a.y, d->dtype, m * d->width);
        a.stats += 2 * m;
        k->norm_forward(&row, &a, scratch);
    }
}

/* The row of dx_in, or NULL: zero. */
static const void *later_of(const struct add_norm_desc *d, const void *dx_in, int64_t m)
{
    if (!dx_in || (d->dx_in_first && m % d->tokens != 0))
        return NULL;
    return at_element(dx_in, d->dtype_stream, (d->dx_in_first ? m / d->tokens : m) * d->width);
}

static void backward_chunk(const struct add_norm_job *job, int64_t chunk, float *sums, float *scratch)
{
    const struct add_norm_plan *p = job->plan;
    const struct add_norm_desc *d = &p->desc;
    const int64_t stride = p->row_bytes / 4;
    int64_t begin = chunk * p->chunk_rows, end = least(begin + p->chunk_rows, p->rows);
    memset(sums, 0, (size_t)(SUMS * p->row_bytes));
    for (int64_t m = begin; m < end; m++) {
        struct norm_row row = row_of(job, m, scratch + stride);
        struct add_norm_backward_args a = *job->backward;
        a.dy = at_element(a.dy, d->dtype, m * d->width);
        a.x_out = at_element(a.x_out, d->dtype_stream, m * d->width);
        a.stats += 2 * m;
        a.dx_in = later_of(d, a.dx_in, m);
        a.dx = at_element(a.dx, d->dtype_stream, m * d->width);
        a.ddelta = d->has_delta ? at_element(a.ddelta, d->dtype, m * d->width) : NULL;
        a.ls = d->layer_scale ? a.ls : NULL;
        a.delta = d->layer_scale ? at_element(a.delta, d->dtype, m * d->width) : NULL;
        a.dweight = sums;
        a.dbias = sums + stride;
        a.dls = d->layer_scale ? sums + 2 * stride : NULL;
        a.ddelta_sum = a.ddelta_sum ? sums + 3 * stride : NULL;
        cpu_of(&p->plan)->kernels->norm_backward(&row, &a, scratch);
    }
}

/* Columns [begin, end): total of the chunks in order, into the gradient. */
static void reduce_columns(const struct add_norm_plan *p, const float *sums, float *gradient, bool accumulate,
                           int64_t begin, int64_t end)
{
    const int64_t stride = p->row_bytes / 4;
    if (!gradient)
        return;
    if (!accumulate)
        memset(gradient + begin, 0, (size_t)(end - begin) * sizeof *gradient);
    for (int64_t chunk = 0; chunk < p->chunks; chunk++)
        cpu_of(&p->plan)->kernels->add_row(gradient + begin, sums + chunk * SUMS * stride + begin, DTYPE_F32, NULL,
                                           end - begin);
}

static void backward_rows(void *context, int part, int parts, int worker)
{
    const struct add_norm_job *job = context;
    const struct add_norm_plan *p = job->plan;
    (void)parts; /* one per chunk */
    float *sums = (float *)cpu_workspace(&p->plan) + part * SUMS * (p->row_bytes / 4);
    backward_chunk(job, part, sums, scratch_of(p, worker));
}

static void reduce_chunks(void *context, int part, int parts, int worker)
{
    const struct add_norm_job *job = context;
    const struct add_norm_plan *p = job->plan;
    const struct add_norm_backward_args *a = job->backward;
    const int64_t stride = p->row_bytes / 4;
    const float *sums = (const float *)cpu_workspace(&p->plan);
    struct cpu_range columns = cpu_share(p->desc.width, 16, part, parts);
    (void)worker;
    reduce_columns(p, sums, a->dweight, a->accumulate, columns.begin, columns.end);
    reduce_columns(p, sums + stride, a->dbias, a->accumulate, columns.begin, columns.end);
    reduce_columns(p, sums + 2 * stride, p->desc.layer_scale ? a->dls : NULL, a->accumulate, columns.begin,
                   columns.end);
    reduce_columns(p, sums + 3 * stride, p->desc.has_delta ? a->ddelta_sum : NULL, a->accumulate, columns.begin,
                   columns.end);
}

static void add_norm_forward(struct op_plan *plan, const struct add_norm_forward_args *args,
                             const struct op_random *random)
{
    struct add_norm_job job = {.plan = (const struct add_norm_plan *)plan, .forward = args, .random = random};
    VT_CHECK(add_norm_forward_ok(&job.plan->desc, args));
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->rows), forward_rows, &job);
}

static void add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args,
                              const struct op_random *random)
{
    struct add_norm_job job = {.plan = (const struct add_norm_plan *)plan, .backward = args, .random = random};
    VT_CHECK(add_norm_backward_ok(&job.plan->desc, args));
    cpu_parallel(plan->backend, job.plan->chunks, backward_rows, &job);
    cpu_parallel(plan->backend, cpu_parts(plan->backend, job.plan->desc.width / 64), reduce_chunks, &job);
}

static vt_status add_norm_plan(struct backend *be, const struct add_norm_desc *desc, struct op_plan **plan)
{
    VT_CHECK(add_norm_desc_ok(desc));
    VT_CHECK(cpu_rate_ok(desc->dropout, desc->tokens * desc->width) && cpu_rate_ok(desc->drop_path, 1));
    VT_TRY(cpu_check_dtype("add_norm", desc->dtype));
    VT_TRY(cpu_check_dtype("add_norm stream", desc->dtype_stream));
    int64_t rows = desc->batch * desc->tokens, row_bytes = round_up(desc->width * 4, 64);
    int64_t chunk_rows = (rows + MAX_CHUNKS - 1) / MAX_CHUNKS;
    chunk_rows = chunk_rows < MIN_CHUNK_ROWS ? MIN_CHUNK_ROWS : chunk_rows;
    int64_t chunks = (rows + chunk_rows - 1) / chunk_rows;
    struct add_norm_plan *made;
    VT_TRY(cpu_plan_new(be, "rows", sizeof *made, (chunks * SUMS + 2 * be->threads) * row_bytes, (void **)&made));
    made->desc = *desc;
    if (desc->x_stride == 0)
        made->desc.x_stride = desc->width;
    made->rows = rows;
    made->chunk_rows = chunk_rows;
    made->chunks = chunks;
    made->row_bytes = row_bytes;
    made->scratch_offset = chunks * SUMS * row_bytes;
    *plan = &made->plan;
    return VT_OK;
}

void cpu_add_norm_install(struct nn_ops *nn)
{
    nn->add_norm_plan = add_norm_plan;
    nn->add_norm_forward = add_norm_forward;
    nn->add_norm_backward = add_norm_backward;
}
