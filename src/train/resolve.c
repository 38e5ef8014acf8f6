#include "train/resolve.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/log.h"
#include "base/text.h"
#include "train/class_names.h"
#include "train/doubts.h"

/* Far beyond any run, and far from overflow once multiplied by microbatches or images. */
#define STEPS_MAX ((int64_t)1 << 36)

/* Window-order sizes for data that do not fit in memory (docs/data-format.md, "Order"). */
enum { BLOCK_SAMPLES = 128, STRIPES = 1024, WINDOW_BLOCKS = 8 };

vt_status data_source_open(const char *uri, const char *default_split, int64_t synthetic_samples, int synthetic_classes,
                           struct data_source *out)
{
    *out = (struct data_source){0};
    if (strcmp(uri, "synthetic") == 0) {
        out->samples = synthetic_samples;
        out->classes = synthetic_classes;
        return VT_OK;
    }
    char dir[CONFIG_PATH_BYTES], spec[CONFIG_PATH_BYTES];
    VT_TRY(dataset_parse_uri(uri, default_split, dir, spec, sizeof dir));
    VT_TRY(dataset_open(dir, &out->dataset));
    vt_status status = dataset_split_open(out->dataset, spec, &out->split);
    if (status != VT_OK) {
        data_source_close(out);
        return status;
    }
    struct dataset_split_info info;
    dataset_split_describe(out->split, &info);
    out->samples = info.samples;
    out->fingerprint = info.fingerprint;
    out->classes = dataset_class_count(out->dataset);
    return VT_OK;
}

int data_source_labels(const struct data_source *source)
{
    struct sample_record record;
    int most = 1;
    for (int64_t id = 0; source->split && id < source->samples; id++) {
        dataset_record(source->split, id, &record);
        most = record.label_count > most ? record.label_count : most;
    }
    return most;
}

void data_source_close(struct data_source *source)
{
    dataset_close(&source->dataset);
    *source = (struct data_source){0};
}

static vt_status resolve_pixels(const struct run_config *config, const struct data_source *data, struct vit_config *model)
{
    struct dataset_split_info info = {0};
    if (data->split)
        dataset_split_describe(data->split, &info);
    for (int c = 0; c < model->channels; c++) {
        const struct config_floats *mean = &config->data.mean, *std = &config->data.std;
        if (mean->count && mean->count != model->channels)
            return VT_FAIL(VT_E_USAGE, "data.mean has %d values, expected one per channel (model.channels is %d)",
                           mean->count, model->channels);
        if (std->count && std->count != model->channels)
            return VT_FAIL(VT_E_USAGE, "data.std has %d values, expected one per channel (model.channels is %d)",
                           std->count, model->channels);
        int source = info.channels == model->channels ? c : 0; /* grey statistics serve replicated channels */
        model->mean[c] = mean->count ? (float)mean->value[c] : info.has_stats ? info.mean[source] : 0.5f;
        model->std[c] = std->count ? (float)std->value[c] : info.has_stats ? info.std[source] : 0.5f;
        if (!(model->std[c] > 0))
            return VT_FAIL(VT_E_USAGE, "data.std: channel %d has %g, expected a positive number", c, model->std[c]);
    }
    return VT_OK;
}

static vt_status resolve_model(const struct run_config *config, const struct data_source *data, struct vit_config *model)
{
    vit_config_defaults(model);
    if (strcmp(config->model.name, "custom") != 0)
        VT_TRY(vit_config_named(model, config->model.name));
    model->image_size = config->model.image_size;
    model->channels = config->model.channels;
    if (config->model.patch_size)
        model->patch_size = config->model.patch_size;
    if (config->model.width)
        model->width = config->model.width;
    if (config->model.depth)
        model->depth = config->model.depth;
    if (config->model.heads)
        model->heads = config->model.heads;
    if (config->model.mlp_width)
        model->mlp_width = config->model.mlp_width;
    else if (strcmp(config->model.name, "custom") == 0)
        model->mlp_width = 4 * model->width;
    model->classes = config->model.classes ? config->model.classes : data->classes;
    if (data->classes > model->classes)
        return VT_FAIL(VT_E_USAGE, "model.classes is %d, but the dataset has %d classes", model->classes, data->classes);
    model->pool = config->model.pool == CONFIG_POOL_CLS ? POOL_CLS : POOL_MEAN;
    model->cls_token = config->model.cls_token;
    model->pre_logits = config->model.pre_logits;
    model->qkv_bias = config->model.qkv_bias;
    model->gelu = config->model.gelu == CONFIG_GELU_ERF ? ACT_GELU_ERF : ACT_GELU_TANH;
    model->layernorm_eps = (float)config->model.layernorm_eps;
    model->dropout = (float)config->model.dropout;
    model->pos_dropout = (float)config->model.pos_dropout;
    model->attention_dropout = (float)config->model.attention_dropout;
    model->drop_path = (float)config->model.drop_path;
    model->init = config->model.init == CONFIG_INIT_TIMM ? VIT_INIT_TIMM : VIT_INIT_JAX;
    model->init_std = (float)config->model.init_std;
    model->head_bias = (float)config->model.head_bias;
    VT_TRY(resolve_pixels(config, data, model));
    return vit_config_check(model);
}

