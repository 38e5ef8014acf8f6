/* Attention, one (image, head) at a time: k, v (and q, d_o backward) are packed as panels, then blocks of query rows
 * run scores -> softmax -> product with v while the scores stay in L1/L2. Backward recomputes the scores from lse. The
 * stored probabilities are unnormalised in forward (the row's 1/sum is applied to o). A part of the work is an (image,
 * head) pair. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { QUERY_BLOCK = 32 }; /* even: rows are paired along the depth of p^T d_o */

struct attention_plan {
    struct op_plan plan;
    struct attention_desc desc;
    enum gemm_mode mode;
    int64_t row;          /* keys rounded up to whole vectors: floats, or words, between rows of scores */
    int64_t width;        /* head_dim rounded up likewise */
    int64_t thread_bytes; /* workspace of one thread */
};

/* A thread's workspace, carved in this order. Panels of an operand: [columns / vector][words][vector]. */
struct attention_scratch {
    char *k_columns, *v_rows;                    /* b of q k^T and of p v */
    char *v_columns, *k_rows, *q_rows, *do_rows; /* backward: of do v^T, ds k, ds^T q, p^T do */
    char *a;                             /* a block of q or d_o rows converted, where it cannot be read in place */
    float *scores, *dp, *keep, *product; /* fp32 blocks */
    char *p, *ds, *p_pairs, *ds_pairs;
    float *inverse;
};

struct attention_job {
    const struct attention_plan *plan;
    const void *q, *k, *v, *d_o;
    void *out, *dq, *dk, *dv; /* out: forward's o */
    float *lse;               /* written by forward, read by backward */
    const struct attention_sums *sums;
    const struct op_random *random;
};

static char *carve(char *base, int64_t *used, int64_t bytes)
{
    char *piece = base ? base + *used : NULL;
    *used += round_up(bytes, 64);
    return piece;
}

/* Lays the scratch out from `base`; returns the bytes. base NULL: only counts. */
static int64_t lay_out(const struct attention_plan *p, int64_t vector, char *base, struct attention_scratch *s)
{
    const struct attention_desc *d = &p->desc;
    int64_t used = 0;
    const int64_t line = vector * 4, key_panels = p->row / vector, width_panels = p->width / vector;
    const int64_t words_d = gemm_words(p->mode, d->head_dim), words_k = gemm_words(p->mode, d->keys);
    const int64_t words_q = gemm_words(p->mode, d->queries), block = QUERY_BLOCK * p->row * 4;
    const int64_t rows = d->keys > QUERY_BLOCK ? d->keys : QUERY_BLOCK;
    s->k_columns = carve(base, &used, key_panels * words_d * line);
    s->v_rows = carve(base, &used, width_panels * words_k * line);
    s->v_columns = carve(base, &used, key_panels * words_d * line);
    s->k_rows = carve(base, &used, width_panels * words_k * line);
    s->q_rows = carve(base, &used, width_panels * words_q * line);
    s->do_rows = carve(base, &used, width_panels * words_q * line);
    s->a = carve(base, &used, QUERY_BLOCK * words_d * 4);
    s->scores = (float *)carve(base, &used, block);
    s->dp = (float *)carve(base, &used, block);
    s->keep = (float *)carve(base, &used, block);
    s->product = (float *)carve(base, &used, rows * p->width * 4);
    s->p = carve(base, &used, block);
    s->ds = carve(base, &used, block);
    s->p_pairs = carve(base, &used, (words_q + QUERY_BLOCK) * p->row * 4);
    s->ds_pairs = carve(base, &used, (words_q + QUERY_BLOCK) * p->row * 4);
    s->inverse = (float *)carve(base, &used, QUERY_BLOCK * 4);
    return used;
}

static const void *view_at(const void *tensor, enum dtype dtype, const struct attention_view *view, int64_t b,
                           int64_t h, int64_t row)
{
    return at_element(tensor, dtype, b * view->batch + h * view->head + row * view->row);
}

