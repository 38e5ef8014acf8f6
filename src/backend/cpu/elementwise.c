/* Dropout, activations, casts, and the other ops that touch each element once. */
#include "backend/cpu/cpu.h"

enum { PIECE = 4096 }; /* elements at a time: their dropout factors stay in L1 */

struct dropout_plan {
    struct op_plan plan;
    struct dropout_desc desc;
};

struct dropout_job {
    const struct dropout_plan *plan;
    const void *x;
    void *y;
    const struct op_random *random;
};

static void dropout_pieces(void *context, int part, int parts, int worker)
{
    const struct dropout_job *job = context;
    const struct dropout_desc *d = &job->plan->desc;
    const struct cpu_kernels *k = cpu_of(&job->plan->plan)->kernels;
    float *keep = (float *)cpu_workspace(&job->plan->plan) + (int64_t)worker * PIECE;
    int64_t pieces = (d->row_elements + PIECE - 1) / PIECE;
    struct cpu_range own = cpu_share(d->batch * pieces, 1, part, parts);
    for (int64_t i = own.begin; i < own.end; i++) {
        int64_t b = i / pieces, first = i % pieces * PIECE, count = least(PIECE, d->row_elements - first);
        int64_t at = b * d->row_elements + first;
        if (d->rate > 0) {
            struct draw_keep draw = {job->random->seed, job->random->position[b], d->purpose, d->rate};
            k->draw_keep(&draw, (uint64_t)first, count, keep);
        }
        k->multiply(at_element(job->x, d->dtype, at), d->rate > 0 ? keep : NULL, at_element(job->y, d->dtype, at),
                    d->dtype, count);
    }
}

static void dropout_forward(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    struct dropout_job job = {(const struct dropout_plan *)plan, x, y, random};
    const struct dropout_desc *d = &job.plan->desc;
    int64_t pieces = d->batch * ((d->row_elements + PIECE - 1) / PIECE);
    cpu_parallel(plan->backend, cpu_parts(plan->backend, pieces), dropout_pieces, &job);
}

static vt_status dropout_plan(struct backend *be, const struct dropout_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->row_elements > 0);
    VT_CHECK(cpu_rate_ok(desc->rate, desc->row_elements));
    VT_TRY(cpu_check_dtype("dropout", desc->dtype));
    struct dropout_plan *made;
    VT_TRY(cpu_plan_new(be, "pieces", sizeof *made, (int64_t)be->threads * PIECE * 4, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

struct range_job {
    const struct cpu_kernels *kernels;
    const void *src;
    void *dst;
    enum dtype from, to;
    enum activation act;
    int64_t count;
};

static void cast_range(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct range_job *job = context;
    struct cpu_range own = cpu_share(job->count, 64, part, parts);
    job->kernels->cast(at_element(job->src, job->from, own.begin), job->from, at_element(job->dst, job->to, own.begin),
                       job->to, own.end - own.begin);
}

static void add_range(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct range_job *job = context;
    struct cpu_range own = cpu_share(job->count, 64, part, parts);
    job->kernels->add_row((float *)job->dst + own.begin, (const float *)job->src + own.begin, DTYPE_F32, NULL,
                          own.end - own.begin);
}

static void activate_part(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct range_job *job = context;
    struct cpu_range own = cpu_share(job->count, 64, part, parts);
    job->kernels->activate(job->act, at_element(job->src, job->from, own.begin),
                           at_element(job->dst, job->from, own.begin), job->from, own.end - own.begin);
}

static void run_range(struct backend *be, cpu_task *task, struct range_job *job)
{
    job->kernels = ((const struct cpu_backend *)be)->kernels;
    cpu_parallel(be, cpu_parts(be, (job->count + PIECE - 1) / PIECE), task, job);
}

struct activation_plan {
    struct op_plan plan;
    struct activation_desc desc;
};

static void activation_forward(struct op_plan *plan, const void *x, void *y)
{
    const struct activation_desc *d = &((const struct activation_plan *)plan)->desc;
    struct range_job job = {.src = x, .dst = y, .from = d->dtype, .act = d->act, .count = d->rows * d->columns};
    run_range(plan->backend, activate_part, &job);
}

static vt_status activation_plan(struct backend *be, const struct activation_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->rows > 0 && desc->columns > 0 && desc->act != ACT_NONE);
    VT_TRY(cpu_check_dtype("activation", desc->dtype));
    struct activation_plan *made;
    VT_TRY(cpu_plan_new(be, "ranges", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

static void cast(struct backend *be, const void *src, enum dtype from, void *dst, enum dtype to, int64_t count)
{
    VT_CHECK(cpu_check_dtype("cast", from) == VT_OK && cpu_check_dtype("cast", to) == VT_OK);
    struct range_job job = {.src = src, .dst = dst, .from = from, .to = to, .count = count};
    run_range(be, cast_range, &job);
}

static void reduce_add(struct backend *be, float *dst, const float *src, int64_t count)
{
    struct range_job job = {.src = src, .dst = dst, .count = count};
    run_range(be, add_range, &job);
}

static void scalars_reset(struct backend *be, struct step_scalars *scalars)
{
    (void)be;
    *scalars = (struct step_scalars){.skipped = scalars->skipped};
}

void cpu_elementwise_install(struct nn_ops *nn)
{
    nn->dropout_plan = dropout_plan;
    nn->dropout_forward = dropout_forward;
    nn->activation_plan = activation_plan;
    nn->activation_forward = activation_forward;
    nn->reduce_add = reduce_add;
    nn->cast = cast;
    nn->scalars_reset = scalars_reset;
}
