#include "train/inference.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "train/resolve.h"

enum { INFERENCE_ROWS = 16 };

static vt_status read_model(const struct inference_desc *desc, struct inference *inf)
{
    VT_TRY(checkpoint_resolve(desc->path, desc->prefer_best, inf->checkpoint, sizeof inf->checkpoint));
    VT_TRY(checkpoint_read_state(inf->checkpoint, &inf->state));
    VT_TRY(run_config_from_text(inf->state.config_yaml, inf->checkpoint, NULL, 0, &inf->config));
    VT_TRY(resolve_checkpoint_model(&inf->config, inf->state.class_count, &inf->model));
    memcpy(inf->model.mean, inf->state.mean, sizeof inf->model.mean);
    memcpy(inf->model.std, inf->state.std, sizeof inf->model.std);
    vt_status status = augment_parse(inf->state.eval_transform, &inf->transform);
    if (status != VT_OK)
        return status_prefix(status, "%s: evaluation transform", inf->checkpoint);
    vit_params(&inf->model, &inf->table);
    return VT_OK;
}

static vt_status read_weights(const struct inference_desc *desc, struct inference *inf)
{
    char path[CONFIG_PATH_BYTES + 128];
    VT_TRY(path_join(path, sizeof path, inf->checkpoint, "ema.safetensors"));
    inf->ema = !desc->raw_weights && inf->config.eval.ema && file_exists(path);
    struct checkpoint_file file = {.name = inf->ema ? "ema.safetensors" : "model.safetensors",
                                   .prefix = "",
                                   .table = &inf->table,
                                   .values = inf->weights.host[WEIGHTS_PARAMS]};
    VT_TRY(checkpoint_read_files(inf->checkpoint, &file, 1));
    return weights_upload(&inf->weights);
}

static vt_status plan(const struct inference_desc *desc, struct inference *inf)
{
    enum config_dtype wanted = desc->dtype == CONFIG_DTYPE_AUTO ? inf->config.compute.dtype : desc->dtype;
    /* A run's bf16 may be what its hardware suggested: elsewhere fp32 is faster, and no less exact. */
    bool bf16 = desc->dtype == CONFIG_DTYPE_BF16 || (wanted != CONFIG_DTYPE_FP32 && inf->be->bf16_native);
    enum dtype dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;

    struct evaluator_desc evaluator = {.model = inf->model,
                                       .params = &inf->table,
                                       .rows = desc->rows ? desc->rows : INFERENCE_ROWS,
                                       .labels = desc->labels ? desc->labels : 1,
                                       .dtype = dtype,
                                       .dtype_stream = bf16 ? inf->be->stream_preferred : DTYPE_F32,
                                       .loss = inf->config.loss.name == CONFIG_LOSS_SOFTMAX ? LOSS_SOFTMAX : LOSS_SIGMOID};
    struct weights_desc weights = {.table = &inf->table, .dtype = dtype};
    VT_TRY(evaluator_open(&inf->evaluator, inf->be, &evaluator));
    VT_TRY(weights_open(&inf->weights, inf->be, &weights));
    VT_TRY(evaluator_allocate(&inf->evaluator));
    return inf->be->reserve_workspace(inf->be);
}

/* A checkpoint from a GPU is no less good on a CPU. */
static vt_status open_device(const struct inference_desc *desc, struct comm *comm, struct inference *inf)
{
    struct device_desc device = {.wanted = inf->config.compute.device, .threads = desc->threads};
    if (device.wanted == CONFIG_DEVICE_CUDA)
        device.wanted = CONFIG_DEVICE_AUTO;
    VT_TRY(device_open(&device, comm, &inf->device));
    inf->be = inf->device.be;
    return VT_OK;
}

vt_status inference_open(const struct inference_desc *desc, struct comm *comm, struct inference *out)
{
    vt_status status;
    memset(out, 0, sizeof *out);
    VT_TRY_OUT(comm_agree(comm, read_model(desc, out)));
    VT_TRY_OUT(open_device(desc, comm, out));
    VT_TRY_OUT(plan(desc, out));
    VT_TRY_OUT(read_weights(desc, out));
    return VT_OK;
out:
    inference_close(out);
    return status;
}

void inference_close(struct inference *inf)
{
    evaluator_close(&inf->evaluator);
    weights_close(&inf->weights);
    device_close(&inf->device);
    param_table_close(&inf->table);
    checkpoint_state_close(&inf->state);
    memset(inf, 0, sizeof *inf);
}

vt_status inference_forward(struct inference *inf, struct slot *slot)
{
    struct backend *be = inf->be;
    struct evaluator *evaluator = &inf->evaluator;
    struct vit_weights weights = weights_view(&inf->weights);
    struct vit_batch batch;
    batch_upload(&evaluator->ring, slot, &batch);
    vit_forward(evaluator->vit, &weights, &batch);
    batch_consumed(&evaluator->ring);
    be->download(be, STREAM_COMPUTE, evaluator->logits, vit_logits(evaluator->vit),
                 (size_t)slot->capacity * (size_t)inf->model.classes * sizeof(float));
    VT_TRY(be->synchronise(be));
    return batch_recycle(&evaluator->ring, NULL, true);
}

void inference_probabilities(const struct inference *inf, const float *logits, float *probability)
{
    int classes = inf->model.classes;
    if (inf->config.loss.name == CONFIG_LOSS_SIGMOID) {
        for (int k = 0; k < classes; k++)
            probability[k] = 1 / (1 + expf(-logits[k]));
        return;
    }
    double sum = 0;
    float best = logits[0];
    for (int k = 1; k < classes; k++)
        best = logits[k] > best ? logits[k] : best;
    for (int k = 0; k < classes; k++)
        sum += exp((double)logits[k] - best);
    for (int k = 0; k < classes; k++)
        probability[k] = (float)(exp((double)logits[k] - best) / sum);
}

const char *inference_class_name(const struct inference *inf, int class_id, char *text, size_t bytes)
{
    if (class_id >= 0 && class_id < inf->state.class_count && inf->state.class_names[class_id][0])
        snprintf(text, bytes, "%s", inf->state.class_names[class_id]);
    else
        snprintf(text, bytes, "class %d", class_id);
    return text;
}
