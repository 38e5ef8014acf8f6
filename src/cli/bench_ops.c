/* Times of single ops on the model's own shapes, through the op table, on random data. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/bench.h"
#include "train/device.h"
#include "train/gemm_rate.h"
#include "train/resolve.h"

static struct json *results; /* --json: collected here instead of printed */

static void add_result(const char *op, const char *pass, double seconds, double flops)
{
    struct json *row = json_new_object();
    json_set_string(row, "op", op);
    json_set_string(row, "pass", pass);
    json_set_double(row, "us", seconds * 1e6);
    json_set_double(row, "gflops", flops / seconds * 1e-9);
    json_add(results, row);
}

static void print_linear(const struct gemm_shape *shape, enum gemm_product product, double seconds, double flops)
{
    static const char *const names[] = {"forward", "input gradient", "weight gradient"};
    if (results) {
        add_result(shape->name, names[product], seconds, flops);
        return;
    }
    printf("linear %-5s %-16s %5lld -> %-5lld %10.1f us %10.1f GFLOP/s\n", shape->name, names[product], (long long)shape->in,
           (long long)shape->out, seconds * 1e6, flops / seconds * 1e-9);
}

static vt_status bench_attention(struct backend *be, const struct vit_config *m, int rows, enum dtype dtype, int repetitions)
{
    struct op_plan *plan = NULL;
    int64_t N = vit_tokens(m), D = m->width, d = D / m->heads;
    struct attention_view qkv = {N * 3 * D, d, 3 * D}, o = {N * D, d, D};
    const struct attention_desc desc = {.batch = rows, .heads = m->heads, .queries = N, .keys = N, .head_dim = d, .dtype = dtype,
                                        .scale = 1.0f, .q = qkv, .k = qkv, .v = qkv, .o = o};
    size_t e = dtype_bytes(dtype), tokens = (size_t)(rows * N);
    void *in = NULL, *out = NULL, *din = NULL, *dout = NULL, *lse = NULL;
    struct op_random random = {0};
    double forward[64], backward[64];
    vt_status status;
    VT_TRY_OUT(be->nn.attention_plan(be, &desc, &plan));
    VT_TRY_OUT(be->reserve_workspace(be));
    VT_TRY_OUT(bench_buffer(be, tokens * 3 * (size_t)D * e, dtype, &in));
    VT_TRY_OUT(bench_buffer(be, tokens * (size_t)D * e, dtype, &out));
    VT_TRY_OUT(bench_buffer(be, tokens * 3 * (size_t)D * e, dtype, &din));
    VT_TRY_OUT(bench_buffer(be, tokens * (size_t)D * e, dtype, &dout));
    VT_TRY_OUT(bench_buffer(be, tokens * (size_t)m->heads * sizeof(float), DTYPE_F32, &lse));
    char *q = in, *dq = din;
    size_t step = (size_t)D * e;
    repetitions = repetitions > 64 ? 64 : repetitions;
    for (int i = -2; i < repetitions; i++) {
        int64_t start = clock_ns();
        be->nn.attention_forward(plan, q, q + step, q + 2 * step, out, lse, &random);
        VT_TRY_OUT(be->synchronise(be));
        int64_t middle = clock_ns();
        be->nn.attention_backward(plan, q, q + step, q + 2 * step, out, lse, dout, dq, dq + step, dq + 2 * step, &random);
        VT_TRY_OUT(be->synchronise(be));
        if (i >= 0) {
            forward[i] = (double)(middle - start) * 1e-9;
            backward[i] = (double)(clock_ns() - middle) * 1e-9;
        }
    }
    double flops = 4.0 * rows * (double)N * (double)N * (double)D;
    double f = bench_median(forward, repetitions), b = bench_median(backward, repetitions);
    if (results) {
        add_result("attention", "forward", f, flops);
        add_result("attention", "backward", b, 2 * flops);
        goto out;
    }
    printf("attention   forward          N %lld, d %lld  %10.1f us %10.1f GFLOP/s\n", (long long)N, (long long)d, f * 1e6, flops / f * 1e-9);
    printf("attention   backward         N %lld, d %lld  %10.1f us %10.1f GFLOP/s (2x forward counted)\n", (long long)N, (long long)d,
           b * 1e6, 2 * flops / b * 1e-9);
out:
    op_plan_close(&plan);
    void *buffers[] = {in, out, din, dout, lse};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i])
            be->release(be, MEMORY_DEVICE, buffers[i]);
    return status;
}

/* Takes the results. */
static vt_status write_json(const char *device, enum dtype dtype, int rows, double rate)
{
    struct json *all = json_new_object();
    json_set_string(all, "device", device);
    json_set_string(all, "dtype", dtype_name(dtype));
    json_set_int(all, "images", rows);
    json_set_double(all, "gemm_gflops", rate * 1e-9);
    json_set(all, "ops", results);
    results = NULL;
    vt_status status = json_write_line(all, stdout, "stdout");
    json_free(&all);
    return status;
}

vt_status bench_ops(const struct bench_desc *desc, struct comm *comm)
{
    vt_status status;
    struct device device = {0};
    struct resolved data;
    double rate;
    const struct device_desc wanted = {.wanted = desc->config.compute.device, .threads = desc->config.compute.threads};
    VT_TRY(comm_agree(comm, resolve_run(&desc->config, &data)));
    VT_TRY_OUT(device_open(&wanted, comm, &device));
    struct backend *be = device.be;
    bool bf16 = desc->config.compute.dtype == CONFIG_DTYPE_BF16 ||
                (desc->config.compute.dtype == CONFIG_DTYPE_AUTO && be->bf16_native);
    enum dtype dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;
    int rows = desc->config.compute.micro_batch ? desc->config.compute.micro_batch : be->memory_bytes ? 64 : 8;
    if (desc->json)
        results = json_new_array();
    else
        printf("%s, %s, %d images of %d tokens\n", be->device_name, dtype_name(dtype), rows, vit_tokens(&data.model));
    VT_TRY_OUT(gemm_rate_measure(be, &data.model, rows, dtype, desc->steps, print_linear, &rate));
    if (!desc->json)
        printf("all linears together: %.1f GFLOP/s\n", rate * 1e-9);
    VT_TRY_OUT(bench_attention(be, &data.model, rows, dtype, desc->steps));
    if (desc->json)
        status = write_json(be->device_name, dtype, rows, rate);
out:
    json_free(&results);
    device_close(&device);
    resolved_close(&data);
    return status;
}
