/* Passes over activations: norms, GELU where it is not in a product, input, embedding, pooling, dropout, loss. */
#include <stdio.h>

#include "cli/bench_table.h"

/* Draws of the ops that have any: all rows are at position 0. */
static struct op_random draws(const struct bench_op *o, int position)
{
    return (struct op_random){.seed = 1, .position = o->buffer[position]};
}

static double bytes_of(enum dtype dtype) { return (double)dtype_bytes(dtype); }

/* ---- residual and LayerNorm ---- */

enum { NORM_X, NORM_DELTA, NORM_OUT, NORM_Y, NORM_STATS, NORM_WEIGHT, NORM_BIAS, NORM_DW, NORM_DB, NORM_DELTA_SUM, NORM_DX };

static void run_norm(struct bench_op *o)
{
    const struct add_norm_desc *d = o->desc;
    const struct op_random none = {0};
    const struct add_norm_forward_args args = {.x = o->buffer[NORM_X], .delta = d->has_delta ? o->buffer[NORM_DELTA] : NULL,
                                               .weight = o->buffer[NORM_WEIGHT], .bias = o->buffer[NORM_BIAS],
                                               .x_out = d->has_delta ? o->buffer[NORM_OUT] : NULL, .y = o->buffer[NORM_Y],
                                               .stats = o->buffer[NORM_STATS]};
    o->table->be->nn.add_norm_forward(o->plan, &args, &none);
}

static void run_norm_backward(struct bench_op *o)
{
    const struct op_random none = {0};
    void *ddelta = add_norm_delta_is_dx(o->desc) ? o->buffer[NORM_DX] : o->buffer[NORM_DELTA];
    const struct add_norm_backward_args args = {.dy = o->buffer[NORM_Y], .x_out = o->buffer[NORM_OUT],
                                                .stats = o->buffer[NORM_STATS], .weight = o->buffer[NORM_WEIGHT],
                                                .dx_in = o->buffer[NORM_X], .dx = o->buffer[NORM_DX],
                                                .ddelta = ddelta, .dweight = o->buffer[NORM_DW],
                                                .dbias = o->buffer[NORM_DB], .ddelta_sum = o->buffer[NORM_DELTA_SUM]};
    o->table->be->nn.add_norm_backward(o->plan, &args, &none);
}

static vt_status open_norm(struct bench_op *o, const struct add_norm_desc *d)
{
    const int64_t D = d->width, elements = d->batch * d->tokens * D;
    o->desc = d;
    VT_TRY(o->table->be->nn.add_norm_plan(o->table->be, d, &o->plan));
    VT_TRY(bench_op_random(o, elements, d->dtype_stream));
    VT_TRY(bench_op_random(o, elements, d->dtype));
    VT_TRY(bench_op_random(o, elements, d->dtype_stream));
    VT_TRY(bench_op_random(o, elements, d->dtype));
    VT_TRY(bench_op_random(o, 2 * d->batch * d->tokens, DTYPE_F32));
    for (int i = NORM_WEIGHT; i <= NORM_DELTA_SUM; i++)
        VT_TRY(bench_op_random(o, D, DTYPE_F32));
    return bench_op_random(o, elements, d->dtype_stream);
}

/* The first norm of a model has no delta, the 2 L after it have one; of a class-only last block the second norm and the final one
 * have class tokens alone. Backward is timed with a delta. */
