/* Checkpoints of a run: what goes in, what comes back, and the evaluation of the weights they hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stage.h"
#include "checkpoint/checkpoint.h"
#include "convert/import.h"
#include "convert/timm_config.h"
#include "train/signals.h"
#include "train/trainer.h"
#include "train/version.h"

/* The files of a checkpoint as views of the host images. Returns their number. */
static int checkpoint_files(struct trainer *t, struct checkpoint_file files[4])
{
    static const struct {
        const char *name, *prefix;
    } layout[4] = {[WEIGHTS_PARAMS] = {"model.safetensors", ""},
                   [WEIGHTS_M] = {"optimizer.safetensors", "m."},
                   [WEIGHTS_V] = {"optimizer.safetensors", "v."},
                   [WEIGHTS_EMA] = {"ema.safetensors", ""}};
    int count = 0;
    for (int i = 0; i < 4; i++)
        if (t->weights.host[i])
            files[count++] = (struct checkpoint_file){layout[i].name, layout[i].prefix, &t->table, t->weights.host[i]};
    return count;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    VT_CHECK(copy);
    return copy;
}

/* The config.json of the weights, once the state knows its transform and classes. */
static char *describe_weights(const struct trainer *t, const struct checkpoint_state *state)
{
    const struct augment_desc *eval = &t->data.eval_transform;
    struct timm_data data = {.crop_pct = eval->crop == CROP_CENTRE ? (double)eval->crop_fraction : 1.0,
                             .bilinear = eval->filter == FILTER_BILINEAR,
                             .class_names = state->class_names,
                             .class_count = state->class_count};
    snprintf(data.eval_transform, sizeof data.eval_transform, "%s", state->eval_transform);
    return timm_config_to_text(&t->data.model, &data);
}

static void describe_state(struct trainer *t, struct checkpoint_state *state)
{
    char transform[CONFIG_TEXT_BYTES];
    augment_format(&t->data.eval_transform, transform, sizeof transform);
    *state = (struct checkpoint_state){
        .step = t->step,
        .position = t->position,
        .update = t->step - t->skipped,
        .seed = (uint64_t)t->config.run.seed,
        .data_seed = t->data.data_seed,
        .batch = t->config.data.batch,
        .attempt = t->folder.attempt,
        .world_size = t->comm->size,
        .config_yaml = run_config_to_text(&t->config),
        .dataset_fingerprint = t->data.train.fingerprint,
        .dataset_uri = copy_text(t->config.data.train),
        .eval_transform = copy_text(transform),
        .channels = t->data.model.channels,
        .image_size = t->data.model.image_size,
        .best_metric = t->best_metric,
        .best_step = t->best_step,
        .skipped_steps = t->skipped,
        .nonfinite_streak = t->nonfinite_streak,
        .evaluation_owed = t->evaluation_owed,
        .version = copy_text(version_line()),
    };
    if (device_tuning_bytes(&t->device, &state->tuning, &state->tuning_bytes) != VT_OK)
        log_warn("checkpoint without the choices made by timing: %s", status_message());
    memcpy(state->mean, t->data.model.mean, sizeof state->mean);
    memcpy(state->std, t->data.model.std, sizeof state->std);
    const struct dataset *dataset = t->data.train.dataset;
    state->class_count = dataset ? t->data.train.classes : 0;
    state->class_names = calloc((size_t)state->class_count + 1, sizeof *state->class_names);
    VT_CHECK(state->class_names);
    for (int k = 0; k < state->class_count; k++)
        state->class_names[k] = copy_text(dataset_class_name(dataset, k));
    state->model_config_json = describe_weights(t, state);
}

static struct checkpoint_store_desc store_of(const struct trainer *t)
{
    return (struct checkpoint_store_desc){
        .dir = t->folder.checkpoints, .keep = t->config.checkpoint.keep, .attempt = t->folder.attempt};
}

vt_status trainer_save(struct trainer *t, bool is_best)
{
    struct checkpoint_file files[4];
    struct checkpoint_state state;
    const struct checkpoint_store_desc store = store_of(t);
    enum stage previous = stage_enter(STAGE_CHECKPOINT);
    vt_status status = comm_agree(t->comm, weights_download(&t->weights));
    if (status == VT_OK) {
        int count = checkpoint_files(t, files);
        describe_state(t, &state);
        status = checkpoint_save(&store, t->comm, &state, files, count, is_best);
        checkpoint_state_close(&state);
    }
    if (status == VT_OK) {
        t->saved_step = t->step;
        signals_checkpoint_stands();
    }
    stage_enter(previous);
    return status;
}

/* data.order: auto looks at this host's memory, but the order of a run is what it began with. */
static void keep_order(struct trainer *t, const struct run_config *before)
{
    if (t->config.data.order != CONFIG_ORDER_AUTO || before->data.order == CONFIG_ORDER_AUTO)
        return;
    t->config.data.order = before->data.order;
    t->data.order.desc.mode = before->data.order == CONFIG_ORDER_FULL ? ORDER_FULL : ORDER_WINDOW;
}

/* Old checkpoints say auto where the dtype was chosen: what it was is not known, so what it is now has to do. */
static void keep_dtype(const struct trainer *t, struct run_config *before)
{
    if (before->compute.dtype == CONFIG_DTYPE_AUTO)
        before->compute.dtype = t->config.compute.dtype;
}

