/* The pre-LayerNorm transformer block on the pair (x, delta):
 *   (x1, y1) = add_norm(x, delta of the block before)     delta = proj(attention(qkv(y1)))
 *   (x2, y2) = add_norm(x1, delta)                        delta = fc2(dropout(gelu(fc1(y2))))
 * Branch dropout and drop-path live in the add_norm that takes the branch's delta, so do the biases' gradients of the
 * linears that made it (proj, fc2). Those of qkv and fc1 come with the gradients of their outputs where these are made (attention,
 * fc2) if the plans say so (own_sums), else with their weights' gradients. */
#include "model/replica.h"

#include <math.h>
#include <stdio.h>

#include "base/philox.h"

float block_drop_path(const struct vit_config *config, int layer)
{
    return config->depth > 1 ? config->drop_path * (float)layer / (float)(config->depth - 1) : 0;
}

/* What the last block of a forward left in places that blocks share is still there when backward begins. */
static bool is_last(const struct vit *vit, int layer)
{
    return layer == vit->desc.config.depth - 1;
}

static vt_status plan_linear(struct vit *vit, struct linear_desc desc, struct op_plan **plan)
{
    desc.rows = vit_rows(vit);
    desc.dtype = desc.dtype_out = vit->desc.dtype;
    desc.forward_only = !vit->desc.training;
    return vit->be->nn.linear_plan(vit->be, &desc, plan);
}

vt_status block_plan_shared(struct vit *vit)
{
    const struct vit_config *c = &vit->desc.config;
    const int64_t D = c->width, F = c->mlp_width;
    struct block_shared *l = &vit->shared;
    VT_TRY(plan_linear(vit, (struct linear_desc){.in = D, .out = 3 * D, .bias = c->qkv_bias}, &l->qkv));
    VT_TRY(plan_linear(vit, (struct linear_desc){.in = D, .out = D, .bias = true}, &l->proj));
    VT_TRY(plan_linear(vit, (struct linear_desc){.in = D, .out = F, .bias = true, .act = c->gelu}, &l->fc1));
    const struct linear_desc fc2 = {
        .in = F,
        .out = D,
        .bias = true,
        .input_act = c->gelu,
        .dx_sum = vit->desc.training && c->dropout == 0, /* with a dropout between, dx is not yet the gradient of fc1's output */
    };
    VT_TRY(plan_linear(vit, fc2, &l->fc2));
    if (!vit->desc.training || vit->desc.recompute == RECOMPUTE_NONE)
        return VT_OK;
    VT_TRY(block_plan_first_norm(vit, 0, &l->norm_again, NULL)); /* the first norm has no delta, and no draws */
    if (vit->desc.recompute != RECOMPUTE_LIGHT)
        return VT_OK;
    const struct activation_desc gelu = {.rows = vit_rows(vit), .columns = F, .dtype = vit->desc.dtype, .act = c->gelu};
    return vit->be->nn.activation_plan(vit->be, &gelu, &l->gelu_again);
}

static struct add_norm_desc norm_desc(const struct vit *vit)
{
    const struct vit_desc *d = &vit->desc;
    return (struct add_norm_desc){.batch = d->batch,
                                  .tokens = vit_tokens(&d->config),
                                  .width = d->config.width,
                                  .dtype = d->dtype,
                                  .dtype_stream = d->dtype_stream,
                                  .eps = d->config.layernorm_eps};
}

vt_status block_plan_first_norm(struct vit *vit, int layer, struct op_plan **plan, bool *one_gradient)
{
    struct add_norm_desc desc = norm_desc(vit);
    desc.has_delta = layer > 0;
    if (desc.has_delta && vit->desc.training) {
        desc.dropout = vit->desc.config.dropout;
        desc.dropout_purpose = draw_purpose_layer(DRAW_OUT_DROPOUT, layer - 1);
        desc.drop_path = block_drop_path(&vit->desc.config, layer - 1);
        desc.drop_path_purpose = draw_purpose_layer(DRAW_DROP_PATH_MLP, layer - 1);
    }
    if (one_gradient)
        *one_gradient = add_norm_delta_is_dx(&desc);
    return vit->be->nn.add_norm_plan(vit->be, &desc, plan);
}