static vt_status norms(struct bench_table *t)
{
    const double elements = (double)bench_tokens(t) * t->model->width, stats = 8.0 * (double)bench_tokens(t);
    const double e = bytes_of(t->dtype), r = bytes_of(t->dtype_stream);
    struct add_norm_desc d = {.batch = t->images, .tokens = vit_tokens(t->model), .width = t->model->width, .dtype = t->dtype,
                              .dtype_stream = t->dtype_stream, .eps = 1e-6f, .has_delta = true};
    struct bench_op o = {.table = t}, first = {.table = t};
    struct bench_row row = {.op = "add+norm", .pass = "forward", .part = PART_NORM, .bytes = elements * 2 * (e + r) + stats,
                            .per_step = 2.0 * bench_whole_blocks(t)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%d, stream %s", t->model->width, dtype_name(t->dtype_stream));
    VT_TRY_OUT(open_norm(&o, &d));
    VT_TRY_OUT(bench_op_row(&o, run_norm, row));
    snprintf(row.pass, sizeof row.pass, "backward");
    row.bytes = elements * ((add_norm_delta_is_dx(&d) ? 1 : 2) * e + 3 * r) + stats;
    row.per_step++;
    VT_TRY_OUT(bench_op_row(&o, run_norm_backward, row));
    d.has_delta = false;
    bench_op_close(&o);
    VT_TRY_OUT(open_norm(&first, &d));
    snprintf(row.op, sizeof row.op, "norm");
    snprintf(row.pass, sizeof row.pass, "forward");
    row.bytes = elements * (e + r) + stats;
    row.per_step = 1;
    VT_TRY_OUT(bench_op_row(&first, run_norm, row));
out:
    bench_op_close(&o);
    bench_op_close(&first);
    return status;
}

/* ---- GELU alone, dropout ---- */

static void run_activation(struct bench_op *o)
{
    o->table->be->nn.activation_forward(o->plan, o->buffer[0], o->buffer[1]);
}

static vt_status gelu(struct bench_table *t)
{
    const int64_t rows = bench_tokens(t), F = t->model->mlp_width;
    const struct activation_desc d = {.rows = rows, .columns = F, .dtype = t->dtype, .act = t->model->gelu};
    struct bench_op o = {.table = t};
    struct bench_row row = {.op = "gelu", .pass = "forward", .part = PART_OTHER,
                            .bytes = 2 * (double)(rows * F) * bytes_of(t->dtype)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%lld", (long long)F);
    VT_TRY_OUT(t->be->nn.activation_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, rows * F, t->dtype));
    VT_TRY_OUT(bench_op_random(&o, rows * F, t->dtype));
    VT_TRY_OUT(bench_op_row(&o, run_activation, row));
out:
    bench_op_close(&o);
    return status;
}

static void run_dropout(struct bench_op *o)
{
    const struct op_random random = draws(o, 2);
    o->table->be->nn.dropout_forward(o->plan, o->buffer[0], o->buffer[1], &random);
}

/* Of the MLP, at the model's rate, else at 0.1 and not counted. Forward and backward are the same. */
static vt_status dropout(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const int64_t elements = (int64_t)vit_tokens(m) * m->mlp_width;
    const struct dropout_desc d = {.batch = t->images, .row_elements = elements, .dtype = t->dtype,
                                   .rate = m->dropout > 0 ? m->dropout : 0.1f, .purpose = 1};
    struct bench_op o = {.table = t};
    struct bench_row row = {.op = "dropout", .pass = "either", .part = m->dropout > 0 ? PART_NORM : PART_OTHER,
                            .bytes = 2.0 * t->images * (double)elements * bytes_of(t->dtype),
                            .per_step = m->dropout > 0 ? 2.0 * bench_whole_blocks(t) : 0};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%d", m->mlp_width);
    VT_TRY_OUT(t->be->nn.dropout_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, t->images * elements, t->dtype));
    VT_TRY_OUT(bench_op_random(&o, t->images * elements, t->dtype));
    VT_TRY_OUT(bench_op_zero(&o, (size_t)t->images * sizeof(uint64_t)));
    VT_TRY_OUT(bench_op_row(&o, run_dropout, row));
out:
    bench_op_close(&o);
    return status;
}

/* ---- input ---- */

static void run_patchify(struct bench_op *o)
{
    o->table->be->nn.patchify_forward(o->plan, o->buffer[0], NULL, o->buffer[1], NULL);
}