/* The run must go on as the same run: same config where it matters, same data. */
static vt_status check_same_run(struct trainer *t, const char *path, const struct checkpoint_state *state)
{
    struct run_config before;
    VT_TRY(run_config_from_text(state->config_yaml, path, NULL, 0, &before));
    keep_order(t, &before);
    keep_dtype(t, &before);
    VT_TRY(run_config_check_resume(&before, &t->config));
    if (state->dataset_fingerprint != t->data.train.fingerprint)
        return VT_FAIL(VT_E_USAGE, "data.train: %s has fingerprint %016llx, but %s was trained on %016llx: the data changed",
                       t->config.data.train, (unsigned long long)t->data.train.fingerprint, path,
                       (unsigned long long)state->dataset_fingerprint);
    return VT_OK;
}

/* The device counts on from there: Adam's bias correction leaves skipped steps out. */
static vt_status put_back_skipped(struct trainer *t)
{
    t->host_scalars[0] = (struct step_scalars){.skipped = (uint32_t)t->skipped};
    t->be->upload(t->be, STREAM_COMPUTE, t->scalars, &t->host_scalars[0], sizeof *t->scalars);
    return t->be->synchronise(t->be);
}

static vt_status load_run(struct trainer *t, const char *path)
{
    struct checkpoint_state state = {0};
    struct checkpoint_file files[4];
    vt_status status;
    VT_TRY_OUT(checkpoint_read_state(path, &state));
    VT_TRY_OUT(check_same_run(t, path, &state));
    VT_TRY_OUT(checkpoint_read_files(path, files, checkpoint_files(t, files)));
    VT_TRY_OUT(weights_upload(&t->weights));
    t->step = state.step;
    t->position = state.position;
    t->best_metric = state.best_metric;
    t->best_step = state.best_step;
    t->skipped = state.skipped_steps;
    t->nonfinite_streak = state.nonfinite_streak;
    t->evaluation_owed = state.evaluation_owed && t->has_evaluator;
    t->saved_step = state.step;
    signals_checkpoint_stands();
    VT_TRY_OUT(put_back_skipped(t));
    log_info("resumed    from %s: step %lld, attempt %d", path, (long long)t->step, t->folder.attempt);
out:
    checkpoint_state_close(&state);
    return status;
}

/* A new run: weights by their initialisation, or from model.init_from (fine-tuning); the EMA starts at the weights. Every
 * rank makes all of them: that takes no longer than to send them, and they cannot differ. */
static vt_status start_new(struct trainer *t)
{
    float *params = t->weights.host[WEIGHTS_PARAMS], *ema = t->weights.host[WEIGHTS_EMA];
    int threads = t->config.compute.threads ? t->config.compute.threads : t->comm->cpus;
    param_table_initialise(&t->table, (uint64_t)t->config.run.seed, threads, params);
    if (t->config.model.init_from[0])
        VT_TRY(import_weights(t->config.model.init_from, &t->data.model, &t->table, params));
    if (ema)
        memcpy(ema, params, (size_t)t->table.total * sizeof *ema);
    return weights_upload(&t->weights);
}

/* There were checkpoints, but none is whole: starting from the beginning would overwrite what can perhaps be saved. */
static vt_status check_none_lost(const struct trainer *t)
{
    char latest[CONFIG_PATH_BYTES + 32];
    VT_TRY(path_join(latest, sizeof latest, t->folder.checkpoints, "latest"));
    if (file_exists(latest))
        return VT_FAIL(VT_E_FORMAT, "%s: every checkpoint is damaged; expected one to go on from, or a new run.dir", t->folder.checkpoints);
    return VT_OK;
}

vt_status trainer_restore(struct trainer *t)
{
    bool found = false;
    char path[CONFIG_PATH_BYTES + 128];
    if (t->folder.dir[0]) {
        const struct checkpoint_store_desc store = store_of(t);
        VT_TRY(checkpoint_claim(&store, t->comm));
        VT_TRY(checkpoint_find_latest(t->folder.checkpoints, t->comm, &found, path, sizeof path));
    }
    if (t->folder.dir[0] && !found)
        VT_TRY(comm_agree(t->comm, t->comm->rank == 0 ? check_none_lost(t) : VT_OK));
    VT_TRY(comm_agree(t->comm, found ? load_run(t, path) : start_new(t)));
    /* From here on the config says what was decided, in RUN/config.yaml and in checkpoints. */
    t->config.data.order = t->data.order.desc.mode == ORDER_FULL ? CONFIG_ORDER_FULL : CONFIG_ORDER_WINDOW;
    return VT_OK;
}

vt_status trainer_evaluate(struct trainer *t, bool may_stop, struct evaluation *out)
{
    bool ema = t->config.eval.ema && t->weights.device.ema;
    struct vit_weights weights = ema ? weights_ema_view(&t->weights) : weights_view(&t->weights);
    struct evaluate_desc desc = {.source = &t->data.val,
                                 .transform = &t->data.eval_transform,
                                 .batch = t->config.eval.batch ? t->config.eval.batch : t->config.data.batch,
                                 .threads = t->threads_loader,
                                 .seed = t->data.data_seed,
                                 .watchdog = t->watchdog,
                                 .may_stop = may_stop,
                                 .stop_file = t->stop_file};
    return evaluate_run(&t->evaluator, t->comm, &weights, &desc, out);
}
