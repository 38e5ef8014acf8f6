/* The shape of a Vision Transformer: named sizes plus any explicit shape. Plain data; no backend. */
#ifndef VT_MODEL_VIT_CONFIG_H
#define VT_MODEL_VIT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/ops.h"
#include "base/status.h"
#include "tensor/params.h"

enum vit_init { VIT_INIT_TIMM, VIT_INIT_JAX };

struct vit_config {
    int image_size, patch_size, channels;
    int width, depth, heads, mlp_width;
    int classes;
    enum pool_kind pool;
    bool cls_token;
    int pre_logits; /* width of the tanh layer before the head; 0 = none */
    bool qkv_bias;
    enum activation gelu; /* ACT_GELU_ERF or ACT_GELU_TANH */
    float layernorm_eps;
    float dropout; /* projection, MLP (after GELU and at the output) */
    float pos_dropout, attention_dropout;
    float drop_path;       /* rate of the last block; rises linearly from 0 over depth, as timm */
    float mean[4], std[4]; /* of u8/255 pixels */
    enum vit_init init;
    float init_std; /* timm scheme; 0 = 0.02 */
    float head_bias;
};

/* Sizes by name: "Ti/16", "S/16", "B/16", "B/32", "L/16", "H/14", "g/14" and "vit_tiny_patch16_224"-like timm names
 * ("vit_ti16" too). Fills width, depth, heads, mlp_width, patch_size, and image_size when a timm name carries one: call
 * after vit_config_defaults. VT_E_USAGE with the list of names otherwise. */
VT_MUST_CHECK vt_status vit_config_named(struct vit_config *config, const char *name);
/* Heads of the named size that has this width, depth and MLP; 0 = none has. */
int vit_config_named_heads(int width, int depth, int mlp_width);
/* All other fields at their defaults (timm): 224 px, 3 channels, class token, qkv bias, erf GELU, eps 1e-6, 1000
 * classes. */
void vit_config_defaults(struct vit_config *config);
/* Impossible shapes: which key, its value, what was expected. VT_E_USAGE. */
VT_MUST_CHECK vt_status vit_config_check(const struct vit_config *config);

static inline int vit_patches(const struct vit_config *c)
{
    return (c->image_size / c->patch_size) * (c->image_size / c->patch_size);
}
static inline int vit_tokens(const struct vit_config *c)
{
    return vit_patches(c) + (c->cls_token ? 1 : 0);
}

/* Whether block `layer` is the last of a class-token pool, which reads the class token of its output and nothing else: then
 * only that token has a query, a projection and an MLP there, and all tokens have keys and values. (Other widths take the
 * whole block: k's part of the qkv bias, and of its gradient, would not lie at 16 bytes.) */
static inline bool vit_class_only(const struct vit_config *c, int layer)
{
    return c->pool == POOL_CLS && layer == c->depth - 1 && c->width % 8 == 0;
}
/* Tokens that go through a block's query, projection and MLP. */
static inline int vit_queries(const struct vit_config *c, int layer)
{
    return vit_class_only(c, layer) ? 1 : vit_tokens(c);
}

/* Append every parameter's row, timm names, in forward order. */
void vit_params(const struct vit_config *config, struct param_table *table);
/* FLOPs of one image's training step, 2 per multiply-add of the matrix products, attention included; nothing recomputed. Those that
 * run: backward is twice forward, but pictures have no gradient; and without what a class-token pool does not read of the last
 * block. */
double vit_train_flops(const struct vit_config *config);

#endif
