/* Tokens to logits: final norm -> pool -> (pre-logits: linear, tanh) -> head; and the loss. A class-only last block leaves
 * nothing to pool. */
#include "model/replica.h"

static int64_t feature_width(const struct vit_config *c)
{
    return c->pre_logits ? c->pre_logits : c->width;
}

static void find_rows(struct vit *vit)
{
    const struct vit_config *c = &vit->desc.config;
    struct head *h = &vit->head;
    h->norm_rows = vit_linear_rows(vit, "norm", c->width, 1, true);
    h->pre_logits_rows = (struct linear_rows){-1, -1};
    if (c->pre_logits)
        h->pre_logits_rows = vit_linear_rows(vit, "pre_logits.fc", c->pre_logits, c->width, true);
    h->head_rows = vit_linear_rows(vit, "head", c->classes, feature_width(c), true);
}

static vt_status plan_linears(struct vit *vit)
{
    const struct vit_desc *d = &vit->desc;
    const struct vit_config *c = &d->config;
    const struct linear_desc pre_logits = {.rows = d->batch,
                                           .in = c->width,
                                           .out = c->pre_logits,
                                           .dtype = d->dtype,
                                           .dtype_out = d->dtype,
                                           .bias = true,
                                           .act = ACT_TANH,
                                           .forward_only = !d->training};
    if (c->pre_logits)
        VT_TRY(vit->be->nn.linear_plan(vit->be, &pre_logits, &vit->head.pre_logits));
    const struct linear_desc head = {.rows = d->batch,
                                     .in = feature_width(c),
                                     .out = c->classes,
                                     .dtype = d->dtype,
                                     .dtype_out = DTYPE_F32,
                                     .bias = true,
                                     .input_act = c->pre_logits ? ACT_TANH : ACT_NONE,
                                     .forward_only = !d->training};
    return vit->be->nn.linear_plan(vit->be, &head, &vit->head.head);
}

vt_status head_plan(struct vit *vit)
{
    const struct vit_desc *d = &vit->desc;
    const struct vit_config *c = &d->config;
    struct head *h = &vit->head;
    find_rows(vit);
    VT_TRY(block_plan_first_norm(vit, c->depth, &h->norm, &h->one_gradient));
    const struct pool_desc pool = {.batch = d->batch,
                                   .tokens = vit_tokens(c),
                                   .width = c->width,
                                   .prefix = c->cls_token,
                                   .kind = c->pool,
                                   .dtype = d->dtype};
    if (last_block(vit)->kind == BLOCK_WHOLE)
        VT_TRY(vit->be->nn.pool_plan(vit->be, &pool, &h->pool));
    VT_TRY(plan_linears(vit));
    const struct loss_desc loss = {.batch = d->batch,
                                   .classes = c->classes,
                                   .labels = d->labels,
                                   .kind = d->loss,
                                   .smoothing = d->smoothing,
                                   .dtype_grad = DTYPE_F32};
    return vit->be->nn.loss_plan(vit->be, &loss, &h->loss);
}

void head_close(struct vit *vit)
{
    op_plan_close(&vit->head.norm);
    op_plan_close(&vit->head.pool);
    op_plan_close(&vit->head.pre_logits);
    op_plan_close(&vit->head.head);
    op_plan_close(&vit->head.loss);
}

void head_forward(const struct vit *vit, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct head *h = &vit->head;
    const struct activations *a = &vit->acts;

    void *y = h->pool ? a->y : a->pooled;
    const struct add_norm_forward_args norm = {.x = a->blocks[vit->desc.config.depth - 1].x2,
                                               .delta = a->delta,
                                               .weight = master_of(vit, pass, h->norm_rows.weight),
                                               .bias = master_of(vit, pass, h->norm_rows.bias),
                                               .x_out = a->x_final,
                                               .y = y,
                                               .stats = a->stats_final};
    nn->add_norm_forward(h->norm, &norm, &pass->random);
    if (h->pool)
        nn->pool_forward(h->pool, y, a->pooled);
    if (h->pre_logits)
        linear_of(vit, pass, h->pre_logits, h->pre_logits_rows, a->pooled, a->features, a->pre_logits_pre);
    linear_of(vit, pass, h->head, h->head_rows, a->features, a->logits, NULL);
}

/* On exit dx_of the last block is the gradient of its x2, ddelta_of that of its fc2's output. */
void head_backward(const struct vit *vit, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct head *h = &vit->head;
    const struct activations *a = &vit->acts;
    const struct grads *g = &pass->grads;

    nn->linear_backward_weight(h->head, a->features, a->dlogits, grad_of(g, h->head_rows.weight),
                               grad_of(g, h->head_rows.bias), g->accumulate);
    nn->linear_backward_input(h->head, &(struct linear_input_args){.dy = a->dlogits,
                                                                   .w = matrix_of(vit, pass, h->head_rows.weight),
                                                                   .input_pre = a->pre_logits_pre,
                                                                   .dx = a->dfeatures});
    if (h->pre_logits) {
        nn->linear_backward_weight(h->pre_logits, a->pooled, a->dfeatures, grad_of(g, h->pre_logits_rows.weight),
                                   grad_of(g, h->pre_logits_rows.bias), g->accumulate);
        nn->linear_backward_input(
            h->pre_logits, &(struct linear_input_args){.dy = a->dfeatures,
                                                       .w = matrix_of(vit, pass, h->pre_logits_rows.weight),
                                                       .dx = a->dpooled});
    }
    if (h->pool)
        nn->pool_backward(h->pool, a->dpooled, a->y);
    const struct block *last = last_block(vit);
    const struct add_norm_backward_args norm = {.dy = h->pool ? a->y : a->dpooled,
                                                .x_out = a->x_final,
                                                .stats = a->stats_final,
                                                .weight = master_of(vit, pass, h->norm_rows.weight),
                                                .dx = dx_of(vit, last->kind),
                                                .ddelta = ddelta_of(vit, last->kind, h->one_gradient),
                                                .dweight = grad_of(g, h->norm_rows.weight),
                                                .dbias = grad_of(g, h->norm_rows.bias),
                                                .ddelta_sum = grad_of(g, last->fc2.bias),
                                                .accumulate = g->accumulate};
    nn->add_norm_backward(h->norm, &norm, &pass->random);
    grads_final(g, h->norm_rows.weight);
}
