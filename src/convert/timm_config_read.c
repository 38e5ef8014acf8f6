/* Reading: every value may be a stranger's. */
#include <stdlib.h>
#include <string.h>

#include "convert/timm_config.h"

void timm_data_defaults(struct timm_data *data)
{
    *data = (struct timm_data){.crop_pct = 0.9};
}

static void free_names(struct timm_data *data)
{
    for (int i = 0; i < data->class_count; i++)
        free(data->class_names[i]);
    free(data->class_names);
    data->class_names = NULL;
    data->class_count = 0;
}

void timm_data_close(struct timm_data *data)
{
    free_names(data);
    *data = (struct timm_data){0};
}

static vt_status read_floats(const struct json *cfg, const char *where, const char *key, int channels, float *out)
{
    const struct json *array = NULL;
    if (!json_find(cfg, key))
        return VT_OK;
    VT_TRY(json_get_array(cfg, where, key, &array));
    if (json_count(array) != (size_t)channels)
        return VT_FAIL(VT_E_FORMAT, "%s.%s: %zu values for %d channels", where, key, json_count(array), channels);
    for (int i = 0; i < channels; i++) {
        double value = 0;
        VT_TRY(json_at_double(array, where, (size_t)i, &value));
        out[i] = (float)value;
    }
    return VT_OK;
}

static vt_status read_model_args(const struct json *root, const char *where, struct vit_config *config)
{
    const struct json *args = NULL;
    if (!json_find(root, "model_args"))
        return VT_OK;
    VT_TRY(json_get_object(root, where, "model_args", &args));
    if (json_find(args, "num_heads")) {
        int64_t heads = 0;
        VT_TRY(json_get_int(args, where, "num_heads", &heads));
        if (heads < 1 || heads > 1024)
            return VT_FAIL(VT_E_FORMAT, "%s: model_args.num_heads: %lld; expected 1 to 1024", where, (long long)heads);
        config->heads = (int)heads;
    }
    if (json_find(args, "act_layer")) {
        const char *name = NULL;
        VT_TRY(json_get_string(args, where, "act_layer", &name));
        if (strcmp(name, "gelu") != 0 && strcmp(name, "gelu_tanh") != 0)
            return VT_FAIL(VT_E_UNSUPPORTED, "%s: model_args.act_layer: %s; expected gelu or gelu_tanh", where, name);
        config->gelu = strcmp(name, "gelu") == 0 ? ACT_GELU_ERF : ACT_GELU_TANH;
    }
    return VT_OK;
}

/* A config.json left behind by another model is worse than none. */
static vt_status check_sizes(const struct json *root, const char *where, const struct vit_config *config)
{
    const struct json *args = json_find(root, "model_args");
    const struct {
        const char *key;
        int value;
    } sizes[] = {{"embed_dim", config->width}, {"depth", config->depth}, {"patch_size", config->patch_size}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct json *said = json_find(args, sizes[i].key);
        if (said && json_kind(said) == JSON_KIND_INT && json_int_of(said) != sizes[i].value)
            return VT_FAIL(VT_E_FORMAT, "%s: model_args.%s: %lld, but the weights have %d: it describes another model",
                           where, sizes[i].key, (long long)json_int_of(said), sizes[i].value);
    }
    return VT_OK;
}

vt_status timm_config_read(const struct json *root, const char *path, struct vit_config *config)
{
    const char *text = NULL;
    if (json_kind(root) != JSON_KIND_OBJECT)
        return VT_FAIL(VT_E_FORMAT, "%s: expected an object", path);
    VT_TRY(check_sizes(root, path, config));
    if (json_find(root, "architecture")) {
        struct vit_config known = *config;
        VT_TRY(json_get_string(root, path, "architecture", &text));
        if (vit_config_named(&known, text) == VT_OK && known.width == config->width)
            config->heads = known.heads;
    }
    VT_TRY(read_model_args(root, path, config));
    const struct json *args = json_find(root, "model_args"); /* what timm builds with; the one outside is its summary */
    const struct json *pool_holder = args && json_find(args, "global_pool") ? args : root;
    if (json_find(pool_holder, "global_pool")) {
        VT_TRY(json_get_string(pool_holder, path, "global_pool", &text));
        if (strcmp(text, "token") != 0 && strcmp(text, "avg") != 0)
            return VT_FAIL(VT_E_UNSUPPORTED, "%s: global_pool: %s; expected token or avg", path, text);
        config->pool = strcmp(text, "token") == 0 ? POOL_CLS : POOL_MEAN;
    }
    const struct json *own = json_find(root, "vitrail"), *cfg = json_find(root, "pretrained_cfg");
    if (own && json_find(own, "layernorm_eps")) {
        double eps = 0;
        VT_TRY(json_get_double(own, path, "layernorm_eps", &eps));
        config->layernorm_eps = (float)eps;
    }
    if (!cfg)
        return VT_OK;
    VT_TRY(read_floats(cfg, path, "mean", config->channels, config->mean));
    return read_floats(cfg, path, "std", config->channels, config->std);
}

static vt_status read_timm_transform(const struct json *cfg, const char *path, struct timm_data *data)
{
    if (json_find(cfg, "crop_pct")) {
        VT_TRY(json_get_double(cfg, path, "crop_pct", &data->crop_pct));
        if (!(data->crop_pct > 0 && data->crop_pct <= 1))
            return VT_FAIL(VT_E_FORMAT, "%s: crop_pct: %g; expected above 0 and at most 1", path, data->crop_pct);
        data->eval_transform[0] = '\0'; /* what another source said is outdone */
    }
    if (json_find(cfg, "interpolation")) {
        const char *text = NULL;
        VT_TRY(json_get_string(cfg, path, "interpolation", &text));
        if (strcmp(text, "bicubic") != 0 && strcmp(text, "bilinear") != 0)
            return VT_FAIL(VT_E_UNSUPPORTED, "%s: interpolation: %s; expected bicubic or bilinear", path, text);
        data->bilinear = strcmp(text, "bilinear") == 0;
        data->eval_transform[0] = '\0';
    }
    return VT_OK;
}

static vt_status read_names(const struct json *root, const char *path, int classes, struct timm_data *data)
{
    const struct json *names = NULL;
    VT_TRY(json_get_array(root, path, "label_names", &names));
    size_t count = json_count(names);
    if (count > (size_t)classes)
        return VT_FAIL(VT_E_FORMAT, "%s: label_names: %zu names for %d classes", path, count, classes);
    free_names(data);
    data->class_names = calloc(count + 1, sizeof *data->class_names);
    if (!data->class_names)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu class names", path, count);
    for (size_t i = 0; i < count; i++) {
        const char *text = NULL;
        VT_TRY(json_at_string(names, path, i, &text));
        if (!(data->class_names[i] = strdup(text)))
            return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu class names", path, count);
        data->class_count++;
    }
    return VT_OK;
}

vt_status timm_config_read_data(const struct json *root, const char *path, int classes, struct timm_data *data)
{
    const char *text = NULL;
    const struct json *own = json_find(root, "vitrail");
    VT_TRY(read_timm_transform(json_find(root, "pretrained_cfg"), path, data));
    if (own && json_find(own, "eval_transform")) {
        VT_TRY(json_get_string(own, path, "eval_transform", &text));
        if (strlen(text) >= sizeof data->eval_transform)
            return VT_FAIL(VT_E_FORMAT, "%s: vitrail.eval_transform: more than %zu characters", path,
                           sizeof data->eval_transform - 1);
        strcpy(data->eval_transform, text);
    }
    return json_find(root, "label_names") ? read_names(root, path, classes, data) : VT_OK;
}
