/* Writing. */
#include "convert/timm_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { NAMES_BYTES_MAX = 2 << 20 };

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

/* 0.485 rather than 0.48500001430511475, but the same float. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

static struct json *floats(const float *values, int count)
{
    struct json *array = json_new_array();
    for (int i = 0; i < count; i++)
        json_add_double(array, shortest(values[i]));
    return array;
}

static struct json *pretrained_cfg(const struct vit_config *c, const struct timm_data *data)
{
    struct json *cfg = json_new_object(), *size = json_new_array();
    json_add_int(size, c->channels);
    json_add_int(size, c->image_size);
    json_add_int(size, c->image_size);
    json_set(cfg, "input_size", size);
    json_set_bool(cfg, "fixed_input_size", true);
    json_set_string(cfg, "interpolation", data->bilinear ? "bilinear" : "bicubic");
    json_set_double(cfg, "crop_pct", shortest((float)data->crop_pct));
    json_set_string(cfg, "crop_mode", "center");
    json_set(cfg, "mean", floats(c->mean, c->channels));
    json_set(cfg, "std", floats(c->std, c->channels));
    json_set_int(cfg, "num_classes", c->classes);
    json_set_null(cfg, "pool_size");
    json_set_string(cfg, "first_conv", "patch_embed.proj");
    json_set_string(cfg, "classifier", "head");
    return cfg;
}

/* "label_names" is timm's own key: class names in the order of the logits. */
static void set_names(struct json *root, const struct timm_data *data)
{
    size_t bytes = 0;
    for (int i = 0; i < data->class_count; i++)
        bytes += strlen(data->class_names[i]) + 16;
    if (data->class_count == 0 || bytes > NAMES_BYTES_MAX)
        return;
    struct json *names = json_new_array();
    for (int i = 0; i < data->class_count; i++)
        json_add_string(names, data->class_names[i]);
    json_set(root, "label_names", names);
}

char *timm_config_to_text(const struct vit_config *config, const struct timm_data *data)
{
    struct json *root = json_new_object(), *own = json_new_object();
    json_set_string(root, "architecture", architecture(config));
    json_set_int(root, "num_classes", config->classes);
    json_set_int(root, "num_features", config->width);
    json_set_string(root, "global_pool", pool_name(config));
    json_set(root, "model_args", model_args(config));
    json_set(root, "pretrained_cfg", pretrained_cfg(config, data));
    json_set_int(own, "pre_logits", config->pre_logits);
    json_set_double(own, "layernorm_eps", shortest(config->layernorm_eps));
    if (data->eval_transform[0])
        json_set_string(own, "eval_transform", data->eval_transform);
    json_set(root, "vitrail", own);
    set_names(root, data);
    char *text = json_to_pretty_text(root);
    json_free(&root);
    return text;
}

vt_status timm_config_complete(const char *text, const char *path, const struct timm_data *data, char **out)
{
    struct json *root = NULL;
    VT_TRY(json_parse(text, strlen(text), path, &root));
    /* The parsed tree is ours to change: nothing else has seen it. */
    struct json *own = (struct json *)(uintptr_t)json_find(root, "vitrail");
    if (json_kind(root) == JSON_KIND_OBJECT && own && json_kind(own) == JSON_KIND_OBJECT) {
        if (data->eval_transform[0])
            json_set_string(own, "eval_transform", data->eval_transform);
        set_names(root, data);
    }
    *out = json_to_pretty_text(root);
    json_free(&root);
    return VT_OK;
}
