/* The run: steps, and what happens between them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/text.h"
#include "telemetry/metrics.h"
#include "telemetry/progress.h"
#include "train/gemm_rate.h"
#include "train/signals.h"
#include "train/trainer.h"

/* Sums over the steps since the last record. */
struct interval {
    int64_t steps;
    double loss_sum, weight_sum;
    double early_fraction; /* bucket_stats */
    struct step_times times;
};

struct loop {
    struct trainer *t;
    struct metrics *metrics;
    struct progress progress;
    struct interval interval;
    double run_started_ms;
    int64_t first_step;
    bool metrics_fail; /* the last record could not be written */
};

static void accumulate(struct interval *interval, const struct step_result *done)
{
    interval->steps++;
    interval->loss_sum += done->loss_sum;
    interval->weight_sum += done->weight_sum;
    interval->early_fraction += done->buckets.early_fraction;
    const double *from = (const double *)&done->times;
    double *to = (double *)&interval->times;
    for (size_t i = 0; i < sizeof done->times / sizeof(double); i++)
        to[i] += from[i];
}

static double epoch_of(const struct trainer *t, int64_t step)
{
    return (double)step * t->config.data.batch / (double)t->data.train.samples;
}

/* How much longer the slowest rank computed than the mean: what the others waited for. Collective. */
static vt_status straggler_ms(struct trainer *t, double busy, double *out)
{
    double sum = busy, max = busy;
    VT_TRY(t->comm->all_reduce(t->comm, &sum, 1, DTYPE_F64, REDUCE_SUM));
    VT_TRY(t->comm->all_reduce(t->comm, &max, 1, DTYPE_F64, REDUCE_MAX));
    *out = max - sum / t->comm->size;
    return VT_OK;
}

/* Curves are worth less than the run: records that cannot be written (disk full) are lost, and that is told once. */
static void keep_going(struct loop *loop, vt_status status)
{
    if (status != VT_OK && !loop->metrics_fail) {
        progress_break(&loop->progress);
        log_warn("%s; training goes on without these metrics", status_message());
    }
    loop->metrics_fail = status != VT_OK;
}

enum { RECORD_VALUES = 24 };

static vt_status record(struct loop *loop, const struct step_result *done)
{
    struct trainer *t = loop->t;
    struct interval *interval = &loop->interval;
    double n = (double)interval->steps, straggler;
    const struct step_times *times = &interval->times;
    VT_TRY(straggler_ms(t, times->busy / n, &straggler));
    /* Of the steps alone, without evaluation and checkpoints; results come a step late, so the clock would count them wrong. */
    double rate = n * t->config.data.batch / (times->step * 1e-3);
    double loss = interval->loss_sum / interval->weight_sum;
    double peak = t->dtype == DTYPE_BF16 ? t->be->peak_flops * t->comm->size : 0;
    struct metric values[RECORD_VALUES] = {
        {"train/loss", loss},
        {"optim/lr", done->lr},
        {"optim/grad_norm", done->grad_norm},
        {"optim/skipped", (double)t->skipped},
        {"perf/images_per_s", rate},
        {"perf/mfu_of_gemm_peak", rate * vit_train_flops(&t->data.model) / (t->gemm_flops_per_s * t->comm->size)},
        {"time/step_ms", times->step / n},
        {"time/data_wait_ms", times->data_wait / n},
        {"time/read_ms", times->read / n},
        {"time/decode_ms", times->decode / n},
        {"time/augment_ms", times->augment / n},
        {"time/copy_ms", times->copy / n},
        {"time/forward_ms", times->forward / n},
        {"time/backward_ms", times->backward / n},
        {"time/comm_exposed_ms", times->comm_exposed / n},
        {"time/optimizer_ms", times->optimizer / n},
        {"time/straggler_ms", straggler},
    };
    int count = 0;
    while (values[count].name)
        count++;
    if (peak > 0)
        values[count++] = (struct metric){"perf/mfu", rate * vit_train_flops(&t->data.model) / peak};
    if (t->comm->size > 1)
        values[count++] = (struct metric){"comm/early_fraction", interval->early_fraction / n};
    keep_going(loop, metrics_write(loop->metrics, done->step, done->step * t->config.data.batch, epoch_of(t, done->step),
                                   values, count));
    if (t->comm->rank == 0) {
        int64_t left = t->data.total_steps - done->step;
        double per_step = (clock_ms() - loop->run_started_ms) * 1e-3 / (double)(done->step - loop->first_step);
        const struct progress_values shown = {.step = done->step,
                                              .epoch = epoch_of(t, done->step),
                                              .loss = loss,
                                              .lr = done->lr,
                                              .images_per_s = rate,
                                              .data_wait_fraction = times->data_wait / times->step,
                                              .eta_s = (double)left * per_step};
        progress_update(&loop->progress, &shown, left == 0);
    }
    loop->interval = (struct interval){0};
    return VT_OK;
}

