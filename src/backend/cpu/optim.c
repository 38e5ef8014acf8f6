/* Optimizer updates and the gradient norm. Threads take equal shares of the elements, whatever the segments. */
#include "backend/cpu/cpu.h"

#include <math.h>

enum { GRAIN = 1024 };

struct norm_job {
    const struct cpu_kernels *kernels;
    const float *grads;
    int64_t count;
    double *partial;
};

static void norm_chunks(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct norm_job *job = context;
    struct cpu_range own = cpu_share((job->count + NORM_CHUNK - 1) / NORM_CHUNK, 1, part, parts);
    for (int64_t c = own.begin; c < own.end; c++) {
        int64_t begin = c * NORM_CHUNK;
        job->partial[c] = job->kernels->sum_squares(job->grads + begin, least(NORM_CHUNK, job->count - begin));
    }
}

static void sumsq_chunks(struct backend *be, const float *grads, int64_t count, double *partial)
{
    struct norm_job job = {((const struct cpu_backend *)be)->kernels, grads, count, partial};
    cpu_parallel(be, cpu_parts(be, (count + NORM_CHUNK - 1) / NORM_CHUNK), norm_chunks, &job);
}

static void norm_finish(struct backend *be, const double *partial, int64_t count, float clip,
                        struct step_scalars *scalars)
{
    (void)be;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += partial[i];
    double norm = sqrt(sum);
    bool finite = isfinite((float)norm);
    scalars->sumsq = sum;
    scalars->grad_norm = (float)norm;
    scalars->clip_factor = clip > 0 && finite ? (float)fmin(1, (double)clip / (norm + 1e-6)) : 1;
    scalars->nonfinite = !finite;
    scalars->skipped += !finite;
}

struct update_job {
    const struct cpu_kernels *kernels;
    const struct optim_segment *segments;
    int count;
    const struct optim_hyper *hyper;
    bool adam;
    float *p;
    const float *g;
    float *m, *v; /* sgd: m is its buffer */
    bf16_t *compute;
    float *ema, ema_decay, clip;
    int64_t update; /* t of optim_hyper.step */
};

static void update_range(const struct update_job *job, const struct optim_segment *segment, int64_t begin, int64_t end)
{
    const struct optim_hyper *h = job->hyper;
    const float lr = h->lr * segment->lr_scale;
    bf16_t *compute = job->compute ? job->compute + begin : NULL;
    float *ema = job->ema ? job->ema + begin : NULL;
    if (job->adam) {
        struct adamw_call call = {.lr = lr,
                                  .decay = segment->weight_decay,
                                  .beta1 = h->beta1,
                                  .beta2 = h->beta2,
                                  .eps = h->eps,
                                  .correction1 = (float)(1 - pow((double)h->beta1, (double)job->update)),
                                  .correction2_sqrt = (float)sqrt(1 - pow((double)h->beta2, (double)job->update)),
                                  .clip = job->clip,
                                  .ema_decay = job->ema_decay};
        job->kernels->adamw(&call, end - begin, job->p + begin, job->g + begin, job->m + begin, job->v + begin, compute,
                            ema);
    } else {
        struct sgd_call call = {.lr = lr,
                                .decay = segment->weight_decay,
                                .momentum = h->momentum,
                                .clip = job->clip,
                                .ema_decay = job->ema_decay,
                                .nesterov = h->nesterov,
                                .first = job->update == 1};
        job->kernels->sgd(&call, end - begin, job->p + begin, job->g + begin, job->m + begin, compute, ema);
    }
}

static int64_t elements(const struct optim_segment *segments, int count)
{
    int64_t total = 0;
    for (int s = 0; s < count; s++)
        total += segments[s].end - segments[s].begin;
    return total;
}

static void update(void *context, int part, int parts, int worker)
{
    (void)worker;
    const struct update_job *job = context;
    int64_t passed = 0;
    struct cpu_range own = cpu_share(elements(job->segments, job->count), GRAIN, part, parts);
    for (int s = 0; s < job->count; s++) {
        const struct optim_segment *segment = &job->segments[s];
        int64_t size = segment->end - segment->begin;
        int64_t begin = own.begin > passed ? own.begin - passed : 0, end = least(own.end - passed, size);
        if (begin < end)
            update_range(job, segment, segment->begin + begin, segment->begin + end);
        passed += size;
    }
}

/* Nothing to do when the step is skipped. */
static void run_update(struct backend *be, struct update_job *job, const struct step_scalars *scalars)
{
    if (scalars->nonfinite)
        return;
    job->kernels = ((const struct cpu_backend *)be)->kernels;
    job->clip = scalars->clip_factor;
    job->update = job->hyper->step - (int64_t)scalars->skipped;
    VT_CHECK(job->update >= 1);
    cpu_parallel(be, cpu_parts(be, elements(job->segments, job->count) / GRAIN + 1), update, job);
}

static void adamw(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                  float *p, const float *g, float *m, float *v, bf16_t *compute, float *ema, float ema_decay,
                  const struct step_scalars *scalars)
{
    struct update_job job = {.segments = segments,
                             .count = count,
                             .hyper = hyper,
                             .adam = true,
                             .p = p,
                             .g = g,
                             .m = m,
                             .v = v,
                             .compute = compute,
                             .ema = ema,
                             .ema_decay = ema_decay};
    run_update(be, &job, scalars);
}

static void sgd(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                float *p, const float *g, float *buf, bf16_t *compute, float *ema, float ema_decay,
                const struct step_scalars *scalars)
{
    struct update_job job = {.segments = segments,
                             .count = count,
                             .hyper = hyper,
                             .p = p,
                             .g = g,
                             .m = buf,
                             .compute = compute,
                             .ema = ema,
                             .ema_decay = ema_decay};
    run_update(be, &job, scalars);
}

void cpu_optim_install(struct optim_ops *optim)
{
    optim->sumsq_chunks = sumsq_chunks;
    optim->norm_finish = norm_finish;
    optim->adamw = adamw;
    optim->sgd = sgd;
}