static vt_status plan_second_norm(struct vit *vit, int layer, struct op_plan **plan, bool *one_gradient)
{
    struct add_norm_desc desc = norm_desc(vit);
    desc.has_delta = true;
    if (vit->desc.training) {
        desc.dropout = vit->desc.config.dropout;
        desc.dropout_purpose = draw_purpose_layer(DRAW_PROJ_DROPOUT, layer);
        desc.drop_path = block_drop_path(&vit->desc.config, layer);
        desc.drop_path_purpose = draw_purpose_layer(DRAW_DROP_PATH_ATTN, layer);
    }
    *one_gradient = add_norm_delta_is_dx(&desc);
    return vit->be->nn.add_norm_plan(vit->be, &desc, plan);
}

static vt_status plan_attention(struct vit *vit, int layer, struct op_plan **plan)
{
    const struct vit_config *c = &vit->desc.config;
    const int64_t N = vit_tokens(c), D = c->width, d = D / c->heads;
    const struct attention_view packed = {.batch = N * 3 * D, .head = d, .row = 3 * D};
    const struct attention_desc desc = {.batch = vit->desc.batch,
                                        .heads = c->heads,
                                        .queries = N,
                                        .keys = N,
                                        .head_dim = d,
                                        .dtype = vit->desc.dtype,
                                        .scale = (float)(1 / sqrt((double)d)),
                                        .q = packed,
                                        .k = packed,
                                        .v = packed,
                                        .o = {.batch = N * D, .head = d, .row = D},
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
    find_rows(vit, layer, block);
    VT_TRY(block_plan_first_norm(vit, layer, &block->norm1, &block->one_gradient1));
    VT_TRY(plan_attention(vit, layer, &block->attention));
    VT_TRY(plan_second_norm(vit, layer, &block->norm2, &block->one_gradient2));
    if (!vit->desc.training || c->dropout == 0)
        return VT_OK;
    const struct dropout_desc dropout = {.batch = vit->desc.batch,
                                         .row_elements = (int64_t)vit_tokens(c) * c->mlp_width,
                                         .dtype = vit->desc.dtype,
                                         .rate = c->dropout,
                                         .purpose = draw_purpose_layer(DRAW_MLP_DROPOUT, layer)};
    return vit->be->nn.dropout_plan(vit->be, &dropout, &block->mlp_dropout);
}

void block_close(struct vit *vit)
{
    op_plan_close(&vit->shared.qkv);
    op_plan_close(&vit->shared.proj);
    op_plan_close(&vit->shared.fc1);
    op_plan_close(&vit->shared.fc2);
    op_plan_close(&vit->shared.norm_again);
    op_plan_close(&vit->shared.gelu_again);
    for (int i = 0; vit->blocks && i < vit->desc.config.depth; i++) {
        op_plan_close(&vit->blocks[i].norm1);
        op_plan_close(&vit->blocks[i].attention);
        op_plan_close(&vit->blocks[i].norm2);
        op_plan_close(&vit->blocks[i].mlp_dropout);
    }
}

/* Part 0, 1, 2 (q, k, v) of the packed buffer. */
static void *part(const struct vit *vit, void *qkv, int index)
{
    return (char *)qkv + (size_t)(index * vit->desc.config.width) * dtype_bytes(vit->desc.dtype);
}

/* From y1 to h. delta: where the attention branch's output goes. */
static void forward_inner(const struct vit *vit, int layer, const struct pass *pass, void *delta)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared;
    const struct block_activations *a = &vit->acts.blocks[layer];

    nn->linear_forward(l->qkv, a->y1, matrix_of(vit, pass, b->qkv.weight), master_of(vit, pass, b->qkv.bias), a->qkv,
                       NULL);
    nn->attention_forward(b->attention, part(vit, a->qkv, 0), part(vit, a->qkv, 1), part(vit, a->qkv, 2), a->o, a->lse,
                          &pass->random);
    nn->linear_forward(l->proj, a->o, matrix_of(vit, pass, b->proj.weight), master_of(vit, pass, b->proj.bias), delta,
                       NULL);

    const struct add_norm_forward_args norm2 = {.x = a->x1,
                                                .delta = delta,
                                                .weight = master_of(vit, pass, b->norm2_rows.weight),
                                                .bias = master_of(vit, pass, b->norm2_rows.bias),
                                                .x_out = a->x2,
                                                .y = a->y2,
                                                .stats = a->stats2};
    nn->add_norm_forward(b->norm2, &norm2, &pass->random);
    nn->linear_forward(l->fc1, a->y2, matrix_of(vit, pass, b->fc1.weight), master_of(vit, pass, b->fc1.bias), a->h,
                       a->pre);
    if (b->mlp_dropout)
        nn->dropout_forward(b->mlp_dropout, a->h, a->h, &pass->random);
}

