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
#include "convert/import.h"
#include "convert/timm_config.h"
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
    SET("model.layernorm_eps=%g", m->layernorm_eps);
    SET("model.classes=%d", m->classes);
    SET("data.train=synthetic");
    SET("data.synthetic_classes=%d", m->classes);
#undef SET
    return run_config_load(NULL, list, n, config);
}

/* DIR/NAME -> the store DIR holds step-00000000, as of a run that has not begun. */
static vt_status save_import(const char *file, const char *dir, const struct vit_config *model, struct run_config *config,
                             const struct param_table *table, float *values)
{
    struct comm *comm = NULL;
    double crop_pct;
    bool bilinear;
    char transform[64];
    VT_TRY(import_guess_transform(file, &crop_pct, &bilinear));
    const char *filter = bilinear ? "bilinear" : "bicubic";
    snprintf(transform, sizeof transform, "centre(%g)|%s", crop_pct, filter);
    struct checkpoint_state state = {.config_yaml = run_config_to_text(config),
                                     .model_config_json = timm_config_to_text(model, filter, crop_pct),
                                     .dataset_uri = strdup("imported"),
                                     .eval_transform = strdup(transform),
                                     .channels = model->channels,
                                     .image_size = model->image_size,
                                     .batch = config->data.batch,
                                     .attempt = 1,
                                     .world_size = 1,
                                     .best_metric = NAN,
                                     .version = strdup(version_line())};
    const struct checkpoint_file weights = {"model.safetensors", "", table, values};
    const struct checkpoint_store_desc store = {.dir = dir, .keep = 1, .attempt = 1};
    memcpy(state.mean, model->mean, sizeof state.mean);
    memcpy(state.std, model->std, sizeof state.std);
    vt_status status = world_open(COMM_SELF, &comm);
    if (status == VT_OK)
        status = file_make_dirs(dir);
    if (status == VT_OK)
        status = checkpoint_save(&store, comm, &state, &weights, 1, false);
    world_close(&comm);
    checkpoint_state_close(&state);
    return status;
}

vt_status verb_import(int argc, char **argv)
{
    char **positional;
    int count;
    struct vit_config model;
    struct run_config config;
    struct param_table table = {0};
    VT_TRY(args_parse(argc, argv, NULL, 0, 2, 2, &positional, &count));
    const char *file = positional[0], *dir = positional[1];
    vit_config_defaults(&model);
    VT_TRY(import_guess_config(file, &model));
    VT_TRY(vit_config_check(&model));
    VT_TRY(config_of_model(&model, &config));
    vit_params(&model, &table);
    float *values = calloc((size_t)table.total, sizeof *values);
    VT_CHECK(values);
    vt_status status = import_weights(file, &model, &table, values);
    if (status == VT_OK)
        status = save_import(file, dir, &model, &config, &table, values);
    if (status == VT_OK)
        log_info("wrote %s: %d layers, width %d, %d heads, patch %d, %d px, %d classes", dir, model.depth, model.width, model.heads,
                 model.patch_size, model.image_size, model.classes);
    free(values);
    param_table_close(&table);
    return status;
}

vt_status verb_export(int argc, char **argv)
{
    bool ema = false;
    const struct arg_option options[] = {{"--ema", NULL, &ema}};
    char **positional, folder[CONFIG_PATH_BYTES + 64], source[CONFIG_PATH_BYTES + 128], *bytes = NULL;
    int count;
    size_t size;
    VT_TRY(args_parse(argc, argv, options, 1, 2, 2, &positional, &count));
    const char *file = positional[1], *dot = strrchr(file, '.');
    if (!dot || strcmp(dot, ".safetensors") != 0)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: only .safetensors files are written so far", file);
    VT_TRY(checkpoint_resolve(positional[0], false, folder, sizeof folder));
    VT_TRY(checkpoint_verify(folder));
    VT_TRY(path_join(source, sizeof source, folder, ema ? "ema.safetensors" : "model.safetensors"));
    if (!file_exists(source))
        return VT_FAIL(VT_E_USAGE, "%s has no EMA (train.ema was 0)", folder);
    VT_TRY(file_read(source, SIZE_MAX / 4, &bytes, &size));
    vt_status status = file_write_atomic(file, bytes, size);
    free(bytes);
    if (status == VT_OK)
        log_info("wrote %s", file);
    return status;
}
