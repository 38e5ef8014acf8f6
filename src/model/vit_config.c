#include "model/vit_config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Dosovitskiy et al. 2021 table 1 (B, L, H); Touvron et al. 2021 (Ti, S); Zhai et al. 2022 table 2 (g, G). */
static const struct family {
    const char *letter, *timm;
    int width, depth, heads, mlp_width;
} families[] = {
    {"Ti", "tiny", 192, 12, 3, 768},       {"S", "small", 384, 12, 6, 1536},  {"B", "base", 768, 12, 12, 3072},
    {"L", "large", 1024, 24, 16, 4096},    {"H", "huge", 1280, 32, 16, 5120}, {"g", "giant", 1408, 40, 16, 6144},
    {"G", "gigantic", 1664, 48, 16, 8192},
};
enum { FAMILIES = sizeof families / sizeof *families };

static const char usual_names[] =
    "Ti/16 S/16 S/32 B/8 B/16 B/32 L/14 L/16 L/32 H/14 g/14 G/14, vit_s16, vit_base_patch16_224 (any patch size goes)";

/* Only g and G differ by case alone. */
static bool same_letter(const char *text, size_t length, const char *letter)
{
    if (strlen(letter) != length)
        return false;
    return tolower((unsigned char)letter[0]) == 'g' ? strncmp(text, letter, length) == 0
                                                    : strncasecmp(text, letter, length) == 0;
}

/* "S/16", "vit_s16", "s16". */
static const struct family *parse_short(const char *name, const char **patch)
{
    if (strncmp(name, "vit_", 4) == 0)
        name += 4;
    size_t letters = 0;
    while (isalpha((unsigned char)name[letters]))
        letters++;
    *patch = name + letters + (name[letters] == '/');
    for (int i = 0; i < FAMILIES; i++)
        if (same_letter(name, letters, families[i].letter))
            return &families[i];
    return NULL;
}

/* "vit_base_patch16_224", "deit_small_patch16_224.fb_in1k". */
static const struct family *parse_timm(const char *name, const char **patch)
{
    const char *start = strchr(name, '_');
    if (!start || (strncmp(name, "vit_", 4) != 0 && strncmp(name, "deit_", 5) != 0))
        return NULL;
    start++;
    for (int i = 0; i < FAMILIES; i++) {
        size_t length = strlen(families[i].timm);
        if (strncmp(start, families[i].timm, length) == 0 && strncmp(start + length, "_patch", 6) == 0) {
            *patch = start + length + 6;
            return &families[i];
        }
    }
    return NULL;
}

vt_status vit_config_named(struct vit_config *config, const char *name)
{
    const char *patch = "";
    const struct family *family = parse_timm(name, &patch);
    bool timm = family != NULL;
    if (!timm)
        family = parse_short(name, &patch);
    char *end = NULL;
    long patch_size = isdigit((unsigned char)*patch) ? strtol(patch, &end, 10) : 0;
    long image_size = 0;
    if (timm && end && *end == '_' && isdigit((unsigned char)end[1])) {
        image_size = strtol(end + 1, &end, 10);
        if (*end == '.')
            end += strlen(end); /* timm's training tag */
    }
    if (!family || patch_size < 1 || patch_size > 1024 || image_size > 65536 || (end && *end != '\0'))
        return VT_FAIL(VT_E_USAGE, "model.name: no model \"%s\"; expected one of %s", name, usual_names);
    config->width = family->width;
    config->depth = family->depth;
    config->heads = family->heads;
    config->mlp_width = family->mlp_width;
    config->patch_size = (int)patch_size;
    if (image_size > 0)
        config->image_size = (int)image_size;
    return VT_OK;
}

int vit_config_named_heads(int width, int depth, int mlp_width)
{
    for (int i = 0; i < FAMILIES; i++)
        if (families[i].width == width && families[i].depth == depth && families[i].mlp_width == mlp_width)
            return families[i].heads;
    return 0;
}

void vit_config_defaults(struct vit_config *config)
{
    config->image_size = 224;
    config->channels = 3;
    config->classes = 1000;
    config->pool = POOL_CLS;
    config->cls_token = true;
    config->pre_logits = 0;
    config->qkv_bias = true;
    config->gelu = ACT_GELU_ERF;
    config->layernorm_eps = 1e-6f;
    config->dropout = config->pos_dropout = config->attention_dropout = config->drop_path = 0;
    for (int c = 0; c < 4; c++)
        config->mean[c] = config->std[c] = 0.5f;
    config->init = VIT_INIT_TIMM;
    config->init_std = 0;
    config->head_bias = 0;
}

static vt_status check_range(const char *key, int value, int low, int high)
{
    if (value < low || value > high)
        return VT_FAIL(VT_E_USAGE, "%s: %d is out of range; expected %d to %d", key, value, low, high);
    return VT_OK;
}

static vt_status check_rate(const char *key, float rate)
{
    if (!(rate >= 0 && rate < 1))
        return VT_FAIL(VT_E_USAGE, "%s: %g is no rate; expected 0 <= rate < 1", key, (double)rate);
    return VT_OK;
}