/* "auto": what a timm user would expect for the size of the pictures. Small pictures already at the model's size are
 * padded and cropped as is usual for CIFAR and MNIST; photos get Inception crops. */
static vt_status resolve_transforms(const struct run_config *config, const struct data_source *data, struct resolved *out)
{
    struct dataset_split_info info = {0};
    if (data->split)
        dataset_split_describe(data->split, &info);
    bool native = !data->split || (info.width == config->model.image_size && info.height == config->model.image_size);
    const char *train = config->data.transform, *eval = config->data.eval_transform;
    if (strcmp(train, "auto") == 0)
        train = !data->split ? "squash" : native ? "pad_crop(2)|flip(0.5)" : "rrc(0.08,1)|flip(0.5)";
    if (strcmp(eval, "auto") == 0)
        eval = native ? "squash" : "centre(0.875)";
    vt_status status = augment_parse(train, &out->transform);
    if (status != VT_OK)
        return status_prefix(status, "data.transform");
    status = augment_parse(eval, &out->eval_transform);
    return status == VT_OK ? VT_OK : status_prefix(status, "data.eval_transform");
}

static vt_status resolve_order(const struct run_config *config, const struct data_source *data, struct resolved *out)
{
    struct order_desc desc = {.mode = ORDER_FULL,
                              .seed = out->data_seed,
                              .samples = (uint64_t)data->samples,
                              .block_samples = BLOCK_SAMPLES,
                              .stripes = STRIPES,
                              .window_blocks = WINDOW_BLOCKS};
    if (config->data.order == CONFIG_ORDER_WINDOW)
        desc.mode = ORDER_WINDOW;
    if (config->data.order == CONFIG_ORDER_AUTO && data->split) {
        struct dataset_split_info info;
        dataset_split_describe(data->split, &info);
        int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
        if (info.bytes > memory / 2)
            desc.mode = ORDER_WINDOW;
    }
    return order_init(&out->order, &desc);
}

static void resolve_schedule(const struct run_config *config, struct resolved *out)
{
    static const enum schedule_kind kinds[] = {[CONFIG_SCHEDULE_COSINE] = SCHEDULE_COSINE,
                                               [CONFIG_SCHEDULE_LINEAR] = SCHEDULE_LINEAR,
                                               [CONFIG_SCHEDULE_RSQRT] = SCHEDULE_RSQRT,
                                               [CONFIG_SCHEDULE_CONSTANT] = SCHEDULE_CONSTANT};
    int64_t batch = config->data.batch, epoch = out->train.samples;
    out->total_steps = duration_steps(config->train.duration, batch, epoch, 0);
    out->schedule = (struct schedule){
        .kind = kinds[config->optim.schedule],
        .lr = config->optim.lr,
        .min_lr = config->optim.min_lr,
        .warmup_lr = config->optim.warmup_lr,
        .warmup_steps = duration_steps(config->optim.warmup, batch, epoch, out->total_steps),
        .cooldown_steps = duration_steps(config->optim.cooldown, batch, epoch, out->total_steps),
        .total_steps = out->total_steps,
    };
}

static vt_status check_supported(const struct run_config *config)
{
    if (config->train.reduction == CONFIG_REDUCTION_EXACT)
        return VT_FAIL(VT_E_UNSUPPORTED, "train.reduction=exact is not built yet, expected fast");
    return VT_OK;
}

vt_status resolve_checkpoint_model(const struct run_config *config, int classes, struct vit_config *model)
{
    struct data_source data = {.classes = classes ? classes : config->data.synthetic_classes};
    return resolve_model(config, &data, model);
}

static vt_status check_duration(const struct run_config *config, const struct resolved *out)
{
    char text[64];
    duration_format(config->train.duration, text, sizeof text);
    if (out->total_steps > STEPS_MAX)
        return VT_FAIL(VT_E_USAGE, "train.duration: %s is too long, expected at most %lld steps", text, (long long)STEPS_MAX);
    if (out->total_steps < 1)
        return VT_FAIL(VT_E_USAGE, "train.duration: %s is no step, expected at least 1", text);
    return VT_OK;
}

