/* One optimizer step, top to bottom: the life of a batch from the loader to the weight update. Everything enqueues; the
 * step's scalars are read one step late, so the host never waits for the device inside it. */
#include "base/check.h"
#include "base/clock.h"
#include "base/stage.h"
#include "input/deal.h"
#include "telemetry/progress.h"
#include "train/signals.h"
#include "train/stop_look.h"
#include "train/trainer.h"

vt_status step_start_input(struct trainer *t)
{
    const struct resolved *data = &t->data;
    struct loader_desc desc = {.split = data->train.split,
                               .order = data->order,
                               .synthetic_samples = data->train.samples,
                               .synthetic_classes = data->train.classes,
                               .augment = data->transform,
                               .image_size = data->model.image_size,
                               .channels = data->model.channels,
                               .rank = t->comm->rank,
                               .ranks = t->comm->size,
                               .batch = t->config.data.batch,
                               .first_step = t->step,
                               .first_position = t->position,
                               .steps = data->total_steps - t->step,
                               .threads = t->threads_loader,
                               .seed = data->data_seed,
                               .substitute_bad = true,
                               .bad_limit = t->config.data.bad_limit};
    return loader_open(&desc, t->ring.slots, BATCH_SLOTS, &t->loader);
}

/* Milliseconds since *mark, which moves to now. */
static double lap(double *mark)
{
    double now = clock_ms(), passed = now - *mark;
    *mark = now;
    return passed;
}

/* What the passes of a microbatch work with. */
struct micro {
    struct trainer *t;
    struct vit_weights weights;
    struct vit_batch batch;
    bool accumulate;
};

static void forward_pass(void *context, vit_grad_ready ready, void *ready_context)
{
    const struct micro *m = context;
    struct trainer *t = m->t;
    (void)ready, (void)ready_context;
    vit_forward(t->vit, &m->weights, &m->batch);
    vit_loss(t->vit, &m->batch, 1.0f / (float)t->config.data.batch, NULL, t->scalars);
}

static void backward_pass(void *context, vit_grad_ready ready, void *ready_context)
{
    const struct micro *m = context;
    struct trainer *t = m->t;
    vit_backward(t->vit, &m->weights, &m->batch, t->weights.device.grads, m->accumulate, ready, ready_context);
}

/* Forward, loss and backward of one microbatch. The last one of the step starts the all-reduces from inside backward. */
static vt_status run_micro(struct trainer *t, int micro, bool last, struct step_times *times)
{
    double mark = clock_ms();
    struct slot *slot;
    struct micro m = {.t = t, .weights = weights_view(&t->weights), .accumulate = micro > 0};
    struct graphs_key key = {.accumulate = micro > 0, .last = last};

    stage_enter(STAGE_DATA_WAIT);
    VT_TRY(loader_next(t->loader, &slot));
    VT_CHECK(slot->micro == micro && slot->micro_count == t->micro_count);
    times->data_wait += lap(&mark);
    times->read += slot->read_ms;
    times->decode += slot->decode_ms;
    times->augment += slot->augment_ms;

    stage_enter(STAGE_COPY);
    key.buffer = batch_upload(&t->ring, slot, &m.batch);
    VT_TRY(batch_recycle(&t->ring, t->loader, t->be->host_memory));
    times->copy += lap(&mark);

    stage_enter(STAGE_FORWARD);
    step_clock_mark(t->clock, PART_FORWARD);
    VT_TRY(graphs_run(t->graphs, key, forward_pass, &m));
    times->forward += lap(&mark);

    stage_enter(STAGE_BACKWARD);
    step_clock_mark(t->clock, PART_BACKWARD);
    if (last)
        bucket_begin(t->buckets);
    key.backward = true;
    VT_TRY(graphs_run(t->graphs, key, backward_pass, &m));
    step_clock_mark(t->clock, last ? PART_SUMS : PART_IDLE);
    batch_consumed(&t->ring);
    times->backward += lap(&mark);
    watchdog_kick(t->watchdog); /* a large batch may take longer than the timeout, a microbatch does not */
    return VT_OK;
}

/* Read the pending step's scalars and make them global; learn whether any rank wants to stop, and how long a microbatch
 * takes (micro_ms; 0 = not asked). */