/* c(rows, columns) = a b, a being rows of a strided tensor of T. */
static void multiply_rows(const struct attention_plan *p, const struct attention_scratch *s, const void *a,
                          int64_t a_row, int64_t rows, const char *panels, int64_t columns, float *c)
{
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    const struct attention_desc *d = &p->desc;
    const int64_t words = gemm_words(p->mode, d->head_dim);
    struct gemm_call call = {.mode = p->mode,
                             .rows = rows,
                             .columns = columns,
                             .words = words,
                             .a = a,
                             .a_row = a_row * dtype_size(d->dtype),
                             .a_step = 4,
                             .b = panels,
                             .b_panel = words * k->width * 4,
                             .c = c,
                             .c_row = columns};
    if ((p->mode == GEMM_F32 && d->dtype == DTYPE_BF16) || (p->mode == GEMM_BF16 && d->head_dim % 2)) {
        k->convert_rows(p->mode, a, d->dtype, a_row, rows, d->head_dim, s->a);
        call.a = s->a;
        call.a_row = words * 4;
    }
    k->gemm(&call);
}

static void draw_block(const struct attention_job *job, const struct attention_scratch *s, int64_t b, int64_t h,
                       int64_t i, int64_t rows)
{
    const struct attention_plan *p = job->plan;
    const struct attention_desc *d = &p->desc;
    struct draw_keep draw = {job->random->seed, job->random->position[b], d->purpose, d->dropout};
    for (int64_t r = 0; r < rows; r++)
        cpu_of(&p->plan)->kernels->draw_keep(&draw, (uint64_t)((h * d->queries + i + r) * d->keys), d->keys,
                                             s->keep + r * p->row);
}

static void forward_head(const struct attention_job *job, const struct attention_scratch *s, int64_t b, int64_t h)
{
    const struct attention_plan *p = job->plan;
    const struct attention_desc *d = &p->desc;
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    const int64_t line = k->width * 4, words_d = gemm_words(p->mode, d->head_dim),
                  words_k = gemm_words(p->mode, d->keys);
    k->pack_transposed(p->mode, view_at(job->k, d->dtype, &d->k, b, h, 0), d->dtype, d->k.row, d->keys, d->head_dim,
                       s->k_columns, words_d * line);
    k->pack_rows(p->mode, view_at(job->v, d->dtype, &d->v, b, h, 0), d->dtype, d->v.row, d->keys, d->head_dim,
                 s->v_rows, words_k * line, NULL);
    for (int64_t i = 0; i < d->queries; i += QUERY_BLOCK) {
        int64_t rows = least(QUERY_BLOCK, d->queries - i);
        multiply_rows(p, s, view_at(job->q, d->dtype, &d->q, b, h, i), d->q.row, rows, s->k_columns, p->row, s->scores);
        if (d->dropout > 0)
            draw_block(job, s, b, h, i, rows);
        struct softmax_rows softmax = {.rows = rows,
                                       .keys = d->keys,
                                       .row = p->row,
                                       .mode = p->mode,
                                       .scale = d->scale,
                                       .scores = s->scores,
                                       .keep = d->dropout > 0 ? s->keep : NULL,
                                       .p = s->p,
                                       .p_row = p->row,
                                       .lse = job->lse + (b * d->heads + h) * d->queries + i,
                                       .inverse = s->inverse};
        k->softmax_forward(&softmax);
        struct gemm_call call = {.mode = p->mode,
                                 .rows = rows,
                                 .columns = p->width,
                                 .words = words_k,
                                 .a = s->p,
                                 .a_row = p->row * (p->mode == GEMM_BF16 ? 2 : 4),
                                 .a_step = 4,
                                 .b = s->v_rows,
                                 .b_panel = words_k * line,
                                 .c = s->product,
                                 .c_row = p->width};
        k->gemm(&call);
        k->scale_rows(s->product, p->width, s->inverse, rows, d->head_dim,
                      (void *)(uintptr_t)view_at(job->out, d->dtype, &d->o, b, h, i), d->dtype, d->o.row);
    }
}

static void pack_backward(const struct attention_job *job, const struct attention_scratch *s, int64_t b, int64_t h)
{
    const struct attention_plan *p = job->plan;
    const struct attention_desc *d = &p->desc;
    const struct cpu_kernels *kernels = cpu_of(&p->plan)->kernels;
    const int64_t line = kernels->width * 4, words_d = gemm_words(p->mode, d->head_dim) * line;
    const int64_t words_k = gemm_words(p->mode, d->keys) * line, words_q = gemm_words(p->mode, d->queries) * line;
    const void *q = view_at(job->q, d->dtype, &d->q, b, h, 0), *k = view_at(job->k, d->dtype, &d->k, b, h, 0);
    const void *v = view_at(job->v, d->dtype, &d->v, b, h, 0), *d_o = view_at(job->d_o, d->dtype, &d->o, b, h, 0);
    kernels->pack_transposed(p->mode, k, d->dtype, d->k.row, d->keys, d->head_dim, s->k_columns, words_d);
    kernels->pack_transposed(p->mode, v, d->dtype, d->v.row, d->keys, d->head_dim, s->v_columns, words_d);
    kernels->pack_rows(p->mode, k, d->dtype, d->k.row, d->keys, d->head_dim, s->k_rows, words_k, NULL);
    kernels->pack_rows(p->mode, q, d->dtype, d->q.row, d->queries, d->head_dim, s->q_rows, words_q, NULL);
    kernels->pack_rows(p->mode, d_o, d->dtype, d->o.row, d->queries, d->head_dim, s->do_rows, words_q, NULL);
}

