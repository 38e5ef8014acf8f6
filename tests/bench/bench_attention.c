/* bench_attention [threads [bf16|fp32 [images]]]: attention on packed qkv, forward and backward, beside the matrix
 * products alone as oneDNN batched matmuls over strided views (no softmax, no dropout: a floor for anything built on
 * them). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/check.h"
#include "bench.h"
#include "onednn_matmul.h"

struct shape {
    const char *name;
    int64_t heads, tokens, head_dim;
};

static const struct shape shapes[] = {
    {"ti 224", 3, 197, 64}, {"s 224", 6, 197, 64}, {"b 384", 12, 577, 64}, {"fm d32", 4, 50, 32}, {"fm d64", 2, 50, 64},
};

struct job {
    struct backend *be;
    struct op_plan *plan;
    struct op_random random;
    char *q, *k, *v, *dq, *dk, *dv;
    void *o, *d_o, *scores, *rows;
    float *lse;
    struct onednn_matmul *qk, *pv, *ptv;
    int products; /* forward 1 + 1; backward: 2 like qk, 1 like pv, 2 like its transpose */
};

static void run_forward(void *context)
{
    struct job *j = context;
    j->be->nn.attention_forward(j->plan, j->q, j->k, j->v, j->o, j->lse, &j->random);
}

static void run_backward(void *context)
{
    struct job *j = context;
    j->be->nn.attention_backward(j->plan, j->q, j->k, j->v, j->o, j->lse, j->d_o, j->dq, j->dk, j->dv, NULL, &j->random);
}

static void run_onednn_forward(void *context)
{
    struct job *j = context;
    onednn_matmul_run(j->qk, j->q, j->k, j->scores);
    onednn_matmul_run(j->pv, j->scores, j->v, j->rows);
}

static void run_onednn_backward(void *context)
{
    struct job *j = context;
    onednn_matmul_run(j->qk, j->q, j->k, j->scores);
    onednn_matmul_run(j->qk, j->q, j->v, j->scores);
    onednn_matmul_run(j->pv, j->scores, j->k, j->rows);
    onednn_matmul_run(j->ptv, j->scores, j->q, j->rows);
    onednn_matmul_run(j->ptv, j->scores, j->v, j->rows);
}

static char *filled(struct backend *be, int64_t count, enum dtype dtype)
{
    void *p;
    VT_CHECK(be->alloc(be, MEMORY_DEVICE, (size_t)count * 4, "bench", &p) == VT_OK);
    for (int64_t i = 0; i < count; i++) {
        float value = (float)(i * 7919 % 1021) / 512.0f - 1.0f;
        if (dtype == DTYPE_BF16)
            ((bf16_t *)p)[i] = bf16_from_float(value);
        else
            ((float *)p)[i] = value;
    }
    return p;
}

/* Batched over the heads of one image: a plain matmul has one batch stride. */
static void open_onednn(struct job *j, const struct shape *s, enum dtype dtype)
{
    int64_t row = 3 * s->heads * s->head_dim, n = s->tokens, d = s->head_dim;
    struct onednn_matmul_desc qk = {.batch = s->heads,
                                    .m = n,
                                    .n = n,
                                    .k = d,
                                    .a_batch = d,
                                    .a_row = row,
                                    .a_column = 1,
                                    .b_batch = d,
                                    .b_row = 1,
                                    .b_column = row,
                                    .dtype = dtype,
                                    .dtype_out = dtype};
    struct onednn_matmul_desc pv = {.batch = s->heads,
                                    .m = n,
                                    .n = d,
                                    .k = n,
                                    .a_batch = n * n,
                                    .a_row = n,
                                    .a_column = 1,
                                    .b_batch = d,
                                    .b_row = row,
                                    .b_column = 1,
                                    .dtype = dtype,
                                    .dtype_out = dtype};
    struct onednn_matmul_desc ptv = pv;
    ptv.a_row = 1;
    ptv.a_column = n;
    j->qk = onednn_matmul_open(&qk);
    j->pv = onednn_matmul_open(&pv);
    j->ptv = onednn_matmul_open(&ptv);
}