static vt_status collect(struct trainer *t, bool stop, double micro_ms, struct step_result *done)
{
    *done = t->pending;
    t->pending = (struct step_result){0};
    if (done->step) {
        int which = (int)(done->step % 2);
        VT_TRY(t->be->event_wait(t->be, t->scalars_ready[which]));
        VT_TRY(step_clock_read(t->clock, done->step, &done->times));
        const struct step_scalars *scalars = &t->host_scalars[which];
        done->loss_sum = scalars->loss_sum;
        done->weight_sum = scalars->weight_sum;
        done->grad_norm = scalars->grad_norm;
        done->nonfinite = scalars->nonfinite;
        done->skipped = scalars->skipped;
    }
    double sums[4] = {done->loss_sum, done->weight_sum, stop, micro_ms};
    VT_TRY(t->comm->all_reduce(t->comm, sums, 4, DTYPE_F64, REDUCE_SUM));
    done->loss_sum = sums[0];
    done->weight_sum = sums[1];
    done->stop = sums[2] > 0;
    if (micro_ms > 0)
        t->micro_ms = sums[3] / t->comm->size;
    return VT_OK;
}

/* The passes of a step. Where they take long, the run can be watched and stopped between microbatches: *cut_at > 0 then. */
static vt_status run_micros(struct trainer *t, struct step_times *times, int *cut_at)
{
    struct stop_look look = stop_look_start(t->micro_ms);
    bool stop = false;
    for (int micro = 0; micro < t->micro_count; micro++) {
        if (t->progress)
            progress_within(t->progress, t->step + 1, micro, t->micro_count);
        if (micro)
            VT_TRY(stop_look(&look, t->comm, t->stop_file, micro, &stop));
        if (stop) {
            *cut_at = micro;
            return VT_OK;
        }
        VT_TRY(run_micro(t, micro, micro == t->micro_count - 1, times));
    }
    return VT_OK;
}

vt_status step_run(struct trainer *t, struct step_result *done)
{
    double started = clock_ms(), mark;
    struct step_result now = {.step = t->step + 1, .lr = schedule_lr(&t->data.schedule, t->step)};
    struct step_times *times = &now.times;
    double graphs_share;
    int cut_at = 0;

    stage_set_step(now.step);
    VT_TRY(graphs_begin_step(t->graphs));
    step_clock_begin(t->clock, now.step);
    t->be->nn.scalars_reset(t->be, t->scalars);
    VT_TRY(run_micros(t, times, &cut_at));
    if (cut_at) {
        step_clock_pause(t->clock);
        *done = (struct step_result){.stop = true, .cut_at = cut_at};
        return VT_OK;
    }

    stage_enter(STAGE_COMM_WAIT);
    times->busy = clock_ms() - started - times->data_wait;
    VT_TRY(bucket_finish(t->buckets, &now.buckets));
    times->comm_exposed = now.buckets.exposed_ms;

    stage_enter(STAGE_OPTIMIZER);
    mark = clock_ms();
    step_clock_mark(t->clock, PART_OPTIMIZER);
    optimizer_step(t->optimizer, &t->weights.device, now.lr, now.step, t->scalars);
    step_clock_mark(t->clock, PART_IDLE);
    int which = (int)(now.step % 2);
    t->be->download(t->be, STREAM_COMPUTE, &t->host_scalars[which], t->scalars, sizeof *t->scalars);
    t->be->event_record(t->be, STREAM_COMPUTE, t->scalars_ready[which]);
    times->optimizer = lap(&mark);

    stage_enter(STAGE_COMM_WAIT);
    VT_TRY(collect(t, signals_stop_requested(t->stop_file), (clock_ms() - started) / t->micro_count, done));
    VT_TRY(graphs_end_step(t->graphs, &graphs_share));
    if (graphs_share >= 0)
        VT_TRY(trainer_decide_graphs(t, graphs_share));
    times->step = clock_ms() - started;
    t->pending = now;
    t->step++;
    t->position += (uint64_t)t->config.data.batch;
    stage_enter(STAGE_IDLE);
    return VT_OK;
}

vt_status step_drain(struct trainer *t, struct step_result *done)
{
    /* What follows trusts the weights; a sum that failed may only show now. */
    VT_TRY(bucket_drain(t->buckets));
    step_clock_pause(t->clock);
    return collect(t, false, 0, done);
}
