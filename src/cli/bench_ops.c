/* Times of single ops on the model's own shapes, through the op table, on random data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/philox.h"
#include "cli/bench.h"
#include "train/resolve.h"

/* One op under test: enqueue it once. */
struct subject {
    struct backend *be;
    struct op_plan *plan;
    void *buffers[8];
    int buffer_count;
    int64_t rows, in, out;
};

static vt_status give_buffer(struct subject *s, size_t bytes, enum dtype dtype, void **out)
{
    VT_CHECK(s->buffer_count < 8);
    VT_TRY(s->be->alloc(s->be, MEMORY_DEVICE, bytes, "bench", out));
    s->buffers[s->buffer_count++] = *out;
    size_t count = bytes / dtype_bytes(dtype);
    float *values = malloc(count * sizeof(float));
    if (!values)
        return VT_FAIL(VT_E_MEMORY, "no memory for bench data");
    for (size_t i = 0; i < count; i++)
        values[i] = draw_uniform(1, DRAW_SYNTHETIC, (uint64_t)s->buffer_count, (uint32_t)i) - 0.5f;
    if (dtype == DTYPE_BF16)
        for (size_t i = 0; i < count; i++)
            ((bf16_t *)values)[i] = bf16_from_float(values[i]);
    s->be->upload(s->be, STREAM_COMPUTE, *out, values, bytes);
    vt_status status = s->be->synchronise(s->be);
    free(values);
    return status;
}

static void subject_close(struct subject *s)
{
    for (int i = 0; i < s->buffer_count; i++)
        s->be->release(s->be, MEMORY_DEVICE, s->buffers[i]);
    op_plan_close(&s->plan);
    s->buffer_count = 0;
}

enum product { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT };

static void run_linear(struct subject *s, enum product product)
{
    void *x = s->buffers[0], *w = s->buffers[1], *y = s->buffers[2], *dw = s->buffers[3], *b = s->buffers[4];
    if (product == FORWARD)
        s->be->nn.linear_forward(s->plan, x, w, b, y, NULL);
    else if (product == INPUT_GRADIENT)
        s->be->nn.linear_backward_input(s->plan, y, w, NULL, x);
    else
        s->be->nn.linear_backward_weight(s->plan, x, y, dw, NULL, true);
}

static vt_status open_linear(struct subject *s, struct backend *be, int64_t rows, int64_t in, int64_t out, enum dtype dtype)
{
    *s = (struct subject){.be = be, .rows = rows, .in = in, .out = out};
    const struct linear_desc desc = {.rows = rows, .in = in, .out = out, .dtype = dtype, .dtype_out = dtype, .bias = true};
    size_t e = dtype_bytes(dtype);
    void *unused;
    VT_TRY(be->nn.linear_plan(be, &desc, &s->plan));
    VT_TRY(give_buffer(s, (size_t)(rows * in) * e, dtype, &unused));
    VT_TRY(give_buffer(s, (size_t)(in * out) * e, dtype, &unused));
    VT_TRY(give_buffer(s, (size_t)(rows * out) * e, dtype, &unused));
    VT_TRY(give_buffer(s, (size_t)(in * out) * sizeof(float), DTYPE_F32, &unused));
    return give_buffer(s, (size_t)out * sizeof(float), DTYPE_F32, &unused);
}

/* Median seconds of one enqueue. */
static vt_status time_linear(struct subject *s, enum product product, int repetitions, double *seconds)
{
    double times[64];
    repetitions = repetitions > 64 ? 64 : repetitions;
    for (int i = -2; i < repetitions; i++) {
        int64_t start = clock_ns();
        run_linear(s, product);
        VT_TRY(s->be->synchronise(s->be));
        if (i >= 0)
            times[i] = (double)(clock_ns() - start) * 1e-9;
    }
    *seconds = bench_median(times, repetitions);
    return VT_OK;
}

struct shape {
    const char *name;
    int64_t in, out;
};

static void block_shapes(const struct vit_config *m, struct shape shapes[4])
{
    shapes[0] = (struct shape){"qkv", m->width, 3 * m->width};
    shapes[1] = (struct shape){"proj", m->width, m->width};
    shapes[2] = (struct shape){"fc1", m->width, m->mlp_width};
    shapes[3] = (struct shape){"fc2", m->mlp_width, m->width};
}

typedef void (*linear_result)(const struct shape *shape, enum product product, double seconds, double flops);

static vt_status walk_linears(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                              int repetitions, linear_result on_result, double *flops_per_s)
{
    struct shape shapes[4];
    int64_t tokens = (int64_t)rows * vit_tokens(model);
    double total_flops = 0, total_seconds = 0;
    block_shapes(model, shapes);
    for (int i = 0; i < 4; i++) {
        struct subject s;
        vt_status status = open_linear(&s, be, tokens, shapes[i].in, shapes[i].out, dtype);
        if (status == VT_OK)
            status = be->reserve_workspace(be);
        double flops = 2.0 * (double)tokens * (double)shapes[i].in * (double)shapes[i].out;
        for (int product = FORWARD; product <= WEIGHT_GRADIENT && status == VT_OK; product++) {
            double seconds = 0;
            status = time_linear(&s, product, repetitions, &seconds);
            total_flops += flops;
            total_seconds += seconds;
            if (on_result && status == VT_OK)
                on_result(&shapes[i], product, seconds, flops);
        }
        subject_close(&s);
        VT_TRY(status);
    }
    *flops_per_s = total_flops / total_seconds;
    return VT_OK;
}

