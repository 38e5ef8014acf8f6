#include "optim/schedule.h"

#include <math.h>

#include "base/check.h"

static double clamp01(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

/* The curve after warm-up, without the cool-down. */
static double curve_lr(const struct schedule *s, int64_t step)
{
    int64_t decay_steps = s->total_steps - s->warmup_steps;
    double progress = decay_steps > 0 ? clamp01((double)(step - s->warmup_steps) / (double)decay_steps) : 1;
    switch (s->kind) {
    case SCHEDULE_CONSTANT:
        return s->lr;
    case SCHEDULE_COSINE:
        return s->min_lr + (s->lr - s->min_lr) * 0.5 * (1 + cos(M_PI * progress));
    case SCHEDULE_LINEAR:
        return s->min_lr + (s->lr - s->min_lr) * (1 - progress);
    case SCHEDULE_RSQRT: {
        int64_t scale = s->timescale;
        if (scale <= 0)
            scale = s->warmup_steps > 10000 ? s->warmup_steps : 10000;
        double lr = s->lr * sqrt((double)scale / (double)(step > scale ? step : scale));
        return fmax(lr, s->min_lr);
    }
    }
    VT_CHECKF(0, "schedule kind %d", (int)s->kind);
    return 0;
}

double schedule_lr(const struct schedule *s, int64_t step)
{
    VT_CHECKF(step >= 0, "step %lld", (long long)step);
    if (step < s->warmup_steps) {
        /* Ends where the curve begins, whatever the curve: no jump when an rsqrt timescale is below the warm-up. */
        double peak = s->warmup_steps < s->total_steps ? curve_lr(s, s->warmup_steps) : s->lr;
        return s->warmup_lr + (peak - s->warmup_lr) * ((double)step / (double)s->warmup_steps);
    }
    double lr = curve_lr(s, step);
    if (s->cooldown_steps > 0 && (s->kind == SCHEDULE_CONSTANT || s->kind == SCHEDULE_RSQRT)) {
        double left = clamp01((double)(s->total_steps - step) / (double)s->cooldown_steps);
        lr = s->min_lr + (lr - s->min_lr) * left;
    }
    return lr;
}