static vt_status check_sizes(const struct vit_config *c)
{
    VT_TRY(check_range("model.image_size", c->image_size, 1, 16384));
    VT_TRY(check_range("model.patch_size", c->patch_size, 1, 1024));
    VT_TRY(check_range("model.channels", c->channels, 1, 4));
    VT_TRY(check_range("model.width", c->width, 1, 65536));
    VT_TRY(check_range("model.depth", c->depth, 1, 1024));
    VT_TRY(check_range("model.heads", c->heads, 1, 1024));
    VT_TRY(check_range("model.mlp_width", c->mlp_width, 1, 262144));
    VT_TRY(check_range("model.classes", c->classes, 1, 10000000));
    VT_TRY(check_range("model.pre_logits", c->pre_logits, 0, 65536));
    if (c->image_size % c->patch_size != 0)
        return VT_FAIL(VT_E_USAGE, "model.image_size: %d is not a multiple of model.patch_size %d", c->image_size,
                       c->patch_size);
    if (c->width % c->heads != 0)
        return VT_FAIL(VT_E_USAGE, "model.heads: %d does not divide model.width %d", c->heads, c->width);
    return VT_OK;
}

/* The element of a row of the parameter table has a 32-bit number (random draws count them). */
static vt_status check_rows(const struct vit_config *c)
{
    int64_t head = (int64_t)(c->pre_logits ? c->pre_logits : c->width) * c->classes;
    int64_t rows[] = {3 * (int64_t)c->width * c->width,
                      (int64_t)c->width * c->mlp_width,
                      head,
                      (int64_t)c->width * c->pre_logits,
                      (int64_t)c->channels * c->patch_size * c->patch_size * c->width,
                      (int64_t)vit_tokens(c) * c->width};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i] > UINT32_MAX)
            return VT_FAIL(VT_E_USAGE,
                           "model: width %d, mlp_width %d, %d tokens, %d classes: a matrix of %lld values, expected at "
                           "most %u",
                           c->width, c->mlp_width, vit_tokens(c), c->classes, (long long)rows[i], UINT32_MAX);
    return VT_OK;
}

/* Draw indices are 32 bits within a row of the batch (ops.h). */
static vt_status check_draws(const struct vit_config *c)
{
    const double limit = 4294967296.0, tokens = vit_tokens(c);
    double widest = c->mlp_width > c->width ? c->mlp_width : c->width;
    if ((c->dropout > 0 || c->pos_dropout > 0) && tokens * widest > limit)
        return VT_FAIL(VT_E_USAGE, "model.dropout: %g tokens x %g columns exceed 2^32 draws per image", tokens, widest);
    if (c->attention_dropout > 0 && c->heads * tokens * tokens > limit)
        return VT_FAIL(VT_E_USAGE, "model.attention_dropout: %d heads x %g^2 scores exceed 2^32 draws per image",
                       c->heads, tokens);
    return VT_OK;
}

vt_status vit_config_check(const struct vit_config *c)
{
    VT_TRY(check_sizes(c));
    VT_TRY(check_rows(c));
    if (c->pool != POOL_CLS && c->pool != POOL_MEAN)
        return VT_FAIL(VT_E_USAGE, "model.pool: unknown kind %d; expected cls or mean", (int)c->pool);
    if (c->pool == POOL_CLS && !c->cls_token)
        return VT_FAIL(VT_E_USAGE, "model.pool: cls needs model.cls_token; expected mean, or cls_token: true");
    if (c->gelu != ACT_GELU_ERF && c->gelu != ACT_GELU_TANH)
        return VT_FAIL(VT_E_USAGE, "model.gelu: unknown kind %d; expected erf or tanh", (int)c->gelu);
    if (!(c->layernorm_eps > 0))
        return VT_FAIL(VT_E_USAGE, "model.layernorm_eps: %g; expected a positive number", (double)c->layernorm_eps);
    VT_TRY(check_rate("model.dropout", c->dropout));
    VT_TRY(check_rate("model.pos_dropout", c->pos_dropout));
    VT_TRY(check_rate("model.attention_dropout", c->attention_dropout));
    VT_TRY(check_rate("model.drop_path", c->drop_path));
    for (int i = 0; i < c->channels; i++)
        if (!(c->std[i] > 0))
            return VT_FAIL(VT_E_USAGE, "data.std: channel %d is %g; expected a positive number", i, (double)c->std[i]);
    if (!(c->init_std >= 0))
        return VT_FAIL(VT_E_USAGE, "model.init_std: %g; expected 0 or a positive number", (double)c->init_std);
    return check_draws(c);
}

double vit_train_flops(const struct vit_config *c)
{
    const double n = vit_patches(c), N = vit_tokens(c), D = c->width, F = c->mlp_width;
    double patch = 2 * n * c->channels * c->patch_size * c->patch_size * D;
    const double Q = (c->depth - 1) * N + vit_queries(c, c->depth - 1); /* queries of all blocks */
    double blocks = c->depth * N * 4 * D * D + Q * (4 * D * D + 4 * D * F + 4 * N * D);
    double head = c->pre_logits ? 2 * c->pre_logits * (D + c->classes) : 2 * D * c->classes;
    return 2 * patch + 3 * (blocks + head);
}
