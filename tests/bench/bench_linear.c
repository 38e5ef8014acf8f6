/* bench_linear [threads [bf16|fp32 [rows [filter]]]]: GFLOP/s of the three products of each linear layer of a ViT, ours
 * (packing of the weight, bias and rounding included) beside plain oneDNN matmul, with b as it lies and with b packed
 * beforehand outside the timing. */
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/check.h"
#include "bench.h"
#include "onednn_matmul.h"

struct shape {
    const char *name;
    int64_t in, out;
    enum activation act;
};

static const struct shape shapes[] = {
    {"ti qkv", 192, 576, ACT_NONE}, {"ti proj", 192, 192, ACT_NONE},
    {"ti fc1", 192, 768, ACT_NONE}, {"ti fc1 gelu", 192, 768, ACT_GELU_ERF},
    {"ti fc2", 768, 192, ACT_NONE}, {"ti patch", 768, 192, ACT_NONE},
    {"s qkv", 384, 1152, ACT_NONE}, {"s fc1", 384, 1536, ACT_NONE},
    {"s fc2", 1536, 384, ACT_NONE}, {"b qkv", 768, 2304, ACT_NONE},
    {"b fc1", 768, 3072, ACT_NONE}, {"b fc2", 3072, 768, ACT_NONE},
    {"fm 64", 64, 256, ACT_NONE},   {"fm 128", 128, 512, ACT_NONE},
};

enum product { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT };

struct job {
    struct backend *be;
    struct op_plan *plan;
    enum product product;
    void *x, *w, *y, *pre, *dx;
    float *bias, *dw, *db;
    struct onednn_matmul *matmul;
};

static void run_ours(void *context)
{
    struct job *j = context;
    if (j->product == FORWARD)
        j->be->nn.linear_forward(
            j->plan, &(struct linear_forward_args){.x = j->x, .w = j->w, .b = j->bias, .y = j->y, .pre = j->pre});
    else if (j->product == BACKWARD_INPUT)
        j->be->nn.linear_backward_input(
            j->plan, &(struct linear_input_args){.dy = j->y, .w = j->w, .input_pre = j->pre, .dx = j->dx});
    else
        j->be->nn.linear_backward_weight(j->plan, j->x, j->y, j->dw, j->db, true);
}

static void run_onednn(void *context)
{
    struct job *j = context;
    if (j->product == FORWARD)
        onednn_matmul_run(j->matmul, j->x, j->w, j->y);
    else if (j->product == BACKWARD_INPUT)
        onednn_matmul_run(j->matmul, j->y, j->w, j->dx);
    else
        onednn_matmul_run(j->matmul, j->y, j->x, j->dw);
}

static struct onednn_matmul *open_onednn(const struct shape *s, int64_t rows, enum dtype dtype, enum product product,
                                         bool packed)
{
    struct onednn_matmul_desc d = {.dtype = dtype, .dtype_out = dtype, .b_packed = packed};
    switch (product) {
    case FORWARD:
        d.m = rows, d.n = s->out, d.k = s->in, d.a_row = s->in, d.a_column = 1, d.b_row = 1, d.b_column = s->in;
        break;
    case BACKWARD_INPUT:
        d.m = rows, d.n = s->in, d.k = s->out, d.a_row = s->out, d.a_column = 1, d.b_row = s->in, d.b_column = 1;
        break;
    default:
        d.m = s->out, d.n = s->in, d.k = rows, d.a_row = 1, d.a_column = s->out, d.b_row = s->in, d.b_column = 1;
        d.dtype_out = DTYPE_F32, d.accumulate = true;
    }
    return onednn_matmul_open(&d);
}

static void *filled(struct backend *be, int64_t count, enum dtype dtype)
{
    void *p;
    VT_CHECK(be->alloc(be, MEMORY_DEVICE, (size_t)count * 4, "bench", &p) == VT_OK);
    for (int64_t i = 0; i < count; i++) {
        float value = (float)(i * 7919 % 1021) / 1021.0f - 0.5f;
        if (dtype == DTYPE_BF16)
            ((bf16_t *)p)[i] = bf16_from_float(value);
        else
            ((float *)p)[i] = value;
    }
    return p;
}

static void bench_shape(struct backend *be, const struct shape *s, int64_t rows, enum dtype dtype, double totals[3])
{
    struct job job = {.be = be};
    struct linear_desc desc = {
        .rows = rows, .in = s->in, .out = s->out, .dtype = dtype, .dtype_out = dtype, .bias = true, .act = s->act};
    VT_CHECK(be->nn.linear_plan(be, &desc, &job.plan) == VT_OK && be->reserve_workspace(be) == VT_OK);
    job.x = filled(be, rows * s->in, dtype);
    job.w = filled(be, s->in * s->out, dtype);
    job.y = filled(be, rows * s->out, dtype);
    job.pre = filled(be, rows * s->out, dtype);
    job.dx = filled(be, rows * s->in, dtype);
    job.bias = filled(be, s->out, DTYPE_F32);
    job.dw = filled(be, s->in * s->out, DTYPE_F32);
    job.db = filled(be, s->out, DTYPE_F32);
    static const char *const product_names[] = {"y", "dx", "dw"};
    for (int p = FORWARD; p <= BACKWARD_WEIGHT; p++) {
        struct job ours = job, plain = job, packed = job;
        ours.product = plain.product = packed.product = (enum product)p;
        plain.matmul = open_onednn(s, rows, dtype, (enum product)p, false);
        packed.matmul = open_onednn(s, rows, dtype, (enum product)p, true);
        struct bench_entry entries[] = {{run_ours, &ours, 0}, {run_onednn, &plain, 0}, {run_onednn, &packed, 0}};
        bench_interleaved(entries, 3, 0.12, be->threads == 1);
        double flops = job.plan->flops * 1e-9,
               best = entries[1].seconds < entries[2].seconds ? entries[1].seconds : entries[2].seconds;
        printf("%-12s %-2s %5ld x %4ld x %4ld  ours %7.1f us %6.0f GFLOP/s   oneDNN %6.0f  packed %6.0f   ratio %.2f  "
               "(%s)\n",
               s->name, product_names[p], (long)rows, (long)s->in, (long)s->out, entries[0].seconds * 1e6,
               flops / entries[0].seconds, flops / entries[1].seconds, flops / entries[2].seconds,
               best / entries[0].seconds, onednn_matmul_kernel(packed.matmul));
        totals[0] += flops;
        totals[1] += entries[0].seconds;
        totals[2] += best;
        onednn_matmul_close(plain.matmul);
        onednn_matmul_close(packed.matmul);
    }
    op_plan_close(&job.plan);
    void *all[] = {job.x, job.w, job.y, job.pre, job.dx, job.bias, job.dw, job.db};
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
    int64_t rows = argc > 3 ? atol(argv[3]) : 788;
    double totals[3] = {0};
    printf("%s, %s\n", be->device_name, dtype_name(dtype));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (argc <= 4 || strstr(shapes[i].name, argv[4]))
            bench_shape(be, &shapes[i], rows, dtype, totals);
    printf("all: ours %.0f GFLOP/s, oneDNN (better of the two) %.0f\n", totals[0] / totals[1], totals[0] / totals[2]);
    be->close(be);
    return 0;
}