static vt_status patchify(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const int64_t values = (int64_t)t->images * m->image_size * m->image_size * m->channels;
    struct patchify_desc d = {.batch = t->images, .height = m->image_size, .width = m->image_size, .channels = m->channels,
                              .patch = m->patch_size, .dtype = t->dtype};
    struct bench_op o = {.table = t};
    struct bench_row row = {.op = "patchify", .pass = "forward", .part = PART_INPUT, .per_step = 1,
                            .bytes = (double)values * (1 + bytes_of(t->dtype))};
    vt_status status;
    for (int c = 0; c < 4; c++)
        d.mean[c] = 0.5f, d.std[c] = 0.25f;
    snprintf(row.shape, sizeof row.shape, "%d px, patch %d", m->image_size, m->patch_size);
    VT_TRY_OUT(t->be->nn.patchify_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, (values + 3) / 4, DTYPE_F32)); /* any bytes */
    VT_TRY_OUT(bench_op_random(&o, values, t->dtype));
    VT_TRY_OUT(bench_op_row(&o, run_patchify, row));
out:
    bench_op_close(&o);
    return status;
}

enum { EMBED_PATCHES, EMBED_X, EMBED_CLS, EMBED_POS, EMBED_SUM, EMBED_POSITION };

static void run_embed(struct bench_op *o)
{
    const struct embed_desc *d = o->desc;
    const struct op_random random = draws(o, EMBED_POSITION);
    o->table->be->nn.embed_forward(o->plan, o->buffer[EMBED_PATCHES], d->cls_token ? o->buffer[EMBED_CLS] : NULL,
                                   o->buffer[EMBED_POS], o->buffer[EMBED_X], &random);
}

static void run_embed_backward(struct bench_op *o)
{
    const struct embed_desc *d = o->desc;
    const struct op_random random = draws(o, EMBED_POSITION);
    o->table->be->nn.embed_backward(o->plan, o->buffer[EMBED_X], o->buffer[EMBED_PATCHES],
                                    d->cls_token ? o->buffer[EMBED_CLS] : NULL, o->buffer[EMBED_POS], o->buffer[EMBED_SUM],
                                    false, &random);
}

static vt_status embed(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const int64_t D = m->width, patches = (int64_t)t->images * vit_patches(m) * D, x = bench_tokens(t) * D;
    const struct embed_desc d = {.batch = t->images, .patches = vit_patches(m), .width = D, .cls_token = m->cls_token,
                                 .dtype = t->dtype, .dtype_stream = t->dtype_stream, .dropout = m->pos_dropout, .purpose = 1};
    struct bench_op o = {.table = t, .desc = &d};
    struct bench_row row = {.op = "embed", .pass = "forward", .part = PART_INPUT, .per_step = 1,
                            .bytes = (double)patches * bytes_of(t->dtype) + (double)x * bytes_of(t->dtype_stream)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%d x %lld", vit_tokens(m), (long long)D);
    VT_TRY_OUT(t->be->nn.embed_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, patches, t->dtype));
    VT_TRY_OUT(bench_op_random(&o, x, t->dtype_stream));
    VT_TRY_OUT(bench_op_random(&o, D, DTYPE_F32));
    VT_TRY_OUT(bench_op_random(&o, vit_tokens(m) * D, DTYPE_F32));
    VT_TRY_OUT(bench_op_random(&o, D, DTYPE_F32));
    VT_TRY_OUT(bench_op_zero(&o, (size_t)t->images * sizeof(uint64_t)));
    VT_TRY_OUT(bench_op_row(&o, run_embed, row));
    snprintf(row.pass, sizeof row.pass, "backward");
    VT_TRY_OUT(bench_op_row(&o, run_embed_backward, row));
out:
    bench_op_close(&o);
    return status;
}

/* ---- the end ---- */

