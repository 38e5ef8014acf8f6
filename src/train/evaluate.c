#include "train/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/stage.h"
#include "train/stop_look.h"

vt_status evaluator_open(struct evaluator *evaluator, struct backend *be, const struct evaluator_desc *desc)
{
    *evaluator = (struct evaluator){.be = be, .model = desc->model};
    struct batch_shape shape = {desc->rows, desc->model.image_size, desc->model.channels, desc->labels};
    struct vit_desc vit = {.config = desc->model,
                           .params = desc->params,
                           .batch = desc->rows,
                           .dtype = desc->dtype,
                           .dtype_stream = desc->dtype_stream,
                           .training = false,
                           .loss = desc->loss,
                           .smoothing = 0,
                           .labels = shape.labels};
    evaluator->ring.shape = shape;
    return vit_open(&vit, be, &evaluator->vit);
}

vt_status evaluator_allocate(struct evaluator *evaluator)
{
    struct backend *be = evaluator->be;
    struct batch_shape shape = evaluator->ring.shape;
    VT_TRY(vit_allocate(evaluator->vit));
    VT_TRY(batch_ring_open(&evaluator->ring, be, &shape));
    size_t logits = (size_t)shape.rows * (size_t)evaluator->model.classes * sizeof(float);
    void *memory;
    VT_TRY(be->alloc(be, MEMORY_HOST, logits, "evaluation logits", &memory));
    evaluator->logits = memory;
    VT_TRY(be->alloc(be, MEMORY_DEVICE, sizeof *evaluator->scalars, "evaluation counters", &memory));
    evaluator->scalars = memory;
    return VT_OK;
}

void evaluator_close(struct evaluator *evaluator)
{
    struct backend *be = evaluator->be;
    if (!be)
        return;
    vit_close(&evaluator->vit);
    batch_ring_close(&evaluator->ring);
    if (evaluator->logits)
        be->release(be, MEMORY_HOST, evaluator->logits);
    if (evaluator->scalars)
        be->release(be, MEMORY_DEVICE, evaluator->scalars);
    *evaluator = (struct evaluator){0};
}

void evaluation_close(struct evaluation *evaluation)
{
    free(evaluation->class_count);
    *evaluation = (struct evaluation){0};
}

int evaluate_best_class(const float *logits, int classes)
{
    int best = 0;
    for (int k = 1; k < classes; k++)
        if (logits[k] > logits[best])
            best = k;
    return best;
}

/* Count this microbatch's rows by class from the logits on the host. */
static void count_rows(struct evaluator *evaluator, const struct slot *slot, const struct evaluate_desc *desc,
                       struct evaluation *out)
{
    for (int row = 0; row < slot->rows; row++) {
        const float *logits = evaluator->logits + (size_t)row * (size_t)evaluator->model.classes;
        int32_t label = slot->label_id[row * slot->labels_per_row];
        out->seen++;
        if (label >= 0 && label < out->classes) {
            out->class_count[label]++;
            out->class_correct[label] += evaluate_best_class(logits, out->classes) == label;
        }
        if (desc->on_row)
            desc->on_row(desc->context, slot->sample[row], label, logits, out->classes);
    }
}