/* A resolution in the name that the config overrules, as timm's img_size does: no mistake, but easily one. */
static void note_image_size(const struct run_config *config)
{
    struct vit_config named = {.image_size = config->model.image_size};
    if (vit_config_named(&named, config->model.name) == VT_OK && named.image_size != config->model.image_size)
        log_info("model.image_size %d is taken, not the %d in model.name %s", config->model.image_size, named.image_size,
                 config->model.name);
}

vt_status resolve_run(const struct run_config *config, struct resolved *out)
{
    vt_status status;
    *out = (struct resolved){0};
    if (!config->data.train[0]) {
        status = VT_FAIL(VT_E_USAGE, "data.train is empty, expected DIR#split or synthetic");
        goto out;
    }
    VT_TRY_OUT(check_supported(config));
    out->data_seed = (uint64_t)(config->data.seed >= 0 ? config->data.seed : config->run.seed);
    VT_TRY_OUT(data_source_open(config->data.train, "train", config->data.synthetic_samples,
                                config->data.synthetic_classes, &out->train));
    if (out->train.samples < 1) {
        status = VT_FAIL(VT_E_USAGE, "data.train: %s has no samples", config->data.train);
        goto out;
    }
    if (config->data.val[0])
        VT_TRY_OUT(data_source_open(config->data.val, "val", config->data.synthetic_samples,
                                    config->data.synthetic_classes, &out->val));
    out->labels = data_source_labels(&out->train);
    if (data_source_labels(&out->val) > out->labels)
        out->labels = data_source_labels(&out->val);
    VT_TRY_OUT(resolve_model(config, &out->train, &out->model));
    note_image_size(config);
    if (out->val.classes > out->model.classes)
        status = VT_FAIL(VT_E_USAGE, "data.val: %s has %d classes, expected at most the model's %d", config->data.val,
                         out->val.classes, out->model.classes);
    VT_TRY_OUT(status);
    if (out->val.dataset && out->train.dataset)
        VT_TRY_OUT(class_names_check_datasets("data.val", out->val.dataset, config->data.val, out->train.dataset,
                                              config->data.train));
    VT_TRY_OUT(resolve_transforms(config, &out->train, out));
    VT_TRY_OUT(resolve_order(config, &out->train, out));
    resolve_schedule(config, out);
    VT_TRY_OUT(check_duration(config, out));
    VT_TRY_OUT(doubts_raise(config, out, cpus_usable()));
out:
    if (status != VT_OK)
        resolved_close(out);
    return status;
}

void resolved_close(struct resolved *resolved)
{
    data_source_close(&resolved->train);
    data_source_close(&resolved->val);
}

static bool matches_some(const struct param_table *table, const char *pattern)
{
    for (int i = 0; i < table->count; i++)
        if (text_glob(pattern, table->rows[i].name))
            return true;
    return false;
}

void resolve_optimizer(const struct run_config *config, const struct param_table *table, struct optimizer_rule *rules,
                       struct optimizer_desc *desc)
{
    const struct config_rules *source = &config->optim.decay_rules;
    int count = 1;
    bool defaults = run_config_is_default(config, "optim.decay_rules");
    /* The config says: first match wins, no match is 1. The optimizer's last match wins: everything first, then reversed. */
    rules[0] = (struct optimizer_rule){.pattern = "*", .value = 1};
    for (int i = 0; i < source->count; i++) {
        const struct config_rule *rule = &source->rule[source->count - 1 - i];
        /* The default rules name parameters that not every model has (a run folder's config writes them out); a user's rule
         * that matches nothing is a mistake. */
        if (!defaults || matches_some(table, rule->pattern))
            rules[count++] = (struct optimizer_rule){.pattern = rule->pattern, .value = (float)rule->value};
    }
    *desc = (struct optimizer_desc){
        .kind = config->optim.name == CONFIG_OPTIM_ADAMW ? OPTIMIZER_ADAMW : OPTIMIZER_SGD,
        .beta1 = (float)config->optim.betas.value[0],
        .beta2 = (float)config->optim.betas.value[1],
        .eps = (float)config->optim.eps,
        .momentum = (float)config->optim.momentum,
        .nesterov = config->optim.nesterov,
        .weight_decay = (float)config->optim.weight_decay,
        .decay_rules = rules,
        .decay_rule_count = count,
        .clip = (float)config->optim.clip,
        .ema_decay = (float)config->train.ema,
        .table = table,
        .end = table->total,
    };
}
