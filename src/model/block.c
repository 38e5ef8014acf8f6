/* The pre-LayerNorm transformer block on the pair (x, delta):
 *   (x1, y1) = add_norm(x, delta of the block before)     delta = proj(attention(qkv(y1)))
 *   (x2, y2) = add_norm(x1, delta)                        delta = fc2(dropout(gelu(fc1(y2))))
 * Branch dropout and drop-path live in the add_norm that takes the branch's delta, so do the biases' gradients of the
 * linears that made it (proj, fc2). Those of qkv and fc1 come with the gradients of their outputs where these are made
 * (attention, fc2) if the plans say so (own_sums), else with their weights' gradients.
 * A class-only block takes y1 of all tokens to k and v, of the class tokens to q; from there on its rows are theirs. */
#include "model/replica.h"

/* What the last block of a forward left in places that blocks share is still there when backward begins. */
static bool is_last(const struct vit *vit, int layer)
{
    return layer == vit->desc.config.depth - 1;
}

/* What attention reads, or its gradients. */
struct qkv {
    void *q, *k, *v;
};

/* Views of a packed buffer; class only, q has its own. */
static struct qkv qkv_of(const struct vit *vit, const struct block *b, void *packed, void *q)
{
    const size_t part = (size_t)vit->desc.config.width * dtype_bytes(vit->desc.dtype);
    char *k = (char *)packed + (b->kind == BLOCK_CLASS_ONLY ? 0 : part);
    return (struct qkv){b->kind == BLOCK_CLASS_ONLY ? q : packed, k, k + part};
}

/* The rows of the qkv parameters that the packed product has: all, or from k on. */
struct qkv_params {
    const void *w, *b_rounded;
    const float *b;
    float *dw, *db; /* backward only */
};

static struct qkv_params packed_params(const struct vit *vit, const struct block *b, const struct pass *pass)
{
    const int64_t D = vit->desc.config.width, first = b->kind == BLOCK_CLASS_ONLY ? D : 0;
    const size_t element = dtype_bytes(vit->desc.dtype);
    const float *bias = master_of(vit, pass, b->qkv.bias);
    const char *rounded = matrix_of(vit, pass, b->qkv.bias);
    struct qkv_params p = {.w = (const char *)matrix_of(vit, pass, b->qkv.weight) + (size_t)(first * D) * element,
                           .b = bias ? bias + first : NULL,
                           .b_rounded = rounded ? rounded + (size_t)first * element : NULL};
    if (pass->grads.values) {
        float *db = grad_of(&pass->grads, b->qkv.bias);
        p.dw = grad_of(&pass->grads, b->qkv.weight) + first * D;
        p.db = db ? db + first : NULL;
    }
    return p;
}

static void forward_qkv(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared[b->kind];
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct qkv_params packed = packed_params(vit, b, pass);
    const struct linear_forward_args args = {
        .x = a->y1, .w = packed.w, .b = packed.b, .b_rounded = packed.b_rounded, .y = a->qkv};
    nn->linear_forward(l->qkv, &args);
    if (l->q)
        linear_of(vit, pass, l->q, b->qkv, a->y1, a->q, NULL);
}

/* From y1 to h. delta: where the attention branch's output goes. */
static void forward_inner(const struct vit *vit, int layer, const struct pass *pass, void *delta)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared[b->kind];
    const struct block_activations *a = &vit->acts.blocks[layer];

    const struct qkv qkv = qkv_of(vit, b, a->qkv, a->q);
    forward_qkv(vit, layer, pass);
    nn->attention_forward(b->attention, qkv.q, qkv.k, qkv.v, a->o, a->lse, &pass->random);
    linear_of(vit, pass, l->proj, b->proj, a->o, delta, NULL);

    const struct add_norm_forward_args norm2 = {.x = a->x1,
                                                .delta = delta,
                                                .weight = master_of(vit, pass, b->norm2_rows.weight),
                                                .bias = master_of(vit, pass, b->norm2_rows.bias),
                                                .x_out = a->x2,
                                                .y = a->y2,
                                                .stats = a->stats2};
    nn->add_norm_forward(b->norm2, &norm2, &pass->random);
    linear_of(vit, pass, l->fc1, b->fc1, a->y2, a->h, a->pre);
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
    linear_of(vit, pass, vit->shared[b->kind].fc2, b->fc2, a->h, delta, NULL);
}

/* y from the sum x that the norm left; stats get the bits they had. */
static void norm_again(const struct vit *vit, const struct pass *pass, struct op_plan *plan, struct linear_rows rows,
                       const void *x, void *y, float *stats)
{
    const struct add_norm_forward_args norm = {.x = x,
                                               .weight = master_of(vit, pass, rows.weight),
                                               .bias = master_of(vit, pass, rows.bias),
                                               .y = y,
                                               .stats = stats};
    vit->be->nn.add_norm_forward(plan, &norm, &pass->random);
}

/* RECOMPUTE_BLOCK: fill the shared buffers again from the one tensor kept, x1; fc2's output is not needed. */
static void run_again(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct block *b = &vit->blocks[layer];
    const struct block_activations *a = &vit->acts.blocks[layer];
    norm_again(vit, pass, vit->shared[b->kind].norm1_again, b->norm1_rows, a->x1, a->y1, a->stats1);
    forward_inner(vit, layer, pass, vit->acts.wide);
}

/* RECOMPUTE_LIGHT: h from pre. */
static void gelu_again(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_activations *a = &vit->acts.blocks[layer];
    nn->activation_forward(vit->shared[b->kind].gelu_again, a->pre, a->h);
    if (b->mlp_dropout)
        nn->dropout_forward(b->mlp_dropout, a->h, a->h, &pass->random);
}

