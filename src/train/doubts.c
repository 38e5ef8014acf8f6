#include "train/doubts.h"

#include "base/log.h"
#include "base/text.h"
#include "train/resolve.h"

enum { THREADS_PER_CPU_MAX = 16 };

#define DOUBT(...)                                                                                                     \
    do {                                                                                                               \
        if (log_rank() == 0)                                                                                           \
            log_warn(__VA_ARGS__);                                                                                     \
    } while (0)

static void doubt_schedule(const struct resolved *resolved)
{
    const struct schedule *s = &resolved->schedule;
    long long warmup = s->warmup_steps, cooldown = s->cooldown_steps, total = s->total_steps;
    if (warmup > total)
        DOUBT("optim.warmup is %lld steps of a run of %lld: the learning rate never reaches optim.lr", warmup, total);
    else if (warmup + cooldown > total)
        DOUBT("optim.warmup and optim.cooldown are %lld and %lld steps of a run of %lld: they overlap", warmup, cooldown, total);
}

static vt_status doubt_threads(int threads, int cpus)
{
    if (threads > THREADS_PER_CPU_MAX * cpus)
        return VT_FAIL(VT_E_USAGE, "compute.threads is %d where a rank has %d CPU%s, expected 0 (all of them) or at most %d", threads,
                       cpus, text_s(cpus), THREADS_PER_CPU_MAX * cpus);
    if (threads > cpus)
        DOUBT("compute.threads is %d where a rank has %d CPU%s: correct, but slower than %d", threads, cpus, text_s(cpus), cpus);
    return VT_OK;
}

vt_status doubts_raise(const struct run_config *config, const struct resolved *resolved, int cpus)
{
    doubt_schedule(resolved);
    if (config->train.lanes > 0 && config->train.reduction == CONFIG_REDUCTION_FAST)
        DOUBT("train.lanes=%d says nothing to train.reduction: fast; lanes belong to exact", config->train.lanes);
    return doubt_threads(config->compute.threads, cpus);
}