void block_forward(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_activations *a = &vit->acts.blocks[layer];
    void *delta = vit->acts.delta;

    const struct add_norm_forward_args norm1 = {.x = layer ? vit->acts.blocks[layer - 1].x2 : a->x1,
                                                .delta = layer ? delta : NULL,
                                                .weight = master_of(vit, pass, b->norm1_rows.weight),
                                                .bias = master_of(vit, pass, b->norm1_rows.bias),
                                                .x_out = layer ? a->x1 : NULL,
                                                .y = a->y1,
                                                .stats = a->stats1};
    nn->add_norm_forward(b->norm1, &norm1, &pass->random);
    forward_inner(vit, layer, pass, delta);
    nn->linear_forward(vit->shared.fc2, a->h, matrix_of(vit, pass, b->fc2.weight), master_of(vit, pass, b->fc2.bias),
                       delta, NULL);
}

/* y from the sum x that the norm left; stats get the bits they had. */
static void norm_again(const struct vit *vit, const struct pass *pass, struct linear_rows rows, const void *x, void *y,
                       float *stats)
{
    const struct add_norm_forward_args norm = {.x = x,
                                               .weight = master_of(vit, pass, rows.weight),
                                               .bias = master_of(vit, pass, rows.bias),
                                               .y = y,
                                               .stats = stats};
    vit->be->nn.add_norm_forward(vit->shared.norm_again, &norm, &pass->random);
}

/* RECOMPUTE_BLOCK: fill the shared buffers again from the one tensor kept, x1; fc2's output is not needed. */
static void run_again(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct block_activations *a = &vit->acts.blocks[layer];
    norm_again(vit, pass, vit->blocks[layer].norm1_rows, a->x1, a->y1, a->stats1);
    forward_inner(vit, layer, pass, vit->acts.wide);
}

/* RECOMPUTE_LIGHT: h from pre. */
static void gelu_again(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_activations *a = &vit->acts.blocks[layer];
    nn->activation_forward(vit->shared.gelu_again, a->pre, a->h);
    if (b->mlp_dropout)
        nn->dropout_forward(b->mlp_dropout, a->h, a->h, &pass->random);
}

/* The gradient of the MLP's output, as the norm after the block has left it. */
static void *ddelta_in(const struct vit *vit, int layer)
{
    return ddelta_of(vit, is_last(vit, layer) ? vit->head.one_gradient : vit->blocks[layer + 1].one_gradient1);
}

static void backward_mlp(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared;
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct grads *g = &pass->grads;
    void *dx = vit->acts.dx, *ddelta = ddelta_in(vit, layer), *dy = vit->acts.y, *dh = vit->acts.wide;
    const bool light = vit->desc.recompute == RECOMPUTE_LIGHT;
    float *fc1_bias = grad_of(g, b->fc1.bias);

    if (light && !is_last(vit, layer))
        gelu_again(vit, layer, pass);
    nn->linear_backward_weight(l->fc2, a->h, ddelta, grad_of(g, b->fc2.weight), NULL, g->accumulate);
    nn->linear_backward_input(
        l->fc2,
        &(struct linear_input_args){.dy = ddelta,
                                    .w = matrix_of(vit, pass, b->fc2.weight),
                                    .input_pre = a->pre,
                                    .dx = dh,
                                    .dx_sum = l->fc2->own_sums ? fc1_bias : NULL,
                                    .accumulate_sum = g->accumulate});
    if (b->mlp_dropout) /* commutes with the product by gelu'(pre) */
        nn->dropout_forward(b->mlp_dropout, dh, dh, &pass->random);
    if (light) /* here, as y2 lies where dy will; the final norm's output lay there too */
        norm_again(vit, pass, b->norm2_rows, a->x2, a->y2, a->stats2);
    nn->linear_backward_weight(l->fc1, a->y2, dh, grad_of(g, b->fc1.weight), l->fc2->own_sums ? NULL : fc1_bias,
                               g->accumulate);
    nn->linear_backward_input(l->fc1,
                              &(struct linear_input_args){.dy = dh, .w = matrix_of(vit, pass, b->fc1.weight), .dx = dy});
    const struct add_norm_backward_args norm2 = {.dy = dy,
                                                 .x_out = a->x2,
                                                 .stats = a->stats2,
                                                 .weight = master_of(vit, pass, b->norm2_rows.weight),
                                                 .dx_in = dx,
                                                 .dx = dx,
                                                 .ddelta = ddelta_of(vit, b->one_gradient2),
                                                 .dweight = grad_of(g, b->norm2_rows.weight),
                                                 .dbias = grad_of(g, b->norm2_rows.bias),
                                                 .ddelta_sum = grad_of(g, b->proj.bias),
                                                 .accumulate = g->accumulate};
    nn->add_norm_backward(b->norm2, &norm2, &pass->random);
    grads_final(g, b->norm2_rows.weight);
}