/* p, ds of query rows [i, i + rows) into their pairs, and dq of them. */
static void backward_queries(const struct attention_job *job, const struct attention_scratch *s, int64_t b, int64_t h,
                             int64_t i, int64_t rows)
{
    const struct attention_plan *p = job->plan;
    const struct attention_desc *d = &p->desc;
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    const bool pairs = p->mode == GEMM_BF16;
    const int64_t at = (pairs ? i / 2 : i) * p->row * 4, words_k = gemm_words(p->mode, d->keys);
    multiply_rows(p, s, view_at(job->q, d->dtype, &d->q, b, h, i), d->q.row, rows, s->k_columns, p->row, s->scores);
    multiply_rows(p, s, view_at(job->d_o, d->dtype, &d->o, b, h, i), d->o.row, rows, s->v_columns, p->row, s->dp);
    if (d->dropout > 0)
        draw_block(job, s, b, h, i, rows);
    struct softmax_rows softmax = {.rows = rows,
                                   .keys = d->keys,
                                   .row = p->row,
                                   .mode = p->mode,
                                   .scale = d->scale,
                                   .scores = s->scores,
                                   .dp = s->dp,
                                   .keep = d->dropout > 0 ? s->keep : NULL,
                                   .p_row = p->row,
                                   .lse = job->lse + (b * d->heads + h) * d->queries + i,
                                   .p_pairs = s->p_pairs + at,
                                   .ds_pairs = s->ds_pairs + at,
                                   .ds = pairs ? s->ds : NULL};
    k->softmax_backward(&softmax);
    struct gemm_call call = {.mode = p->mode,
                             .rows = rows,
                             .columns = p->width,
                             .words = words_k,
                             .a = pairs ? s->ds : s->ds_pairs + at,
                             .a_row = p->row * (pairs ? 2 : 4),
                             .a_step = 4,
                             .b = s->k_rows,
                             .b_panel = words_k * k->width * 4,
                             .c = s->product,
                             .c_row = p->width};
    k->gemm(&call);
    k->scale_rows(s->product, p->width, NULL, rows, d->head_dim,
                  (void *)(uintptr_t)view_at(job->dq, d->dtype, &d->q, b, h, i), d->dtype, d->q.row);
}

/* dk or dv: rows of keys = (p or ds)^T times rows of queries. */
static void backward_keys(const struct attention_plan *p, const struct attention_scratch *s, const char *pairs,
                          const char *panels, const void *gradient, int64_t gradient_row)
{
    const struct attention_desc *d = &p->desc;
    const struct cpu_kernels *k = cpu_of(&p->plan)->kernels;
    const int64_t words = gemm_words(p->mode, d->queries);
    struct gemm_call call = {.mode = p->mode,
                             .rows = d->keys,
                             .columns = p->width,
                             .words = words,
                             .a = pairs,
                             .a_row = 4,
                             .a_step = p->row * 4,
                             .b = panels,
                             .b_panel = words * k->width * 4,
                             .c = s->product,
                             .c_row = p->width};
    k->gemm(&call);
    k->scale_rows(s->product, p->width, NULL, d->keys, d->head_dim, (void *)(uintptr_t)gradient, d->dtype,
                  gradient_row);
}

static void backward_head(const struct attention_job *job, const struct attention_scratch *s, int64_t b, int64_t h)
{
    const struct attention_desc *d = &job->plan->desc;
    pack_backward(job, s, b, h);
    for (int64_t i = 0; i < d->queries; i += QUERY_BLOCK)
        backward_queries(job, s, b, h, i, least(QUERY_BLOCK, d->queries - i));
    backward_keys(job->plan, s, s->p_pairs, s->do_rows, view_at(job->dv, d->dtype, &d->v, b, h, 0), d->v.row);
    backward_keys(job->plan, s, s->ds_pairs, s->q_rows, view_at(job->dk, d->dtype, &d->k, b, h, 0), d->k.row);
}