static vt_status run_rank(struct evaluator *evaluator, struct comm *comm, struct loader *loader, int64_t steps,
                          const struct vit_weights *weights, const struct evaluate_desc *desc, struct evaluation *out)
{
    struct stop_look look = stop_look_start(0);
    int64_t micros = 0;
    struct backend *be = evaluator->be;
    size_t logits_bytes = (size_t)evaluator->ring.shape.rows * (size_t)evaluator->model.classes * sizeof(float);
    for (int64_t step = 0; step < steps;) {
        struct slot *slot;
        struct vit_batch batch;
        VT_TRY(loader_next(loader, &slot));
        bool last = slot->micro == slot->micro_count - 1;
        if (slot->rows) {
            batch_upload(&evaluator->ring, slot, &batch);
            vit_forward(evaluator->vit, weights, &batch);
            vit_loss(evaluator->vit, &batch, 0, NULL, evaluator->scalars);
            be->download(be, STREAM_COMPUTE, evaluator->logits, vit_logits(evaluator->vit), logits_bytes);
            batch_consumed(&evaluator->ring);
            VT_TRY(be->synchronise(be));
            count_rows(evaluator, slot, desc, out);
            VT_TRY(batch_recycle(&evaluator->ring, loader, true));
        } else {
            loader_release(loader, slot);
        }
        watchdog_kick(desc->watchdog);
        step += last;
        micros++;
        if (desc->may_stop && step < steps)
            VT_TRY(stop_look(&look, comm, desc->stop_file, micros, &out->stopped));
        if (out->stopped)
            break;
    }
    return VT_OK;
}

/* Sum the ranks' counts; every rank gets the whole result. */
static vt_status reduce(struct evaluator *evaluator, struct comm *comm, int64_t samples, struct evaluation *out)
{
    struct backend *be = evaluator->be;
    struct step_scalars scalars;
    be->download(be, STREAM_COMPUTE, &scalars, evaluator->scalars, sizeof scalars);
    VT_TRY(be->synchronise(be));
    int64_t counts[3] = {out->seen, (int64_t)scalars.correct1, (int64_t)scalars.correct5};
    VT_TRY(comm->all_reduce(comm, &scalars.loss_sum, 1, DTYPE_F64, REDUCE_SUM));
    VT_TRY(comm->all_reduce(comm, counts, 3, DTYPE_I64, REDUCE_SUM));
    VT_TRY(comm->all_reduce(comm, out->class_count, 2 * (int64_t)out->classes, DTYPE_I64, REDUCE_SUM));
    VT_CHECKF(counts[0] == samples, "evaluation saw %lld of %lld samples", (long long)counts[0], (long long)samples);
    out->seen = counts[0];
    out->loss = scalars.loss_sum / (double)samples;
    out->top1 = (double)counts[1] / (double)samples;
    out->top5 = (double)counts[2] / (double)samples;
    return VT_OK;
}

vt_status evaluate_run(struct evaluator *evaluator, struct comm *comm, const struct vit_weights *weights,
                       const struct evaluate_desc *desc, struct evaluation *out)
{
    vt_status status;
    struct loader *loader = NULL;
    enum stage previous = stage_enter(STAGE_EVAL);
    int64_t samples = desc->source->samples;
    *out = (struct evaluation){.classes = evaluator->model.classes};
    out->class_count = calloc(2 * (size_t)out->classes, sizeof(int64_t));
    VT_CHECK(out->class_count);
    out->class_correct = out->class_count + out->classes;

    struct loader_desc input = {.split = desc->source->split,
                                .synthetic_samples = samples,
                                .synthetic_classes = desc->source->classes,
                                .augment = *desc->transform,
                                .image_size = evaluator->model.image_size,
                                .channels = evaluator->model.channels,
                                .rank = comm->rank,
                                .ranks = comm->size,
                                .batch = desc->batch,
                                .steps = (samples + desc->batch - 1) / desc->batch,
                                .total_positions = samples,
                                .threads = desc->threads,
                                .seed = desc->seed};
    struct order_desc order = {.mode = ORDER_SEQUENTIAL, .samples = (uint64_t)samples};
    VT_TRY_OUT(order_init(&input.order, &order));
    evaluator->be->nn.scalars_reset(evaluator->be, evaluator->scalars);
    VT_TRY_OUT(loader_open(&input, evaluator->ring.slots, BATCH_SLOTS, &loader));
    VT_TRY_OUT(run_rank(evaluator, comm, loader, input.steps, weights, desc, out));
    if (!out->stopped)
        VT_TRY_OUT(reduce(evaluator, comm, samples, out));
out:
    loader_close(&loader);
    stage_enter(previous);
    if (status != VT_OK)
        evaluation_close(out);
    return status;
}
