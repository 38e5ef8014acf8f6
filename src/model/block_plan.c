/* Plans of the blocks. Those without draws are shared by all blocks of a kind, as they have the same shapes; the others are
 * a block's own, as each has its own draws.
 *
 * In a class-only block (vit_class_only) only the class token has a query, so what follows attention has B rows: norm2 takes
 * them from among the rows of x1. Elements of token 0 are the first ones of an image's, so dropout draws for them what it
 * would draw among all tokens'. Dropout of attention's probabilities alone counts by queries (ops.h): its draws are those
 * of one query. */
#include "model/replica.h"

#include <math.h>
#include <stdio.h>

#include "base/philox.h"

float block_drop_path(const struct vit_config *config, int layer)
{
    return config->depth > 1 ? config->drop_path * (float)layer / (float)(config->depth - 1) : 0;
}

static vt_status plan_linear(struct vit *vit, struct linear_desc desc, struct op_plan **plan)
{
    desc.dtype = desc.dtype_out = vit->desc.dtype;
    desc.forward_only = !vit->desc.training;
    return vit->be->nn.linear_plan(vit->be, &desc, plan);
}

static struct add_norm_desc norm_desc(const struct vit *vit, int64_t tokens)
{
    const struct vit_desc *d = &vit->desc;
    return (struct add_norm_desc){.batch = d->batch,
                                  .tokens = tokens,
                                  .width = d->config.width,
                                  .dtype = d->dtype,
                                  .dtype_stream = d->dtype_stream,
                                  .eps = d->config.layernorm_eps};
}

/* What recomputing needs: both norms without their sums and draws, and GELU. */
static vt_status plan_again(struct vit *vit, int64_t queries, struct block_shared *l)
{
    const struct vit_config *c = &vit->desc.config;
    const struct add_norm_desc norm1 = norm_desc(vit, vit_tokens(c)), norm2 = norm_desc(vit, queries);
    const struct activation_desc gelu = {
        .rows = vit->desc.batch * queries, .columns = c->mlp_width, .dtype = vit->desc.dtype, .act = c->gelu};
    if (!vit->desc.training || vit->desc.recompute == RECOMPUTE_NONE)
        return VT_OK;
    VT_TRY(vit->be->nn.add_norm_plan(vit->be, &norm1, &l->norm1_again));
    if (vit->desc.recompute != RECOMPUTE_LIGHT)
        return VT_OK;
    VT_TRY(vit->be->nn.add_norm_plan(vit->be, &norm2, &l->norm2_again));
    return vit->be->nn.activation_plan(vit->be, &gelu, &l->gelu_again);
}

static vt_status plan_shared(struct vit *vit, enum block_kind kind)
{
    const struct vit_config *c = &vit->desc.config;
    const bool class_only = kind == BLOCK_CLASS_ONLY;
    const int64_t D = c->width, F = c->mlp_width, N = vit_tokens(c), queries = class_only ? 1 : N;
    const int64_t rows = vit->desc.batch * queries;
    struct block_shared *l = &vit->shared[kind];
    const struct linear_desc qkv = {
        .rows = vit_rows(vit), .in = D, .out = (class_only ? 2 : 3) * D, .bias = c->qkv_bias};
    VT_TRY(plan_linear(vit, qkv, &l->qkv));
    if (class_only)
        VT_TRY(plan_linear(
            vit, (struct linear_desc){.rows = rows, .in = D, .out = D, .bias = c->qkv_bias, .x_stride = N * D}, &l->q));
    VT_TRY(plan_linear(vit, (struct linear_desc){.rows = rows, .in = D, .out = D, .bias = true}, &l->proj));
    VT_TRY(plan_linear(vit, (struct linear_desc){.rows = rows, .in = D, .out = F, .bias = true, .act = c->gelu},
                       &l->fc1));
    const struct linear_desc fc2 = {
        .rows = rows,
        .in = F,
        .out = D,
        .bias = true,
        .input_act = c->gelu,
        .dx_sum = vit->desc.training && c->dropout == 0, /* with a dropout between, dx is not yet the gradient of fc1's output */
    };
    VT_TRY(plan_linear(vit, fc2, &l->fc2));
    return plan_again(vit, queries, l);
}

vt_status block_plan_shared(struct vit *vit)
{
    const struct vit_config *c = &vit->desc.config;
    if (c->depth > 1 || !vit_class_only(c, 0))
        VT_TRY(plan_shared(vit, BLOCK_WHOLE));
    return vit_class_only(c, c->depth - 1) ? plan_shared(vit, BLOCK_CLASS_ONLY) : VT_OK;
}

vt_status block_plan_first_norm(struct vit *vit, int layer, struct op_plan **plan, bool *one_gradient)
{
    const struct vit_config *c = &vit->desc.config;
    struct add_norm_desc desc = norm_desc(vit, layer == c->depth ? vit_queries(c, layer - 1) : vit_tokens(c));
    desc.dx_in_first = vit_class_only(c, layer);
    desc.has_delta = layer > 0;
    if (desc.has_delta && vit->desc.training) {
        desc.dropout = c->dropout;
        desc.dropout_purpose = draw_purpose_layer(DRAW_OUT_DROPOUT, layer - 1);
        desc.drop_path = block_drop_path(c, layer - 1);
        desc.drop_path_purpose = draw_purpose_layer(DRAW_DROP_PATH_MLP, layer - 1);
    }
    if (one_gradient)
        *one_gradient = add_norm_delta_is_dx(&desc);
    return vit->be->nn.add_norm_plan(vit->be, &desc, plan);
}