/* A finished step's scalars have arrived: count them, stop on too many non-finite ones, record when due. */
static vt_status take_result(struct loop *loop, const struct step_result *done)
{
    struct trainer *t = loop->t;
    if (!done->step)
        return VT_OK;
    accumulate(&loop->interval, done);
    t->skipped = done->skipped;
    if (done->nonfinite) {
        uint64_t first = t->position - (uint64_t)(t->step - done->step + 1) * (uint64_t)t->config.data.batch;
        if (t->comm->rank == 0)
            log_warn("step %lld: gradient norm is not finite, update skipped (stream positions %llu to %llu; %u skipped so far)",
                     (long long)done->step, (unsigned long long)first,
                     (unsigned long long)(first + (uint64_t)t->config.data.batch - 1), done->skipped);
        if (++t->nonfinite_streak > t->config.train.nonfinite_limit) {
            t->failed_together = true;
            return VT_FAIL(VT_E_NUMERIC,
                           "step %lld: %d steps in a row with non-finite gradients (the last at stream positions %llu to %llu), more "
                           "than train.nonfinite_limit=%d; lower optim.lr or set optim.clip",
                           (long long)done->step, t->nonfinite_streak, (unsigned long long)first,
                           (unsigned long long)(first + (uint64_t)t->config.data.batch - 1), t->config.train.nonfinite_limit);
        }
    } else {
        t->nonfinite_streak = 0;
    }
    bool last = done->step == t->data.total_steps, first = done->step == loop->first_step + 1;
    if (done->step % t->config.run.log_every == 0 || last || first)
        VT_TRY(record(loop, done));
    return VT_OK;
}

static vt_status drain(struct loop *loop)
{
    struct step_result done;
    VT_TRY(step_drain(loop->t, &done));
    return take_result(loop, &done);
}

/* *stopped: a stop request cut it off; it is owed then. */
static vt_status evaluate(struct loop *loop, bool may_stop, bool *stopped, bool *is_best)
{
    struct trainer *t = loop->t;
    struct evaluation result;
    double started = clock_ms();
    watchdog_allow(t->watchdog, 0);
    VT_TRY(trainer_evaluate(t, may_stop, &result));
    *stopped = t->evaluation_owed = result.stopped;
    if (result.stopped) {
        evaluation_close(&result);
        return VT_OK;
    }
    const struct metric values[] = {{"val/loss", result.loss}, {"val/top1", result.top1}, {"val/top5", result.top5}};
    *is_best = !(result.top1 <= t->best_metric); /* the first one too: NaN compares false */
    if (*is_best) {
        t->best_metric = result.top1;
        t->best_step = t->step;
    }
    progress_break(&loop->progress);
    log_info("eval       step %lld: val/top1 %.4f, val/top5 %.4f, val/loss %.4f%s (%lld images, %.1f s)", (long long)t->step,
             result.top1, result.top5, result.loss, *is_best ? ", best so far" : "", (long long)result.seen,
             (clock_ms() - started) * 1e-3);
    keep_going(loop, metrics_write(loop->metrics, t->step, t->step * t->config.data.batch, epoch_of(t, t->step), values, 3));
    evaluation_close(&result);
    return VT_OK;
}

/* A checkpoint that cannot be written (disk full) must not cost the run: earlier ones are intact, the next one is tried
 * again. Only the last one is the run's result (`must`). The verdict is the same on every rank. */
static vt_status save(struct loop *loop, bool is_best, bool must)
{
    struct trainer *t = loop->t;
    if (!t->folder.dir[0])
        return VT_OK;
    double started = clock_ms();
    keep_going(loop, metrics_flush(loop->metrics));
    signals_hold();
    vt_status status = trainer_save(t, is_best);
    signals_release();
    progress_break(&loop->progress);
    if (status != VT_OK) {
        t->failed_together = true;
        if (must)
            return status;
        if (t->comm->rank == 0)
            log_error("%s; training goes on, earlier checkpoints are intact", status_message());
        return VT_OK;
    }
    log_info("checkpoint step %lld written in %.2f s", (long long)t->step, (clock_ms() - started) * 1e-3);
    return VT_OK;
}

static bool is_due(const struct trainer *t, struct duration every)
{
    return duration_due(every, t->step, t->config.data.batch, t->data.train.samples, t->data.total_steps);
}