/* The gradient of the MLP's output, as the norm after the block has left it. */
static void *ddelta_in(const struct vit *vit, int layer)
{
    if (is_last(vit, layer))
        return ddelta_of(vit, vit->blocks[layer].kind, vit->head.one_gradient);
    return ddelta_of(vit, BLOCK_WHOLE, vit->blocks[layer + 1].one_gradient1);
}

static void backward_mlp(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared[b->kind];
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct grads *g = &pass->grads;
    void *dx = dx_of(vit, b->kind), *ddelta = ddelta_in(vit, layer), *dy = vit->acts.y, *dh = vit->acts.wide;
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
    if (light) /* here, as y2 lies where dy will; the final norm's output, or its gradient, may have lain there too */
        norm_again(vit, pass, l->norm2_again, b->norm2_rows, a->x2, a->y2, a->stats2);
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
                                                 .ddelta = ddelta_of(vit, b->kind, b->one_gradient2),
                                                 .dweight = grad_of(g, b->norm2_rows.weight),
                                                 .dbias = grad_of(g, b->norm2_rows.bias),
                                                 .ddelta_sum = grad_of(g, b->proj.bias),
                                                 .accumulate = g->accumulate};
    nn->add_norm_backward(b->norm2, &norm2, &pass->random);
    grads_final(g, b->norm2_rows.weight);
}

/* From the packed gradient (and dq, class only) to that of y1, in acts.y. sums: the bias has its gradient already. */
static void backward_qkv(const struct vit *vit, int layer, const struct pass *pass, const void *dqkv, const void *dq,
                         bool sums)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared[b->kind];
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct grads *g = &pass->grads;
    const struct qkv_params packed = packed_params(vit, b, pass);
    nn->linear_backward_weight(l->qkv, a->y1, dqkv, packed.dw, sums ? NULL : packed.db, g->accumulate);
    if (l->q)
        nn->linear_backward_weight(l->q, a->y1, dq, grad_of(g, b->qkv.weight), sums ? NULL : grad_of(g, b->qkv.bias),
                                   g->accumulate);
    nn->linear_backward_input(l->qkv, &(struct linear_input_args){.dy = dqkv, .w = packed.w, .dx = vit->acts.y});
    if (l->q)
        nn->linear_backward_input(l->q, &(struct linear_input_args){.dy = dq,
                                                                    .w = matrix_of(vit, pass, b->qkv.weight),
                                                                    .dx = vit->acts.y,
                                                                    .accumulate = true});
}

static void backward_attention(const struct vit *vit, int layer, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct block *b = &vit->blocks[layer];
    const struct block_shared *l = &vit->shared[b->kind];
    const struct block_activations *a = &vit->acts.blocks[layer];
    const struct grads *g = &pass->grads;
    void *ddelta = ddelta_of(vit, b->kind, b->one_gradient2), *dy = vit->acts.y, *d_o = dy, *dqkv = vit->acts.wide;
    const struct qkv qkv = qkv_of(vit, b, a->qkv, a->q), d = qkv_of(vit, b, dqkv, vit->acts.delta);
    float *bias = grad_of(g, b->qkv.bias);
    const int64_t D = vit->desc.config.width;
    const bool own_sums = b->attention->own_sums && bias;
    const struct attention_sums sums = {.dq = bias,
                                        .dk = bias ? bias + D : NULL,
                                        .dv = bias ? bias + 2 * D : NULL,
                                        .accumulate = g->accumulate};

    nn->linear_backward_weight(l->proj, a->o, ddelta, grad_of(g, b->proj.weight), NULL, g->accumulate);
    nn->linear_backward_input(
        l->proj, &(struct linear_input_args){.dy = ddelta, .w = matrix_of(vit, pass, b->proj.weight), .dx = d_o});
    nn->attention_backward(b->attention, qkv.q, qkv.k, qkv.v, a->o, a->lse, d_o, d.q, d.k, d.v, own_sums ? &sums : NULL,
                           &pass->random);
    if (vit->desc.recompute == RECOMPUTE_LIGHT) /* here, as y1 lies where d_o did */
        norm_again(vit, pass, l->norm1_again, b->norm1_rows, a->x1, a->y1, a->stats1);
    backward_qkv(vit, layer, pass, dqkv, d.q, own_sums);
    const struct add_norm_backward_args norm1 = {.dy = dy,
                                                 .x_out = a->x1,
                                                 .stats = a->stats1,
                                                 .weight = master_of(vit, pass, b->norm1_rows.weight),
                                                 .dx_in = dx_of(vit, b->kind),
                                                 .dx = vit->acts.dx,
                                                 .ddelta = layer ? ddelta_of(vit, BLOCK_WHOLE, b->one_gradient1) : NULL,
                                                 .dweight = grad_of(g, b->norm1_rows.weight),
                                                 .dbias = grad_of(g, b->norm1_rows.bias),
                                                 .ddelta_sum =
                                                     layer ? grad_of(g, vit->blocks[layer - 1].fc2.bias) : NULL,
                                                 .accumulate = g->accumulate};
    nn->add_norm_backward(b->norm1, &norm1, &pass->random);
    grads_final(g, b->norm1_rows.weight);
}

/* On entry dx_of is the gradient of x2, ddelta_in that of fc2's output; on exit acts.dx is that of x, and beside it that of
 * the delta before. */
void block_backward(const struct vit *vit, int layer, const struct pass *pass)
{
    if (vit->desc.recompute == RECOMPUTE_BLOCK && !is_last(vit, layer))
        run_again(vit, layer, pass);
    backward_mlp(vit, layer, pass);
    backward_attention(vit, layer, pass);
}
