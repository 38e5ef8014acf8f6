/* Learning-rate schedules: pure functions of the step. */
#ifndef VT_OPTIM_SCHEDULE_H
#define VT_OPTIM_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_RSQRT };

struct schedule {
    enum schedule_kind kind;
    double lr, min_lr;          /* peak and floor */
    double warmup_lr;           /* at step 0 */
    int64_t warmup_steps, total_steps;
    int64_t cooldown_steps;     /* constant, rsqrt: the curve times a factor that falls linearly to min_lr over the last
                                   steps (as big_vision) */
    int64_t timescale;          /* rsqrt: lr * sqrt(timescale / max(step, timescale)); 0 = max(warmup, 10000) */
};

/* lr of 0-based step; skipped (non-finite) steps count, so that a run ends when it said it would. Linear warm-up from
 * warmup_lr over warmup_steps (big_vision: lr * min(1, step / warmup)), then the curve. Cosine and linear go from lr at the
 * end of the warm-up to min_lr at total_steps and stay there. */
double schedule_lr(const struct schedule *schedule, int64_t step);

#endif