/* Evaluation and checkpoint when due after a step. *stop: leave after committing; set when an evaluation was cut off. */
static vt_status between_steps(struct loop *loop, bool *stop)
{
    struct trainer *t = loop->t;
    bool last = t->step == t->data.total_steps, is_best = false;
    bool eval_due = t->has_evaluator && is_due(t, t->config.eval.every);
    bool save_due = is_due(t, t->config.checkpoint.every);
    if (!eval_due && !save_due && !*stop)
        return VT_OK;
    VT_TRY(drain(loop));
    t->evaluation_owed = eval_due;
    if (eval_due && last && *stop) { /* all but done: whoever asked may wait, the commit must not */
        bool never;
        VT_TRY(save(loop, false, true));
        VT_TRY(evaluate(loop, false, &never, &is_best));
    } else if (eval_due && !*stop) {
        VT_TRY(evaluate(loop, true, stop, &is_best));
    }
    if (save_due || is_best || *stop)
        VT_TRY(save(loop, is_best, last || *stop));
    watchdog_kick(t->watchdog);
    return VT_OK;
}

/* The run before was stopped between a step and its evaluation. */
static vt_status evaluate_owed(struct loop *loop, bool *stop)
{
    bool is_best = false;
    if (!loop->t->evaluation_owed)
        return VT_OK;
    VT_TRY(evaluate(loop, true, stop, &is_best));
    if (is_best || (!*stop && loop->t->step == loop->t->data.total_steps))
        VT_TRY(save(loop, is_best, false));
    watchdog_kick(loop->t->watchdog);
    return VT_OK;
}

/* Asked to stop in the middle of a step: what was done before it is kept. */
static vt_status give_up_step(struct loop *loop)
{
    VT_TRY(drain(loop));
    return loop->t->saved_step == loop->t->step ? VT_OK : save(loop, false, true);
}

/* Collective: one rank may have been asked before the others. */
static vt_status tell_stop(struct trainer *t, int cut_at)
{
    double reason = signals_stop_reason();
    char what[96] = "";
    VT_TRY(t->comm->all_reduce(t->comm, &reason, 1, DTYPE_F64, REDUCE_MAX));
    if (cut_at)
        snprintf(what, sizeof what, "; step %lld, at microbatch %d of %d, is done again", (long long)t->step + 1, cut_at, t->micro_count);
    else if (t->evaluation_owed)
        snprintf(what, sizeof what, " with the evaluation of this step");
    t->failed_together = true;
    return VT_FAIL(VT_E_STOP, "stopped at step %lld (%s): committed, the same command goes on from here%s", (long long)t->step,
                   signals_reason_name((int)reason), what);
}

static vt_status run_steps(struct loop *loop)
{
    struct trainer *t = loop->t;
    struct step_result done = {0};
    bool stop = false;
    VT_TRY(evaluate_owed(loop, &stop));
    while (!stop && t->step < t->data.total_steps) {
        VT_TRY(step_run(t, &done));
        watchdog_kick(t->watchdog);
        VT_TRY(take_result(loop, &done));
        stop = done.stop;
        VT_TRY(done.cut_at ? give_up_step(loop) : between_steps(loop, &stop));
    }
    return stop && (t->step < t->data.total_steps || t->evaluation_owed) ? tell_stop(t, done.cut_at) : VT_OK;
}

/* A few microbatches of matrix products alone, some ten milliseconds: perf/mfu_of_gemm_peak is a share of the fastest one. */
static vt_status measure_gemm_rate(struct trainer *t)
{
    double flops = (double)t->micro_rows * vit_train_flops(&t->data.model) / t->data.model.depth;
    int repetitions = flops < 1e9 ? 10 : 3;
    struct gemm_rate rate;
    VT_TRY(gemm_rate_measure(t->be, &t->data.model, t->micro_rows, t->dtype, repetitions, NULL, NULL, &rate));
    t->gemm_flops_per_s = rate.best;
    return VT_OK;
}

vt_status trainer_run(struct trainer *t)
{
    struct loop loop = {.t = t, .first_step = t->step};
    vt_status status;
    signals_install();
    const char *dir = t->comm->rank == 0 && t->folder.dir[0] ? t->folder.dir : NULL;
    VT_TRY_OUT(metrics_open(dir, t->folder.attempt, t->step, &loop.metrics));
    VT_TRY_OUT(watchdog_start(t->comm, t->config.comm.timeout_s, &t->watchdog));
    VT_TRY_OUT(measure_gemm_rate(t));
    progress_start(&loop.progress, t->step, t->data.total_steps);
    if (t->comm->rank == 0)
        t->progress = &loop.progress;
    loop.run_started_ms = clock_ms();
    if (t->step >= t->data.total_steps && !t->evaluation_owed)
        log_info("nothing to do: the run is complete at step %lld of %lld", (long long)t->step, (long long)t->data.total_steps);
    VT_TRY_OUT(run_steps(&loop));
out:
    t->progress = NULL;
    progress_break(&loop.progress);
    watchdog_stop(&t->watchdog);
    metrics_close(&loop.metrics);
    return status;
}
