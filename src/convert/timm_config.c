#include "convert/timm_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* timm's registered plain ViTs: an architecture name must be one of them; model_args then say the exact shape. */
static const char *const architectures[] = {
    "vit_tiny_patch16_224",  "vit_tiny_patch16_384",  "vit_small_patch32_224", "vit_small_patch32_384",
    "vit_small_patch16_224", "vit_small_patch16_384", "vit_small_patch8_224",  "vit_base_patch32_224",
    "vit_base_patch32_384",  "vit_base_patch16_224",  "vit_base_patch16_384",  "vit_base_patch8_224",
    "vit_large_patch32_224", "vit_large_patch32_384", "vit_large_patch16_224", "vit_large_patch16_384",
    "vit_large_patch14_224", "vit_huge_patch14_224",  "vit_giant_patch14_224", "vit_gigantic_patch14_224",
};

/* The nearest registered name: the same sizes, then the same image size; any will do otherwise. */
static const char *architecture(const struct vit_config *c)
{
    const char *best = "vit_base_patch16_224";
    int best_score = 0;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        struct vit_config known = {.image_size = 224};
        VT_CHECK(vit_config_named(&known, architectures[i]) == VT_OK);
        int score = 0;
        if (known.width == c->width && known.depth == c->depth && known.heads == c->heads &&
            known.mlp_width == c->mlp_width)
            score = 4 + 2 * (known.patch_size == c->patch_size) + (known.image_size == c->image_size);
        if (score > best_score) {
            best_score = score;
            best = architectures[i];
        }
    }
    return best;
}

/* timm computes int(embed_dim * mlp_ratio): the ratio must survive the truncation. */
static double mlp_ratio(const struct vit_config *c)
{
    double ratio = (double)c->mlp_width / c->width;
    while ((int)(c->width * ratio) < c->mlp_width)
        ratio = nextafter(ratio, INFINITY);
    return ratio;
}

static const char *pool_name(const struct vit_config *c)
{
    return c->pool == POOL_CLS ? "token" : "avg";
}

static struct json *model_args(const struct vit_config *c)
{
    struct json *args = json_new_object();
    json_set_int(args, "img_size", c->image_size);
    json_set_int(args, "patch_size", c->patch_size);
    json_set_int(args, "in_chans", c->channels);
    json_set_int(args, "embed_dim", c->width);
    json_set_int(args, "depth", c->depth);
    json_set_int(args, "num_heads", c->heads);
    json_set_double(args, "mlp_ratio", mlp_ratio(c));
    json_set_bool(args, "qkv_bias", c->qkv_bias);
    json_set_bool(args, "class_token", c->cls_token);
    json_set_string(args, "global_pool", pool_name(c)); /* the one outside is for people: timm does not pass it on */
    json_set_bool(args, "fc_norm", false);              /* our norm stands before the pooling, whatever the pool */
    if (c->gelu == ACT_GELU_TANH)
        json_set_string(args, "act_layer", "gelu_tanh");
    return args;
}

static struct json *floats(const float *values, int count)
{
    struct json *array = json_new_array();
    for (int i = 0; i < count; i++) {
        char text[32]; /* 0.485 rather than 0.48500001430511475 */
        double shortest = 0;
        snprintf(text, sizeof text, "%.7g", (double)values[i]);
        VT_CHECK(sscanf(text, "%lf", &shortest) == 1);
        json_add_double(array, shortest);
    }
    return array;
}

static struct json *pretrained_cfg(const struct vit_config *c, const char *interpolation, double crop_pct)
{
    struct json *cfg = json_new_object(), *size = json_new_array();
    json_add_int(size, c->channels);
    json_add_int(size, c->image_size);
    json_add_int(size, c->image_size);
    json_set(cfg, "input_size", size);
    json_set_bool(cfg, "fixed_input_size", true);
    json_set_string(cfg, "interpolation", interpolation);
    json_set_double(cfg, "crop_pct", crop_pct);
    json_set_string(cfg, "crop_mode", "center");
    json_set(cfg, "mean", floats(c->mean, c->channels));
    json_set(cfg, "std", floats(c->std, c->channels));
    json_set_int(cfg, "num_classes", c->classes);
    json_set_null(cfg, "pool_size");
    json_set_string(cfg, "first_conv", "patch_embed.proj");
    json_set_string(cfg, "classifier", "head");
    return cfg;
}

char *timm_config_to_text(const struct vit_config *config, const char *interpolation, double crop_pct)
{
    struct json *root = json_new_object(), *own = json_new_object();
    json_set_string(root, "architecture", architecture(config));
    json_set_int(root, "num_classes", config->classes);
    json_set_int(root, "num_features", config->width);
    json_set_string(root, "global_pool", pool_name(config));
    json_set(root, "model_args", model_args(config));
    json_set(root, "pretrained_cfg", pretrained_cfg(config, interpolation, crop_pct));
    json_set_int(own, "pre_logits", config->pre_logits);
    json_set_double(own, "layernorm_eps", (double)config->layernorm_eps);
    json_set(root, "vitrail", own);
    char *text = json_to_pretty_text(root);
    json_free(&root);
    return text;
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

vt_status timm_config_read(const struct json *root, const char *path, struct vit_config *config)
{
    const char *text = NULL;
    config->heads = 0;
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

vt_status timm_config_read_transform(const struct json *root, const char *path, double *crop_pct, bool *bilinear)
{
    const struct json *cfg = json_find(root, "pretrained_cfg");
    if (cfg && json_find(cfg, "crop_pct")) {
        VT_TRY(json_get_double(cfg, path, "crop_pct", crop_pct));
        if (!(*crop_pct > 0 && *crop_pct <= 1))
            return VT_FAIL(VT_E_FORMAT, "%s: crop_pct: %g; expected above 0 and at most 1", path, *crop_pct);
    }
    if (cfg && json_find(cfg, "interpolation")) {
        const char *text = NULL;
        VT_TRY(json_get_string(cfg, path, "interpolation", &text));
        if (strcmp(text, "bicubic") != 0 && strcmp(text, "bilinear") != 0)
            return VT_FAIL(VT_E_UNSUPPORTED, "%s: interpolation: %s; expected bicubic or bilinear", path, text);
        *bilinear = strcmp(text, "bilinear") == 0;
    }
    return VT_OK;
}