static void run_pool(struct bench_op *o) { o->table->be->nn.pool_forward(o->plan, o->buffer[0], o->buffer[1]); }
static void run_pool_backward(struct bench_op *o) { o->table->be->nn.pool_backward(o->plan, o->buffer[1], o->buffer[0]); }

static vt_status pool(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const int64_t D = m->width, x = bench_tokens(t) * D;
    const struct pool_desc d = {.batch = t->images, .tokens = vit_tokens(m), .width = D, .prefix = m->cls_token, .kind = m->pool,
                                .dtype = t->dtype};
    struct bench_op o = {.table = t};
    const double y = (double)t->images * (double)D, read = m->pool == POOL_CLS ? y : (double)x;
    struct bench_row row = {.op = "pool", .pass = "forward", .part = PART_LOSS,
                            .per_step = !vit_class_only(m, m->depth - 1),
                            .bytes = (read + y) * bytes_of(t->dtype)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%s", m->pool == POOL_CLS ? "class token" : "mean");
    VT_TRY_OUT(t->be->nn.pool_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, x, t->dtype));
    VT_TRY_OUT(bench_op_random(&o, t->images * D, t->dtype));
    VT_TRY_OUT(bench_op_row(&o, run_pool, row));
    snprintf(row.pass, sizeof row.pass, "backward");
    row.bytes = ((double)x + y) * bytes_of(t->dtype);
    VT_TRY_OUT(bench_op_row(&o, run_pool_backward, row));
out:
    bench_op_close(&o);
    return status;
}

enum { LOSS_LOGITS, LOSS_DLOGITS, LOSS_ID, LOSS_WEIGHT, LOSS_ROW_WEIGHT, LOSS_SCALARS };

static void run_loss(struct bench_op *o)
{
    const struct loss_args args = {.logits = o->buffer[LOSS_LOGITS], .label_id = o->buffer[LOSS_ID],
                                   .label_weight = o->buffer[LOSS_WEIGHT], .row_weight = o->buffer[LOSS_ROW_WEIGHT],
                                   .grad_scale = 1.0f / (float)o->table->images, .dlogits = o->buffer[LOSS_DLOGITS],
                                   .scalars = o->buffer[LOSS_SCALARS]};
    o->table->be->nn.loss_forward_backward(o->plan, &args);
}

static vt_status loss(struct bench_table *t)
{
    const int64_t K = t->model->classes, B = t->images, S = t->labels;
    const struct loss_desc d = {.batch = B, .classes = K, .labels = S, .kind = t->sigmoid ? LOSS_SIGMOID : LOSS_SOFTMAX,
                                .smoothing = 0.1f, .dtype_grad = DTYPE_F32};
    struct bench_op o = {.table = t};
    struct bench_row row = {.op = "loss", .pass = "both", .part = PART_LOSS, .per_step = 1, .bytes = 8.0 * (double)(B * K)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "%lld classes", (long long)K);
    VT_TRY_OUT(t->be->nn.loss_plan(t->be, &d, &o.plan));
    VT_TRY_OUT(bench_op_random(&o, B * K, DTYPE_F32));
    VT_TRY_OUT(bench_op_random(&o, B * K, DTYPE_F32));
    VT_TRY_OUT(bench_op_zero(&o, (size_t)(B * S) * sizeof(int32_t)));
    VT_TRY_OUT(bench_op_constant(&o, B * S, 1.0f / (float)S));
    VT_TRY_OUT(bench_op_constant(&o, B, 1));
    VT_TRY_OUT(bench_op_zero(&o, sizeof(struct step_scalars)));
    VT_TRY_OUT(bench_op_row(&o, run_loss, row));
out:
    bench_op_close(&o);
    return status;
}

vt_status bench_passes(struct bench_table *t)
{
    VT_TRY(norms(t));
    VT_TRY(patchify(t));
    VT_TRY(embed(t));
    VT_TRY(pool(t));
    VT_TRY(loss(t));
    VT_TRY(gelu(t));
    return dropout(t);
}