vt_status bench_gemm_rate(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype, int repetitions,
                          double *flops_per_s)
{
    return walk_linears(be, model, rows, dtype, repetitions, NULL, flops_per_s);
}

static void print_linear(const struct shape *shape, enum product product, double seconds, double flops)
{
    static const char *const names[] = {"forward", "input gradient", "weight gradient"};
    printf("linear %-5s %-16s %5lld -> %-5lld %10.1f us %10.1f GFLOP/s\n", shape->name, names[product], (long long)shape->in,
           (long long)shape->out, seconds * 1e6, flops / seconds * 1e-9);
}

static vt_status bench_attention(struct backend *be, const struct vit_config *m, int rows, enum dtype dtype, int repetitions)
{
    struct subject s = {.be = be};
    int64_t N = vit_tokens(m), D = m->width, d = D / m->heads;
    struct attention_view qkv = {N * 3 * D, d, 3 * D}, o = {N * D, d, D};
    const struct attention_desc desc = {.batch = rows, .heads = m->heads, .queries = N, .keys = N, .head_dim = d, .dtype = dtype,
                                        .scale = 1.0f, .q = qkv, .k = qkv, .v = qkv, .o = o};
    size_t e = dtype_bytes(dtype), tokens = (size_t)(rows * N);
    void *in, *out, *din, *dout, *lse;
    struct op_random random = {0};
    double forward[64], backward[64];
    vt_status status;
    VT_TRY_OUT(be->nn.attention_plan(be, &desc, &s.plan));
    VT_TRY_OUT(be->reserve_workspace(be));
    VT_TRY_OUT(give_buffer(&s, tokens * 3 * (size_t)D * e, dtype, &in));
    VT_TRY_OUT(give_buffer(&s, tokens * (size_t)D * e, dtype, &out));
    VT_TRY_OUT(give_buffer(&s, tokens * 3 * (size_t)D * e, dtype, &din));
    VT_TRY_OUT(give_buffer(&s, tokens * (size_t)D * e, dtype, &dout));
    VT_TRY_OUT(give_buffer(&s, tokens * (size_t)m->heads * sizeof(float), DTYPE_F32, &lse));
    char *q = in, *dq = din;
    size_t step = (size_t)D * e;
    repetitions = repetitions > 64 ? 64 : repetitions;
    for (int i = -2; i < repetitions; i++) {
        int64_t start = clock_ns();
        be->nn.attention_forward(s.plan, q, q + step, q + 2 * step, out, lse, &random);
        VT_TRY_OUT(be->synchronise(be));
        int64_t middle = clock_ns();
        be->nn.attention_backward(s.plan, q, q + step, q + 2 * step, out, lse, dout, dq, dq + step, dq + 2 * step, &random);
        VT_TRY_OUT(be->synchronise(be));
        if (i >= 0) {
            forward[i] = (double)(middle - start) * 1e-9;
            backward[i] = (double)(clock_ns() - middle) * 1e-9;
        }
    }
    double flops = 4.0 * rows * (double)N * (double)N * (double)D;
    double f = bench_median(forward, repetitions), b = bench_median(backward, repetitions);
    printf("attention   forward          N %lld, d %lld  %10.1f us %10.1f GFLOP/s\n", (long long)N, (long long)d, f * 1e6, flops / f * 1e-9);
    printf("attention   backward         N %lld, d %lld  %10.1f us %10.1f GFLOP/s (2x forward counted)\n", (long long)N, (long long)d,
           b * 1e6, 2 * flops / b * 1e-9);
out:
    subject_close(&s);
    return status;
}

vt_status bench_ops(const struct bench_desc *desc, struct comm *comm)
{
    vt_status status;
    struct backend *be = NULL;
    struct resolved data;
    double rate;
    long share = sysconf(_SC_NPROCESSORS_ONLN) / comm->local_size;
    const struct backend_desc backend = {.threads = desc->config.compute.threads ? desc->config.compute.threads : (int)share};
    VT_TRY(resolve_run(&desc->config, &data));
    VT_TRY_OUT(desc->config.compute.device == CONFIG_DEVICE_REF ? backend_ref_open(&backend, &be) : backend_cpu_open(&backend, &be));
    bool bf16 = desc->config.compute.dtype == CONFIG_DTYPE_BF16 ||
                (desc->config.compute.dtype == CONFIG_DTYPE_AUTO && be->bf16_native);
    enum dtype dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;
    int rows = desc->config.compute.micro_batch ? desc->config.compute.micro_batch : 8;
    printf("%s, %s, %d images of %d tokens\n", be->device_name, dtype_name(dtype), rows, vit_tokens(&data.model));
    VT_TRY_OUT(walk_linears(be, &data.model, rows, dtype, desc->steps, print_linear, &rate));
    printf("all linears together: %.1f GFLOP/s\n", rate * 1e-9);
    VT_TRY_OUT(bench_attention(be, &data.model, rows, dtype, desc->steps));
out:
    if (be)
        be->close(be);
    resolved_close(&data);
    return status;
}
