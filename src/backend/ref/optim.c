#include <math.h>

#include "backend/ref/ref.h"

static void sumsq_chunks(struct backend *be, const float *grads, int64_t count, double *partial)
{
    ref_enter(be);
    for (int64_t begin = 0; begin < count; begin += NORM_CHUNK) {
        int64_t end = begin + NORM_CHUNK < count ? begin + NORM_CHUNK : count;
        double sum = 0;
        for (int64_t i = begin; i < end; i++)
            sum += (double)grads[i] * (double)grads[i];
        partial[begin / NORM_CHUNK] = sum;
    }
    ref_leave(be);
}

static void norm_finish(struct backend *be, const double *partial, int64_t count, float clip,
                        struct step_scalars *scalars)
{
    ref_enter(be);
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
    ref_leave(be);
}

/* What follows every update: the parameter is stored in fp32, and its copies are made from what was stored. */
static void publish(int64_t i, double value, float *p, bf16_t *compute, float *ema, float ema_decay)
{
    p[i] = (float)value;
    if (compute)
        compute[i] = bf16_from_float(p[i]);
    if (ema)
        ema[i] = (float)((double)ema[i] + (1 - (double)ema_decay) * ((double)p[i] - (double)ema[i]));
}

/* t of optim_hyper.step; only when the step is taken. */
static int64_t update_number(const struct optim_hyper *hyper, const struct step_scalars *scalars)
{
    int64_t update = hyper->step - (int64_t)scalars->skipped;
    VT_CHECK(update >= 1);
    return update;
}

static void adamw(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                  float *p, const float *g, float *m, float *v, bf16_t *compute, float *ema, float ema_decay,
                  const struct step_scalars *scalars)
{
    double beta1 = (double)hyper->beta1, beta2 = (double)hyper->beta2;
    ref_enter(be);
    double update = scalars->nonfinite ? 0 : (double)update_number(hyper, scalars);
    double correct1 = 1 - pow(beta1, update), correct2 = 1 - pow(beta2, update);
    for (int s = 0; s < count && !scalars->nonfinite; s++) {
        double lr = (double)hyper->lr * (double)segments[s].lr_scale;
        for (int64_t i = segments[s].begin; i < segments[s].end; i++) {
            double grad = (double)g[i] * (double)scalars->clip_factor;
            double m_new = beta1 * (double)m[i] + (1 - beta1) * grad;
            double v_new = beta2 * (double)v[i] + (1 - beta2) * grad * grad;
            double decayed = (double)p[i] - lr * (double)segments[s].weight_decay * (double)p[i];
            m[i] = (float)m_new;
            v[i] = (float)v_new;
            publish(i, decayed - lr * (m_new / correct1) / (sqrt(v_new / correct2) + (double)hyper->eps), p, compute,
                    ema, ema_decay);
        }
    }
    ref_leave(be);
}

static void sgd(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                float *p, const float *g, float *buf, bf16_t *compute, float *ema, float ema_decay,
                const struct step_scalars *scalars)
{
    double momentum = (double)hyper->momentum;
    ref_enter(be);
    bool first = !scalars->nonfinite && update_number(hyper, scalars) == 1;
    for (int s = 0; s < count && !scalars->nonfinite; s++) {
        double lr = (double)hyper->lr * (double)segments[s].lr_scale;
        for (int64_t i = segments[s].begin; i < segments[s].end; i++) {
            double grad = (double)g[i] * (double)scalars->clip_factor + (double)segments[s].weight_decay * (double)p[i];
            double buf_new = first ? grad : momentum * (double)buf[i] + grad;
            buf[i] = (float)buf_new;
            publish(i, (double)p[i] - lr * (hyper->nesterov ? grad + momentum * buf_new : buf_new), p, compute, ema,
                    ema_decay);
        }
    }
    ref_leave(be);
}

void ref_optim_install(struct optim_ops *optim)
{
    optim->sumsq_chunks = sumsq_chunks;
    optim->norm_finish = norm_finish;
    optim->adamw = adamw;
    optim->sgd = sgd;
}
