/* Passes over the parameters' flat buffers: gradient norm, AdamW with and without the average, cast, sum. */
#include <stdio.h>

#include "cli/bench_table.h"

enum { P, G, M, V, COMPUTE, EMA, PARTIAL, SCALARS };

struct flat {
    int64_t count;
    bool bf16;
};

static void run_norm(struct bench_op *o)
{
    const struct flat *f = o->desc;
    struct backend *be = o->table->be;
    be->optim.sumsq_chunks(be, o->buffer[G], f->count, o->buffer[PARTIAL]);
    be->optim.norm_finish(be, o->buffer[PARTIAL], (f->count + NORM_CHUNK - 1) / NORM_CHUNK, 1.0f, o->buffer[SCALARS]);
}

/* A step so small that the values stay where they are. */
static void update(struct bench_op *o, void *ema)
{
    const struct flat *f = o->desc;
    struct backend *be = o->table->be;
    const struct optim_segment all = {.end = f->count, .lr_scale = 1, .weight_decay = 0.05f};
    const struct optim_hyper hyper = {.lr = 1e-6f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .step = 1000, .clip = 1};
    be->optim.adamw(be, &all, 1, &hyper, o->buffer[P], o->buffer[G], o->buffer[M], o->buffer[V],
                    f->bf16 ? o->buffer[COMPUTE] : NULL, ema, 0.999f, o->buffer[SCALARS]);
}
static void run_adamw(struct bench_op *o) { update(o, NULL); }
static void run_adamw_ema(struct bench_op *o) { update(o, o->buffer[EMA]); }

static void run_cast(struct bench_op *o)
{
    const struct flat *f = o->desc;
    o->table->be->nn.cast(o->table->be, o->buffer[P], DTYPE_F32, o->buffer[COMPUTE], DTYPE_BF16, f->count);
}

static void run_sum(struct bench_op *o)
{
    const struct flat *f = o->desc;
    o->table->be->nn.reduce_add(o->table->be, o->buffer[M], o->buffer[G], f->count);
}

static vt_status open_flat(struct bench_op *o, const struct flat *f)
{
    o->desc = f;
    VT_TRY(bench_op_random(o, f->count, DTYPE_F32));
    VT_TRY(bench_op_random(o, f->count, DTYPE_F32));
    VT_TRY(bench_op_random(o, f->count, DTYPE_F32));
    VT_TRY(bench_op_constant(o, f->count, 1)); /* a second moment is not negative */
    VT_TRY(bench_op_random(o, f->count, DTYPE_BF16));
    VT_TRY(bench_op_random(o, f->count, DTYPE_F32));
    VT_TRY(bench_op_zero(o, (size_t)(f->count / NORM_CHUNK + 1) * sizeof(double)));
    return bench_op_zero(o, sizeof(struct step_scalars));
}

static vt_status rows(struct bench_op *o, const struct flat *f, bool ema)
{
    const double n = (double)f->count, adamw = n * (28 + 2 * f->bf16);
    struct bench_row row = {.op = "grad norm", .pass = "step", .part = PART_OPTIMIZER, .bytes = 4 * n, .per_step = 1};
    snprintf(row.shape, sizeof row.shape, "%.1f M", n * 1e-6);
    VT_TRY(bench_op_row(o, run_norm, row)); /* first: what adamw multiplies by is its result */
    snprintf(row.op, sizeof row.op, "adamw");
    row.bytes = adamw;
    row.per_step = !ema;
    VT_TRY(bench_op_row(o, run_adamw, row));
    snprintf(row.op, sizeof row.op, "adamw, ema");
    row.bytes = adamw + 8 * n;
    row.per_step = ema;
    VT_TRY(bench_op_row(o, run_adamw_ema, row));
    row.part = PART_OTHER;
    row.per_step = 0;
    snprintf(row.op, sizeof row.op, "cast");
    snprintf(row.pass, sizeof row.pass, "fp32 to bf16");
    row.bytes = 6 * n;
    VT_TRY(bench_op_row(o, run_cast, row));
    snprintf(row.op, sizeof row.op, "reduce_add");
    snprintf(row.pass, sizeof row.pass, "fp32");
    row.bytes = 12 * n;
    return bench_op_row(o, run_sum, row);
}

vt_status bench_flat(struct bench_table *t)
{
    struct param_table table = {0};
    struct bench_op o = {.table = t};
    vit_params(t->model, &table);
    const struct flat f = {.count = table.total, .bf16 = t->dtype == DTYPE_BF16};
    param_table_close(&table);
    vt_status status = open_flat(&o, &f);
    if (status == VT_OK)
        status = rows(&o, &f, t->ema);
    bench_op_close(&o);
    return status;
}