static vt_status plan_second_norm(struct vit *vit, int layer, struct op_plan **plan, bool *one_gradient)
{
    const struct vit_config *c = &vit->desc.config;
    struct add_norm_desc desc = norm_desc(vit, vit_queries(c, layer));
    if (vit_class_only(c, layer))
        desc.x_stride = (int64_t)vit_tokens(c) * c->width;
    desc.has_delta = true;
    if (vit->desc.training) {
        desc.dropout = c->dropout;
        desc.dropout_purpose = draw_purpose_layer(DRAW_PROJ_DROPOUT, layer);
        desc.drop_path = block_drop_path(c, layer);
        desc.drop_path_purpose = draw_purpose_layer(DRAW_DROP_PATH_ATTN, layer);
    }
    *one_gradient = add_norm_delta_is_dx(&desc);
    return vit->be->nn.add_norm_plan(vit->be, &desc, plan);
}

static vt_status plan_attention(struct vit *vit, int layer, struct op_plan **plan)
{
    const struct vit_config *c = &vit->desc.config;
    const bool class_only = vit_class_only(c, layer);
    const int64_t N = vit_tokens(c), D = c->width, d = D / c->heads, queries = vit_queries(c, layer);
    const int64_t width = (class_only ? 2 : 3) * D;
    const struct attention_view packed = {.batch = N * width, .head = d, .row = width};
    const struct attention_view dense = {.batch = queries * D, .head = d, .row = D};
    const struct attention_desc desc = {.batch = vit->desc.batch,
                                        .heads = c->heads,
                                        .queries = queries,
                                        .keys = N,
                                        .head_dim = d,
                                        .dtype = vit->desc.dtype,
                                        .scale = (float)(1 / sqrt((double)d)),
                                        .q = class_only ? dense : packed,
                                        .k = packed,
                                        .v = packed,
                                        .o = dense,
                                        .dropout = vit->desc.training ? c->attention_dropout : 0,
                                        .purpose = draw_purpose_layer(DRAW_ATTN_DROPOUT, layer),
                                        .sums = vit->desc.training && c->qkv_bias,
                                        .forward_only = !vit->desc.training};
    return vit->be->nn.attention_plan(vit->be, &desc, plan);
}

static void find_rows(struct vit *vit, int layer, struct block *block)
{
    const struct vit_config *c = &vit->desc.config;
    const int64_t D = c->width, F = c->mlp_width;
    char name[PARAM_NAME_BYTES];
    snprintf(name, sizeof name, "blocks.%d.norm1", layer);
    block->norm1_rows = vit_linear_rows(vit, name, D, 1, true);
    snprintf(name, sizeof name, "blocks.%d.attn.qkv", layer);
    block->qkv = vit_linear_rows(vit, name, 3 * D, D, c->qkv_bias);
    snprintf(name, sizeof name, "blocks.%d.attn.proj", layer);
    block->proj = vit_linear_rows(vit, name, D, D, true);
    snprintf(name, sizeof name, "blocks.%d.norm2", layer);
    block->norm2_rows = vit_linear_rows(vit, name, D, 1, true);
    snprintf(name, sizeof name, "blocks.%d.mlp.fc1", layer);
    block->fc1 = vit_linear_rows(vit, name, F, D, true);
    snprintf(name, sizeof name, "blocks.%d.mlp.fc2", layer);
    block->fc2 = vit_linear_rows(vit, name, D, F, true);
}

vt_status block_plan(struct vit *vit, int layer)
{
    struct block *block = &vit->blocks[layer];
    const struct vit_config *c = &vit->desc.config;
    block->kind = vit_class_only(c, layer) ? BLOCK_CLASS_ONLY : BLOCK_WHOLE;
    find_rows(vit, layer, block);
    VT_TRY(block_plan_first_norm(vit, layer, &block->norm1, &block->one_gradient1));
    VT_TRY(plan_attention(vit, layer, &block->attention));
    VT_TRY(plan_second_norm(vit, layer, &block->norm2, &block->one_gradient2));
    if (!vit->desc.training || c->dropout == 0)
        return VT_OK;
    const struct dropout_desc dropout = {.batch = vit->desc.batch,
                                         .row_elements = (int64_t)vit_queries(c, layer) * c->mlp_width,
                                         .dtype = vit->desc.dtype,
                                         .rate = c->dropout,
                                         .purpose = draw_purpose_layer(DRAW_MLP_DROPOUT, layer)};
    return vit->be->nn.dropout_plan(vit->be, &dropout, &block->mlp_dropout);
}

void block_close(struct vit *vit)
{
    for (int kind = 0; kind < BLOCK_KINDS; kind++) {
        struct block_shared *l = &vit->shared[kind];
        struct op_plan **plans[] = {&l->qkv, &l->q, &l->proj, &l->fc1, &l->fc2, &l->norm1_again, &l->norm2_again, &l->gelu_again};
        for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
            op_plan_close(plans[i]);
    }
    for (int i = 0; vit->blocks && i < vit->desc.config.depth; i++) {
        op_plan_close(&vit->blocks[i].norm1);
        op_plan_close(&vit->blocks[i].attention);
        op_plan_close(&vit->blocks[i].norm2);
        op_plan_close(&vit->blocks[i].mlp_dropout);
    }
}