/* One part per (image, head). */
static void run_head(void *context, int part, int parts, int worker)
{
    const struct attention_job *job = context;
    const struct attention_plan *p = job->plan;
    struct attention_scratch scratch;
    (void)parts;
    lay_out(p, cpu_of(&p->plan)->kernels->width, cpu_workspace(&p->plan) + worker * p->thread_bytes, &scratch);
    (job->d_o ? backward_head : forward_head)(job, &scratch, part / p->desc.heads, part % p->desc.heads);
}

static void add_rows(const struct attention_job *job, const void *from, const struct attention_view *view, int64_t rows, int64_t h,
                     float *sum)
{
    const struct attention_desc *d = &job->plan->desc;
    for (int64_t c = 0; !job->sums->accumulate && c < d->head_dim; c++)
        sum[c] = 0;
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t row = 0; row < rows; row++) {
            const void *at = view_at(from, d->dtype, view, b, h, row);
            for (int64_t c = 0; c < d->head_dim; c++)
                sum[c] += d->dtype == DTYPE_BF16 ? bf16_to_float(((const bf16_t *)at)[c]) : ((const float *)at)[c];
        }
}

/* One part per head: a pass of its own, which no plan recommends. */
static void sum_head(void *context, int h, int parts, int worker)
{
    const struct attention_job *job = context;
    const struct attention_desc *d = &job->plan->desc;
    const int64_t first = h * d->head_dim;
    (void)parts, (void)worker;
    add_rows(job, job->dq, &d->q, d->queries, h, job->sums->dq + first);
    add_rows(job, job->dv, &d->v, d->keys, h, job->sums->dv + first);
    for (int64_t c = 0; !job->sums->accumulate && c < d->head_dim; c++)
        job->sums->dk[first + c] = 0;
}

static void attention_forward(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random)
{
    struct attention_job job = {
        .plan = (const struct attention_plan *)plan, .q = q, .k = k, .v = v, .out = o, .lse = lse, .random = random};
    cpu_parallel(plan->backend, job.plan->desc.batch * job.plan->desc.heads, run_head, &job);
}

static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random)
{
    (void)o; /* delta comes from p and dp (softmax.inc) */
    struct attention_job job = {.plan = (const struct attention_plan *)plan,
                                .q = q,
                                .k = k,
                                .v = v,
                                .d_o = d_o,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv,
                                .lse = (float *)(uintptr_t)lse,
                                .sums = sums,
                                .random = random};
    VT_CHECK(!sums || job.plan->desc.sums);
    cpu_parallel(plan->backend, job.plan->desc.batch * job.plan->desc.heads, run_head, &job);
    if (sums)
        cpu_parallel(plan->backend, job.plan->desc.heads, sum_head, &job);
}

static vt_status attention_plan(struct backend *be, const struct attention_desc *desc, struct op_plan **plan)
{
    const int64_t vector = ((struct cpu_backend *)be)->kernels->width;
    VT_CHECK(desc->batch > 0 && desc->heads > 0 && desc->queries > 0 && desc->keys > 0 && desc->head_dim > 0);
    VT_CHECK(cpu_rate_ok(desc->dropout, desc->heads * desc->queries * desc->keys));
    VT_TRY(cpu_check_dtype("attention", desc->dtype));
    struct attention_plan layout = {.desc = *desc, .mode = cpu_gemm_mode(be, desc->dtype)}, *made;
    struct attention_scratch unused;
    layout.row = round_up(desc->keys, vector);
    layout.width = round_up(desc->head_dim, vector);
    layout.thread_bytes = lay_out(&layout, vector, NULL, &unused);
    VT_TRY(cpu_plan_new(be, layout.mode == GEMM_BF16 ? "row blocks, bf16" : "row blocks, fp32", sizeof *made,
                        layout.thread_bytes * be->threads, (void **)&made));
    layout.plan = made->plan;
    *made = layout;
    made->plan.flops =
        4.0 * (double)(desc->batch * desc->heads) * (double)(desc->queries * desc->keys * desc->head_dim);
    *plan = &made->plan;
    return VT_OK;
}

void cpu_attention_install(struct nn_ops *nn)
{
    nn->attention_plan = attention_plan;
    nn->attention_forward = attention_forward;
    nn->attention_backward = attention_backward;
}
