/* Products: the linears of a block, alone and with what the model fuses into them, patch projection, head, attention. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench_table.h"

/* ---- the plain products, which gemm_rate times ---- */

/* In the model fc1's forward and fc2's input gradient have the activation with them, and the weight gradients of qkv and fc1
 * the bias' gradient, unless it comes from elsewhere: those count below. */
static bool counts(const struct bench_table *t, const struct gemm_shape *shape, enum gemm_product product)
{
    const bool fc1 = strcmp(shape->name, "fc1") == 0, qkv = strcmp(shape->name, "qkv") == 0;
    const bool fc2 = strcmp(shape->name, "fc2") == 0;
    return !(fc1 && product == GEMM_FORWARD) && !(fc2 && product == GEMM_INPUT_GRADIENT) &&
           !(((fc1 && !t->fc1_sum) || (qkv && !t->qkv_sum)) && product == GEMM_WEIGHT_GRADIENT);
}

/* Products of qkv in a step: a class-only block has two thirds of one. */
static double qkv_per_step(const struct bench_table *t) { return (bench_whole_blocks(t) + 2.0 * t->model->depth) / 3; }

static double linear_bytes(const struct bench_table *t, double rows, double in, double out, enum gemm_product product)
{
    double e = (double)dtype_bytes(t->dtype);
    if (product == GEMM_WEIGHT_GRADIENT)
        return e * rows * (in + out) + 8 * in * out; /* fp32, added to */
    return e * (rows * (in + out) + in * out);
}

static void add_plain(void *context, const struct gemm_shape *shape, enum gemm_product product, double seconds, double flops)
{
    static const char *const names[] = {"forward", "input gradient", "weight gradient"};
    struct bench_table *t = context;
    struct bench_row row = {.part = PART_LINEAR, .seconds = seconds, .flops = flops};
    row.bytes = linear_bytes(t, (double)bench_tokens(t), (double)shape->in, (double)shape->out, product);
    if (counts(t, shape, product))
        row.per_step = strcmp(shape->name, "qkv") == 0 ? qkv_per_step(t) : bench_whole_blocks(t);
    snprintf(row.op, sizeof row.op, "linear %s", shape->name);
    snprintf(row.pass, sizeof row.pass, "%s", names[product]);
    snprintf(row.shape, sizeof row.shape, "%lld -> %lld", (long long)shape->in, (long long)shape->out);
    t->rows[t->count++] = row;
}

/* ---- as the model has them ---- */

enum { X, W, Y, PRE, DW, B, DB };

static void run_forward(struct bench_op *o)
{
    const struct linear_desc *d = o->desc;
    const struct linear_forward_args args = {.x = o->buffer[X],
                                             .w = o->buffer[W],
                                             .b = o->buffer[B],
                                             .b_rounded = o->buffer[W], /* as the model has one */
                                             .y = o->buffer[Y],
                                             .pre = d->act == ACT_NONE ? NULL : o->buffer[PRE]};
    o->table->be->nn.linear_forward(o->plan, &args);
}

static void run_input(struct bench_op *o)
{
    const struct linear_desc *d = o->desc;
    const struct linear_input_args args = {.dy = o->buffer[Y],
                                           .w = o->buffer[W],
                                           .input_pre = d->input_act == ACT_NONE ? NULL : o->buffer[PRE],
                                           .dx = o->buffer[X],
                                           .dx_sum = o->plan->own_sums ? o->buffer[DB] : NULL};
    o->table->be->nn.linear_backward_input(o->plan, &args);
}

static void run_weight(struct bench_op *o)
{
    o->table->be->nn.linear_backward_weight(o->plan, o->buffer[X], o->buffer[Y], o->buffer[DW], NULL, false);
}

static void run_weight_bias(struct bench_op *o)
{
    o->table->be->nn.linear_backward_weight(o->plan, o->buffer[X], o->buffer[Y], o->buffer[DW], o->buffer[DB], false);
}

static vt_status open_layer(struct bench_op *o, const struct linear_desc *d)
{
    int64_t widest = d->in > d->out ? d->in : d->out;
    bool saves = d->act != ACT_NONE || d->input_act != ACT_NONE;
    o->desc = d;
    VT_TRY(o->table->be->nn.linear_plan(o->table->be, d, &o->plan));
    VT_TRY(bench_op_random(o, d->rows * d->in, d->dtype));
    VT_TRY(bench_op_random(o, d->out * d->in, d->dtype));
    VT_TRY(bench_op_random(o, d->rows * d->out, d->dtype_out));
    VT_TRY(bench_op_random(o, saves ? d->rows * widest : 1, d->dtype));
    VT_TRY(bench_op_random(o, d->out * d->in, DTYPE_F32));
    VT_TRY(bench_op_random(o, d->out, DTYPE_F32));
    return bench_op_random(o, widest, DTYPE_F32);
}