static void backward_attention(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared;
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct grads *g = &pass->grads;
    void *dx = vit->acts.dx, *ddelta = ddelta_of(vit, b->one_gradient2), *dy = vit->acts.y, *d_o = dy;
    void *dqkv = vit->acts.wide;
    float *qkv_bias = grad_of(g, b->qkv.bias);
    const int64_t D = vit->desc.config.width;
    const bool own_sums = b->attention->own_sums && qkv_bias;
    const struct attention_sums sums = {.dq = qkv_bias,
                                        .dk = qkv_bias ? qkv_bias + D : NULL,
                                        .dv = qkv_bias ? qkv_bias + 2 * D : NULL,
                                        .accumulate = g->accumulate};

    nn->linear_backward_weight(l->proj, a->o, ddelta, grad_of(g, b->proj.weight), NULL, g->accumulate);
    nn->linear_backward_input(
        l->proj, &(struct linear_input_args){.dy = ddelta, .w = matrix_of(vit, pass, b->proj.weight), .dx = d_o});
    nn->attention_backward(b->attention, part(vit, a->qkv, 0), part(vit, a->qkv, 1), part(vit, a->qkv, 2), a->o, a->lse,
                           d_o, part(vit, dqkv, 0), part(vit, dqkv, 1), part(vit, dqkv, 2), own_sums ? &sums : NULL,
                           &pass->random);
    if (vit->desc.recompute == RECOMPUTE_LIGHT) /* here, as y1 lies where d_o did */
        norm_again(vit, pass, b->norm1_rows, a->x1, a->y1, a->stats1);
    nn->linear_backward_weight(l->qkv, a->y1, dqkv, grad_of(g, b->qkv.weight), own_sums ? NULL : qkv_bias, g->accumulate);
    nn->linear_backward_input(l->qkv,
                              &(struct linear_input_args){.dy = dqkv, .w = matrix_of(vit, pass, b->qkv.weight), .dx = dy});
    const struct add_norm_backward_args norm1 = {.dy = dy,
                                                 .x_out = a->x1,
                                                 .stats = a->stats1,
                                                 .weight = master_of(vit, pass, b->norm1_rows.weight),
                                                 .dx_in = dx,
                                                 .dx = dx,
                                                 .ddelta = layer ? ddelta_of(vit, b->one_gradient1) : NULL,
                                                 .dweight = grad_of(g, b->norm1_rows.weight),
                                                 .dbias = grad_of(g, b->norm1_rows.bias),
                                                 .ddelta_sum =
                                                     layer ? grad_of(g, vit->blocks[layer - 1].fc2.bias) : NULL,
                                                 .accumulate = g->accumulate};
    nn->add_norm_backward(b->norm1, &norm1, &pass->random);
    grads_final(g, b->norm1_rows.weight);
}

/* On entry acts.dx is the gradient of x2, ddelta_in that of fc2's output; on exit those of x and of the delta before.
 */
void block_backward(const struct vit *vit, int layer, const struct pass *pass)
{
    if (vit->desc.recompute == RECOMPUTE_BLOCK && !is_last(vit, layer))
        run_again(vit, layer, pass);
    backward_mlp(vit, layer, pass);
    backward_attention(vit, layer, pass);
}
