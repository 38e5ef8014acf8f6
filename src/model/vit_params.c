/* The parameter table of a ViT: timm names, in forward order. Two initialisation schemes:
 *   timm  linear weights truncated normal (0.02), biases 0, class token N(0, 1e-6), positions truncated normal (0.02)
 *   JAX   linear weights Xavier uniform, MLP biases N(0, 1e-6), patch projection and pre-logits lecun normal, positions
 *         N(0, 0.02), class token 0, head kernel 0 (big_vision, vision_transformer) */
#include "model/vit_config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

struct writer {
    const struct vit_config *config;
    struct param_table *table;
    int layer;
};

static float init_std(const struct vit_config *c)
{
    return c->init_std > 0 ? c->init_std : 0.02f;
}

static void add_row(const struct writer *w, struct param *row, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_row(const struct writer *w, struct param *row, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(row->name, sizeof row->name, format, args);
    va_end(args);
    VT_CHECK(length > 0 && length < (int)sizeof row->name);
    row->layer = w->layer;
    param_table_add(w->table, row);
}

/* A row already added; valid until the next one is. */
static struct param *row_of(const struct writer *w, const char *name, const char *kind)
{
    char text[PARAM_NAME_BYTES + 16];
    snprintf(text, sizeof text, "%s.%s", name, kind);
    int row = param_table_find(w->table, text);
    VT_CHECKF(row >= 0, "%s", text);
    return &w->table->rows[row];
}

static void add_vector(const struct writer *w, const char *name, int64_t size, enum param_init init, float value)
{
    struct param row = {.rank = 1, .dim = {size}, .init = init, .init_value = value};
    add_row(w, &row, "%s", name);
}

/* name.weight [out, in] and, with bias, name.bias [out]. */
static void add_linear(const struct writer *w, const char *name, int64_t in, int64_t out, bool bias, bool mlp)
{
    bool jax = w->config->init == VIT_INIT_JAX;
    struct param row = {.rank = 2,
                        .dim = {out, in},
                        .init = jax ? INIT_XAVIER_UNIFORM : INIT_TRUNC_NORMAL,
                        .init_value = init_std(w->config),
                        .fan_in = in,
                        .fan_out = out,
                        .decay = true,
                        .matrix = true};
    add_row(w, &row, "%s.weight", name);
    if (bias) {
        struct param bias_row = {.rank = 1, .dim = {out}, .init = INIT_ZERO};
        if (jax && mlp)
            bias_row.init = INIT_NORMAL, bias_row.init_value = 1e-6f;
        add_row(w, &bias_row, "%s.bias", name);
    }
}

static void add_norm_rows(const struct writer *w, const char *name)
{
    char text[PARAM_NAME_BYTES];
    snprintf(text, sizeof text, "%s.weight", name);
    add_vector(w, text, w->config->width, INIT_ONE, 0);
    snprintf(text, sizeof text, "%s.bias", name);
    add_vector(w, text, w->config->width, INIT_ZERO, 0);
}

static void add_embedding(const struct writer *w)
{
    const struct vit_config *c = w->config;
    bool jax = c->init == VIT_INIT_JAX;
    if (c->cls_token) {
        struct param cls = {
            .rank = 3, .dim = {1, 1, c->width}, .init = jax ? INIT_ZERO : INIT_NORMAL, .init_value = 1e-6f};
        add_row(w, &cls, "cls_token");
    }
    struct param pos = {.rank = 3,
                        .dim = {1, vit_tokens(c), c->width},
                        .init = jax ? INIT_NORMAL : INIT_TRUNC_NORMAL,
                        .init_value = jax ? 0.02f : init_std(c)};
    add_row(w, &pos, "pos_embed");
    int64_t fan_in = (int64_t)c->channels * c->patch_size * c->patch_size;
    /* timm leaves the convolution at torch's default, a uniform of variance 1 / (3 fan_in): the same variance here. */
    struct param proj = {.rank = 4,
                         .dim = {c->width, c->channels, c->patch_size, c->patch_size},
                         .init = jax ? INIT_LECUN_NORMAL : INIT_TRUNC_NORMAL,
                         .init_value = (float)(1 / sqrt(3.0 * (double)fan_in)),
                         .fan_in = fan_in,
                         .fan_out = c->width,
                         .decay = true,
                         .matrix = true};
    add_row(w, &proj, "patch_embed.proj.weight");
    add_vector(w, "patch_embed.proj.bias", c->width, INIT_ZERO, 0);
}

static void add_block(const struct writer *w, int i)
{
    const struct vit_config *c = w->config;
    char name[PARAM_NAME_BYTES];
    snprintf(name, sizeof name, "blocks.%d.norm1", i);
    add_norm_rows(w, name);
    snprintf(name, sizeof name, "blocks.%d.attn.qkv", i);
    add_linear(w, name, c->width, 3 * (int64_t)c->width, c->qkv_bias, false);
    row_of(w, name, "weight")->fan_out = c->width; /* three matrices side by side, each with its own fans */
    snprintf(name, sizeof name, "blocks.%d.attn.proj", i);
    add_linear(w, name, c->width, c->width, true, false);
    snprintf(name, sizeof name, "blocks.%d.norm2", i);
    add_norm_rows(w, name);
    snprintf(name, sizeof name, "blocks.%d.mlp.fc1", i);
    add_linear(w, name, c->width, c->mlp_width, true, true);
    snprintf(name, sizeof name, "blocks.%d.mlp.fc2", i);
    add_linear(w, name, c->mlp_width, c->width, true, true);
}

static void add_head(const struct writer *w)
{
    const struct vit_config *c = w->config;
    add_norm_rows(w, "norm");
    if (c->pre_logits) {
        add_linear(w, "pre_logits.fc", c->width, c->pre_logits, true, false);
        if (c->init == VIT_INIT_JAX)
            row_of(w, "pre_logits.fc", "weight")->init = INIT_LECUN_NORMAL;
    }
    add_linear(w, "head", c->pre_logits ? c->pre_logits : c->width, c->classes, true, false);
    if (c->init == VIT_INIT_JAX)
        row_of(w, "head", "weight")->init = INIT_ZERO;
    row_of(w, "head", "bias")->init = INIT_CONSTANT;
    row_of(w, "head", "bias")->init_value = c->head_bias;
}

void vit_params(const struct vit_config *config, struct param_table *table)
{
    struct writer w = {.config = config, .table = table, .layer = 0};
    add_embedding(&w);
    for (int i = 0; i < config->depth; i++) {
        w.layer = i + 1;
        add_block(&w, i);
    }
    w.layer = config->depth + 1;
    add_head(&w);
}