enum passes { FORWARD = 1, INPUT = 2, WEIGHT = 4, WEIGHT_BIAS = 8 };

static vt_status layer_rows(struct bench_table *t, const char *name, struct linear_desc d, int passes, enum bench_part part,
                            double per_step)
{
    static const struct {
        const char *name;
        void (*run)(struct bench_op *o);
        enum gemm_product product;
    } PASSES[] = {{"forward", run_forward, GEMM_FORWARD},
                  {"input gradient", run_input, GEMM_INPUT_GRADIENT},
                  {"weight gradient", run_weight, GEMM_WEIGHT_GRADIENT},
                  {"weight and bias", run_weight_bias, GEMM_WEIGHT_GRADIENT}};
    struct bench_op o = {.table = t};
    vt_status status;
    VT_TRY_OUT(open_layer(&o, &d));
    for (int i = 0; i < 4; i++) {
        if (!(passes & 1 << i))
            continue;
        struct bench_row row = {.part = part, .per_step = per_step};
        double saved = i == 0 && d.act != ACT_NONE ? (double)d.out : i == 1 && d.input_act != ACT_NONE ? (double)d.in : 0;
        row.flops = 2.0 * (double)d.rows * (double)d.in * (double)d.out;
        row.bytes = linear_bytes(t, (double)d.rows, (double)d.in, (double)d.out, PASSES[i].product) +
                    saved * (double)d.rows * (double)dtype_bytes(d.dtype);
        snprintf(row.op, sizeof row.op, "linear %s", name);
        snprintf(row.pass, sizeof row.pass, "%s", PASSES[i].name);
        snprintf(row.shape, sizeof row.shape, "%lld -> %lld", (long long)d.in, (long long)d.out);
        VT_TRY_OUT(bench_op_row(&o, PASSES[i].run, row));
    }
out:
    bench_op_close(&o);
    return status;
}

static struct linear_desc token_linear(const struct bench_table *t, int64_t in, int64_t out)
{
    return (struct linear_desc){
        .rows = bench_tokens(t), .in = in, .out = out, .bias = true, .dtype = t->dtype, .dtype_out = t->dtype};
}

static struct linear_desc fc2_of(const struct bench_table *t)
{
    struct linear_desc fc2 = token_linear(t, t->model->mlp_width, t->model->width);
    fc2.input_act = t->model->gelu;
    fc2.dx_sum = t->model->dropout == 0;
    return fc2;
}

static vt_status layers(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const int64_t D = m->width, F = m->mlp_width;
    struct linear_desc fc1 = token_linear(t, D, F), patches = token_linear(t, 0, D), head = token_linear(t, 0, m->classes);
    fc1.act = m->gelu;
    patches.rows = (int64_t)t->images * vit_patches(m);
    patches.in = (int64_t)m->channels * m->patch_size * m->patch_size;
    head.rows = t->images, head.in = m->pre_logits ? m->pre_logits : D, head.dtype_out = DTYPE_F32;
    VT_TRY(layer_rows(t, "qkv+db", token_linear(t, D, 3 * D), WEIGHT_BIAS, PART_LINEAR, t->qkv_sum ? 0 : qkv_per_step(t)));
    VT_TRY(layer_rows(t, "fc1+gelu", fc1, FORWARD, PART_LINEAR, bench_whole_blocks(t)));
    VT_TRY(layer_rows(t, "fc1+db", fc1, WEIGHT_BIAS, PART_LINEAR, t->fc1_sum ? 0 : bench_whole_blocks(t)));
    VT_TRY(layer_rows(t, t->fc1_sum ? "fc2+dgelu+db" : "fc2+dgelu", fc2_of(t), INPUT, PART_LINEAR, bench_whole_blocks(t)));
    VT_TRY(layer_rows(t, "patches", patches, FORWARD | WEIGHT, PART_INPUT, 1));
    return layer_rows(t, "head", head, FORWARD | INPUT | WEIGHT_BIAS, PART_LOSS, 1);
}

/* ---- attention ---- */

enum { QKV, O, DQKV, DO, LSE, DQKV_SUM };

static char *packed(const struct bench_op *o, int buffer, int part)
{
    return (char *)o->buffer[buffer] + (size_t)(part * o->table->model->width) * dtype_bytes(o->table->dtype);
}