static void bench_shape(struct backend *be, const struct shape *s, int64_t images, enum dtype dtype, float dropout)
{
    const int64_t width = s->heads * s->head_dim, row = 3 * width;
    static uint64_t position[1024];
    struct attention_view view = {s->tokens * row, s->head_dim, row}, o_view = {s->tokens * width, s->head_dim, width};
    struct attention_desc desc = {.batch = images,
                                  .heads = s->heads,
                                  .queries = s->tokens,
                                  .keys = s->tokens,
                                  .head_dim = s->head_dim,
                                  .dtype = dtype,
                                  .scale = 1 / sqrtf((float)s->head_dim),
                                  .q = view,
                                  .k = view,
                                  .v = view,
                                  .o = o_view,
                                  .dropout = dropout,
                                  .purpose = 17};
    struct job job = {.be = be, .random = {1, position}};
    VT_CHECK(be->nn.attention_plan(be, &desc, &job.plan) == VT_OK && be->reserve_workspace(be) == VT_OK);
    char *qkv = filled(be, images * s->tokens * row, dtype), *dqkv = filled(be, images * s->tokens * row, dtype);
    int64_t step = width * (dtype == DTYPE_BF16 ? 2 : 4);
    job.q = qkv, job.k = qkv + step, job.v = qkv + 2 * step, job.dq = dqkv, job.dk = dqkv + step,
    job.dv = dqkv + 2 * step;
    job.o = filled(be, images * s->tokens * width, dtype);
    job.d_o = filled(be, images * s->tokens * width, dtype);
    job.lse = (float *)(void *)filled(be, images * s->heads * s->tokens, DTYPE_F32);
    job.scores = filled(be, s->heads * s->tokens * s->tokens, dtype);
    job.rows = filled(be, images * s->tokens * row, dtype);
    open_onednn(&job, s, dtype);
    struct bench_entry entries[] = {
        {run_forward, &job, 0}, {run_backward, &job, 0}, {run_onednn_forward, &job, 0}, {run_onednn_backward, &job, 0}};
    bench_interleaved(entries, 4, 0.15, be->threads == 1);
    double flops = job.plan->flops * 1e-9;
    static const char *const names[] = {"forward", "backward"};
    for (int i = 0; i < 2; i++) {
        double work = i == 0 ? flops : 2.5 * flops;
        printf("%-7s %2ld x %2ld x %3ld x %2ld dropout %.1f  %-8s ours %8.1f us %5.0f GFLOP/s   oneDNN products alone "
               "%5.0f\n",
               s->name, (long)images, (long)s->heads, (long)s->tokens, (long)s->head_dim, (double)dropout, names[i],
               entries[i].seconds * 1e6, work / entries[i].seconds, work / (double)images / entries[i + 2].seconds);
    }
    onednn_matmul_close(job.qk);
    onednn_matmul_close(job.pv);
    onednn_matmul_close(job.ptv);
    op_plan_close(&job.plan);
    void *all[] = {qkv, dqkv, job.o, job.d_o, job.lse, job.scores, job.rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        be->release(be, MEMORY_DEVICE, all[i]);
}

int main(int argc, char **argv)
{
    struct backend_desc desc = {.threads = argc > 1 ? atoi(argv[1]) : 0};
    struct backend *be;
    if (backend_cpu_open(&desc, &be) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    enum dtype dtype = argc > 2 && strcmp(argv[2], "fp32") == 0 ? DTYPE_F32 : DTYPE_BF16;
    int64_t images = argc > 3 ? atol(argv[3]) : 4;
    printf("%s, %s\n", be->device_name, dtype_name(dtype));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench_shape(be, &shapes[i], images, dtype, 0);
    bench_shape(be, &shapes[0], images, dtype, 0.1f);
    be->close(be);
    return 0;
}
