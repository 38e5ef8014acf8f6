/* import and export: weights from and to other tools. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "cli/cli.h"
#include "convert/export.h"
#include "convert/import.h"
#include "convert/timm_config.h"
#include "input/augment.h"
#include "model/vit_config.h"
#include "tensor/params.h"
#include "train/version.h"

enum { OVERRIDES = 20, OVERRIDE_BYTES = 96 };

/* The run config that describes an imported model: every size said, so that eval and predict need nothing else. */
static vt_status config_of_model(const struct vit_config *m, struct run_config *config)
{
    char text[OVERRIDES][OVERRIDE_BYTES];
    const char *list[OVERRIDES];
    int n = 0;
#define SET(...) (snprintf(text[n], OVERRIDE_BYTES, __VA_ARGS__), list[n] = text[n], n++)
    SET("model.name=custom");
    SET("model.image_size=%d", m->image_size);
    SET("model.patch_size=%d", m->patch_size);
    SET("model.channels=%d", m->channels);
    SET("model.width=%d", m->width);
    SET("model.depth=%d", m->depth);
    SET("model.heads=%d", m->heads);
    SET("model.mlp_width=%d", m->mlp_width);
    SET("model.pool=%s", m->pool == POOL_CLS ? "cls" : "mean");
    SET("model.cls_token=%s", m->cls_token ? "true" : "false");
    SET("model.pre_logits=%d", m->pre_logits);
    SET("model.qkv_bias=%s", m->qkv_bias ? "true" : "false");
    SET("model.gelu=%s", m->gelu == ACT_GELU_TANH ? "tanh" : "erf");
    SET("model.layernorm_eps=%.9g", (double)m->layernorm_eps);
    SET("model.classes=%d", m->classes);
    SET("data.train=synthetic");
    SET("data.synthetic_classes=%d", m->classes);
#undef SET
    return run_config_load(NULL, list, n, config);
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    VT_CHECK(copy);
    return copy;
}

/* The state of a run that has not begun. */
static void describe_state(const struct import_description *from, const struct run_config *config, const char *transform,
                           struct checkpoint_state *state)
{
    const struct vit_config *model = &from->model;
    struct timm_data data = from->data;
    snprintf(data.eval_transform, sizeof data.eval_transform, "%s", transform);
    *state = (struct checkpoint_state){.config_yaml = run_config_to_text(config),
                                       .model_config_json = timm_config_to_text(model, &data),
                                       .dataset_uri = copy_text("imported"),
                                       .eval_transform = copy_text(transform),
                                       .channels = model->channels,
                                       .image_size = model->image_size,
                                       .batch = config->data.batch,
                                       .attempt = 1,
                                       .world_size = 1,
                                       .best_metric = NAN,
                                       .class_names = calloc((size_t)data.class_count + 1, sizeof(char *)),
                                       .version = copy_text(version_line())};
    VT_CHECK(state->class_names);
    for (; state->class_count < data.class_count; state->class_count++)
        state->class_names[state->class_count] = copy_text(data.class_names[state->class_count]);
    memcpy(state->mean, model->mean, sizeof state->mean);
    memcpy(state->std, model->std, sizeof state->std);
}

/* DIR/NAME -> the store DIR holds step-00000000. */
static vt_status save_import(const char *dir, const struct checkpoint_state *state, const struct param_table *table,
                             float *values)
{
    struct comm *comm = NULL;
    const struct checkpoint_file weights = {"model.safetensors", "", table, values};
    const struct checkpoint_store_desc store = {.dir = dir, .keep = 1, .attempt = 1};
    vt_status status = world_open(COMM_SELF, &comm);
    if (status == VT_OK)
        status = file_make_dirs(dir);
    if (status == VT_OK)
        status = checkpoint_save(&store, comm, state, &weights, 1, false);
    world_close(&comm);
    return status;
}