static void run_attention(struct bench_op *o)
{
    const struct op_random none = {0};
    o->table->be->nn.attention_forward(o->plan, packed(o, QKV, 0), packed(o, QKV, 1), packed(o, QKV, 2), o->buffer[O],
                                       o->buffer[LSE], &none);
}

static void run_attention_backward(struct bench_op *o)
{
    const struct op_random none = {0};
    const int64_t D = o->table->model->width;
    float *sum = o->buffer[DQKV_SUM];
    const struct attention_sums sums = {.dq = sum, .dk = sum + D, .dv = sum + 2 * D};
    o->table->be->nn.attention_backward(o->plan, packed(o, QKV, 0), packed(o, QKV, 1), packed(o, QKV, 2), o->buffer[O],
                                        o->buffer[LSE], o->buffer[DO], packed(o, DQKV, 0), packed(o, DQKV, 1),
                                        packed(o, DQKV, 2), o->plan->own_sums ? &sums : NULL, &none);
}

static vt_status plan_attention(struct bench_table *t, struct op_plan **plan)
{
    const struct vit_config *m = t->model;
    const int64_t N = vit_tokens(m), D = m->width, d = D / m->heads;
    const struct attention_view qkv = {N * 3 * D, d, 3 * D}, out = {N * D, d, D};
    const struct attention_desc desc = {.batch = t->images, .heads = m->heads, .queries = N, .keys = N, .head_dim = d,
                                        .dtype = t->dtype, .scale = (float)(1 / sqrt((double)d)), .q = qkv, .k = qkv, .v = qkv,
                                        .o = out, .sums = m->qkv_bias};
    return t->be->nn.attention_plan(t->be, &desc, plan);
}

static vt_status open_attention(struct bench_op *o)
{
    struct bench_table *t = o->table;
    const struct vit_config *m = t->model;
    const int64_t D = m->width, rows = bench_tokens(t);
    VT_TRY(plan_attention(t, &o->plan));
    VT_TRY(bench_op_random(o, rows * 3 * D, t->dtype));
    VT_TRY(bench_op_random(o, rows * D, t->dtype));
    VT_TRY(bench_op_random(o, rows * 3 * D, t->dtype));
    VT_TRY(bench_op_random(o, rows * D, t->dtype));
    VT_TRY(bench_op_random(o, rows * m->heads, DTYPE_F32));
    return bench_op_random(o, 3 * D, DTYPE_F32);
}

/* Backward counts twice forward's FLOPs, whatever is computed again. */
static vt_status attention(struct bench_table *t)
{
    const struct vit_config *m = t->model;
    const double N = vit_tokens(m), D = m->width, rows = (double)bench_tokens(t), e = (double)dtype_bytes(t->dtype);
    struct bench_op o = {.table = t};
    struct bench_row row = {.op = "attention", .pass = "forward", .part = PART_ATTENTION, .flops = 4 * rows * N * D,
                            .bytes = 4 * rows * D * e + 4 * rows * m->heads, .per_step = bench_whole_blocks(t)};
    vt_status status;
    snprintf(row.shape, sizeof row.shape, "N %d, d %d", vit_tokens(m), m->width / m->heads);
    VT_TRY_OUT(open_attention(&o));
    VT_TRY_OUT(bench_op_row(&o, run_attention, row));
    snprintf(row.pass, sizeof row.pass, t->qkv_sum ? "backward+db" : "backward");
    row.flops *= 2;
    row.bytes = 8 * rows * D * e + 4 * rows * m->heads;
    VT_TRY_OUT(bench_op_row(&o, run_attention_backward, row));
out:
    bench_op_close(&o);
    return status;
}

/* As the model will have it. */
static vt_status find_sums(struct bench_table *t)
{
    const struct linear_desc desc = fc2_of(t);
    struct op_plan *fc2 = NULL, *attention = NULL;
    vt_status status;
    VT_TRY_OUT(t->be->nn.linear_plan(t->be, &desc, &fc2));
    VT_TRY_OUT(plan_attention(t, &attention));
    t->fc1_sum = fc2->own_sums;
    t->qkv_sum = attention->own_sums;
out:
    op_plan_close(&fc2);
    op_plan_close(&attention);
    return status;
}

vt_status bench_products(struct bench_table *t)
{
    VT_TRY(find_sums(t));
    VT_TRY(gemm_rate_measure(t->be, t->model, t->images, t->dtype, t->repetitions, add_plain, t, &t->gemm));
    VT_TRY(layers(t));
    return attention(t);
}
