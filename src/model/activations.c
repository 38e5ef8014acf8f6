#include "model/activations.h"

#include <stdlib.h>

#include "model/vit.h"

struct layout {
    char *base; /* NULL: only sizes are wanted */
    size_t used;
};

static void *take(struct layout *layout, int64_t elements, enum dtype dtype)
{
    size_t offset = layout->used;
    layout->used += ((size_t)elements * dtype_bytes(dtype) + 63) / 64 * 64;
    return layout->base ? layout->base + offset : NULL;
}

vt_status activations_open(struct activations *acts, int depth)
{
    acts->blocks = calloc((size_t)depth, sizeof *acts->blocks);
    return acts->blocks ? VT_OK : VT_FAIL(VT_E_MEMORY, "model: no memory for the activation plan of %d blocks", depth);
}

void activations_close(struct activations *acts)
{
    free(acts->blocks);
    acts->blocks = NULL;
}

/* What lies elsewhere when it is made again (LIGHT): y1 and y2 in acts.y, h in acts.wide. All three are dead by the
 * time their place gets the gradient that backward has there. */
static void layout_block(struct layout *l, const struct activations *acts, struct block_activations *block,
                         const struct vit_desc *desc, bool class_only)
{
    const bool light = desc->training && desc->recompute == RECOMPUTE_LIGHT;
    const struct vit_config *c = &desc->config;
    const int64_t M = desc->batch * vit_tokens(c), Q = class_only ? desc->batch : M, D = c->width, F = c->mlp_width;
    const enum dtype T = desc->dtype, R = desc->dtype_stream;
    block->x1 = take(l, M * D, R);
    block->y1 = light ? acts->y : take(l, M * D, T);
    block->stats1 = take(l, M * 2, DTYPE_F32);
    block->qkv = take(l, M * (class_only ? 2 : 3) * D, T);
    block->q = class_only ? take(l, Q * D, T) : NULL;
    block->o = take(l, Q * D, T);
    block->lse = take(l, Q * c->heads, DTYPE_F32);
    if (desc->training) {
        block->x2 = take(l, Q * D, R);
        block->y2 = light ? acts->y : take(l, Q * D, T);
        block->stats2 = take(l, Q * 2, DTYPE_F32);
        block->pre = take(l, Q * F, T);
    } else { /* the stream is updated in place, the norms take turns */
        block->x2 = class_only ? take(l, Q * D, R) : block->x1;
        block->y2 = block->y1;
        block->stats2 = block->stats1;
        block->pre = NULL;
    }
    block->h = light ? acts->wide : take(l, Q * F, T);
}

/* A block in the first one's buffers, which are those of all tokens: with what it has alone. */
static void share_block(struct layout *l, const struct activations *acts, struct block_activations *block,
                        const struct vit_desc *desc, bool class_only)
{
    const struct vit_config *c = &desc->config;
    const int64_t B = desc->batch, D = c->width;
    *block = acts->blocks[0];
    if (desc->training)
        block->x1 = take(l, B * vit_tokens(c) * D, desc->dtype_stream);
    if (class_only)
        block->q = take(l, B * D, desc->dtype);
    if (class_only && !desc->training)
        block->x2 = take(l, B * D, desc->dtype_stream);
}

static void layout_head(struct layout *l, struct activations *acts, const struct vit_desc *desc)
{
    const struct vit_config *c = &desc->config;
    const int64_t B = desc->batch, D = c->width, J = c->pre_logits, K = c->classes;
    const int64_t Q = B * vit_queries(c, c->depth - 1);
    const enum dtype T = desc->dtype, R = desc->dtype_stream;
    acts->x_final = desc->training ? take(l, Q * D, R) : acts->blocks[c->depth - 1].x2;
    acts->stats_final = take(l, Q * 2, DTYPE_F32);
    acts->pooled = take(l, B * D, T);
    acts->pre_logits_pre = J && desc->training ? take(l, B * J, T) : NULL;
    acts->features = J ? take(l, B * J, T) : acts->pooled;
    acts->logits = take(l, B * K, DTYPE_F32);
    if (!desc->training)
        return;
    acts->dlogits = take(l, B * K, DTYPE_F32);
    acts->dpooled = take(l, B * D, T);
    acts->dfeatures = J ? take(l, B * J, T) : acts->dpooled;
}

size_t activations_layout(struct activations *acts, const struct vit_desc *desc, void *base)
{
    const struct vit_config *c = &desc->config;
    const int64_t M = desc->batch * vit_tokens(c), D = c->width, F = c->mlp_width;
    const enum dtype T = desc->dtype, R = desc->dtype_stream;
    struct layout l = {.base = base};

    acts->patches = take(&l, desc->batch * vit_patches(c) * c->channels * c->patch_size * c->patch_size, T);
    acts->delta = take(&l, M * D, T);
    const bool ends_class_only = vit_class_only(c, c->depth - 1);
    acts->y = desc->training || !ends_class_only ? take(&l, M * D, T) : NULL;
    if (desc->training) {
        acts->dx = take(&l, M * D, R);
        acts->dx_class = ends_class_only ? take(&l, desc->batch * D, R) : NULL;
        acts->wide = take(&l, M * (F > 3 * D ? F : 3 * D), T);
    }
    for (int i = 0; i < c->depth; i++) {
        const bool own = desc->training && desc->recompute != RECOMPUTE_BLOCK;
        if (i == 0 || own)
            layout_block(&l, acts, &acts->blocks[i], desc, vit_class_only(c, i));
        else
            share_block(&l, acts, &acts->blocks[i], desc, vit_class_only(c, i));
    }
    layout_head(&l, acts, desc);
    return l.used;
}