/* The transform must be one that evaluation can do: it may be a stranger's. */
static vt_status check_transform(const struct import_description *from, const char *transform)
{
    struct augment_desc desc;
    vt_status status = augment_parse(transform, &desc);
    if (status == VT_OK)
        status = augment_check(&desc, from->model.image_size);
    return status == VT_OK ? VT_OK : status_prefix(status, "%s: evaluation transform", from->file);
}

static vt_status import_to(const char *dir, const struct import_description *from)
{
    char transform[sizeof from->data.eval_transform];
    struct run_config config;
    struct checkpoint_state state = {0};
    struct param_table table = {0};
    import_eval_transform(from, transform, sizeof transform);
    VT_TRY(check_transform(from, transform));
    VT_TRY(config_of_model(&from->model, &config));
    vit_params(&from->model, &table);
    float *values = calloc((size_t)table.total, sizeof *values);
    vt_status status = VT_OK;
    if (!values)
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %lld parameters", from->file, (long long)table.parameters);
    VT_TRY_OUT(status);
    VT_TRY_OUT(import_weights(from->file, &from->model, &table, values));
    describe_state(from, &config, transform, &state);
    VT_TRY_OUT(save_import(dir, &state, &table, values));
out:
    checkpoint_state_close(&state);
    free(values);
    param_table_close(&table);
    return status;
}

vt_status verb_import(int argc, char **argv)
{
    const char *heads = NULL, *config_json = NULL;
    const struct arg_option options[] = {{"--heads", &heads, NULL}, {"--config", &config_json, NULL}};
    char **positional;
    int count;
    long value = 0;
    struct import_description from;
    VT_TRY(args_parse(argc, argv, options, 2, 2, 2, &positional, &count));
    if (heads)
        VT_TRY(args_int("--heads", heads, 1, 1024, &value));
    const struct import_hints hints = {.heads = (int)value, .config_json = config_json};
    VT_TRY(import_describe(positional[0], &hints, &from));
    vt_status status = import_to(positional[1], &from);
    const struct vit_config *model = &from.model;
    if (status == VT_OK)
        log_info("wrote %s: %d layers, width %d, %d heads, patch %d, %d px, %d classes", positional[1], model->depth,
                 model->width, model->heads, model->patch_size, model->image_size, model->classes);
    import_description_close(&from);
    return status;
}

/* The text that describes the checkpoint's weights, completed where it was written by a version that said less. */
static vt_status describe_checkpoint(const char *folder, char **text)
{
    struct checkpoint_state state = {0};
    struct timm_data data = {0};
    VT_TRY(checkpoint_read_state(folder, &state));
    snprintf(data.eval_transform, sizeof data.eval_transform, "%s", state.eval_transform);
    data.class_names = state.class_names;
    data.class_count = state.class_count;
    vt_status status = timm_config_complete(state.model_config_json, folder, &data, text);
    checkpoint_state_close(&state);
    return status;
}

vt_status verb_export(int argc, char **argv)
{
    bool ema = false;
    const struct arg_option options[] = {{"--ema", NULL, &ema}};
    char **positional, folder[CONFIG_PATH_BYTES + 64], source[CONFIG_PATH_BYTES + 128], *config = NULL;
    int count;
    VT_TRY(args_parse(argc, argv, options, 1, 2, 2, &positional, &count));
    const char *file = positional[1], *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".safetensors") != 0)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: only .safetensors files are written so far", file);
    VT_TRY(checkpoint_resolve(positional[0], false, folder, sizeof folder));
    VT_TRY(checkpoint_verify(folder));
    VT_TRY(path_join(source, sizeof source, folder, ema ? "ema.safetensors" : "model.safetensors"));
    if (!file_exists(source))
        return VT_FAIL(VT_E_USAGE, "%s has no EMA (train.ema was 0)", folder);
    VT_TRY(describe_checkpoint(folder, &config));
    vt_status status = export_weights(source, config, file);
    free(config);
    if (status == VT_OK)
        log_info("wrote %s", file);
    return status;
}
