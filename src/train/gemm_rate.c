#include "train/gemm_rate.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/philox.h"

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

/* One op under test: enqueue it once. */
struct subject {
    struct backend *be;
    struct op_plan *plan;
    void *buffers[8];
    int buffer_count;
    int64_t rows, in, out;
};

/* Random values; past the first million they repeat. */
vt_status bench_buffer(struct backend *be, size_t bytes, enum dtype dtype, void **out)
{
    enum { PATTERN = 1 << 20 };
    VT_TRY(be->alloc(be, MEMORY_DEVICE, bytes, "bench", out));
    size_t element = dtype_bytes(dtype), count = bytes / element < PATTERN ? bytes / element : PATTERN;
    float *values = malloc(count * sizeof(float));
    if (!values)
        return VT_FAIL(VT_E_MEMORY, "no memory for bench data");
    for (size_t i = 0; i < count; i++)
        values[i] = draw_uniform(1, DRAW_SYNTHETIC, bytes, (uint32_t)i) - 0.5f;
    if (dtype == DTYPE_BF16)
        for (size_t i = 0; i < count; i++)
            ((bf16_t *)values)[i] = bf16_from_float(values[i]);
    for (size_t done = 0; done < bytes; done += count * element)
        be->upload(be, STREAM_COMPUTE, (char *)*out + done, values, bytes - done < count * element ? bytes - done : count * element);
    vt_status status = be->synchronise(be);
    free(values);
    return status;
}

static vt_status give_buffer(struct subject *s, size_t bytes, enum dtype dtype)
{
    VT_CHECK(s->buffer_count < (int)(sizeof s->buffers / sizeof *s->buffers));
    return bench_buffer(s->be, bytes, dtype, &s->buffers[s->buffer_count++]);
}

static void subject_close(struct subject *s)
{
    for (int i = 0; i < s->buffer_count; i++)
        s->be->release(s->be, MEMORY_DEVICE, s->buffers[i]);
    op_plan_close(&s->plan);
    s->buffer_count = 0;
}

static void run_linear(struct subject *s, enum gemm_product product)
{
    void *x = s->buffers[0], *w = s->buffers[1], *y = s->buffers[2], *dw = s->buffers[3], *b = s->buffers[4];
    if (product == GEMM_FORWARD)
        s->be->nn.linear_forward(s->plan, x, w, b, y, NULL);
    else if (product == GEMM_INPUT_GRADIENT)
        s->be->nn.linear_backward_input(s->plan, y, w, NULL, x);
    else
        s->be->nn.linear_backward_weight(s->plan, x, y, dw, NULL, true);
}

static vt_status open_linear(struct subject *s, struct backend *be, int64_t rows, int64_t in, int64_t out, enum dtype dtype)
{
    *s = (struct subject){.be = be, .rows = rows, .in = in, .out = out};
    const struct linear_desc desc = {.rows = rows, .in = in, .out = out, .dtype = dtype, .dtype_out = dtype, .bias = true};
    size_t e = dtype_bytes(dtype);
    VT_TRY(be->nn.linear_plan(be, &desc, &s->plan));
    VT_TRY(give_buffer(s, (size_t)(rows * in) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(in * out) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(rows * out) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(in * out) * sizeof(float), DTYPE_F32));
    return give_buffer(s, (size_t)out * sizeof(float), DTYPE_F32);
}

/* Median seconds of one enqueue. */
static vt_status time_linear(struct subject *s, enum gemm_product product, int repetitions, double *seconds)
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

static void block_shapes(const struct vit_config *m, struct gemm_shape shapes[4])
{
    shapes[0] = (struct gemm_shape){"qkv", m->width, 3 * m->width};
    shapes[1] = (struct gemm_shape){"proj", m->width, m->width};
    shapes[2] = (struct gemm_shape){"fc1", m->width, m->mlp_width};
    shapes[3] = (struct gemm_shape){"fc2", m->mlp_width, m->width};
}

vt_status gemm_rate_measure(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                              int repetitions, gemm_result on_result, double *flops_per_s)
{
    struct gemm_shape shapes[4];
    int64_t tokens = (int64_t)rows * vit_tokens(model);
    double total_flops = 0, total_seconds = 0;
    block_shapes(model, shapes);
    for (int i = 0; i < 4; i++) {
        struct subject s;
        vt_status status = open_linear(&s, be, tokens, shapes[i].in, shapes[i].out, dtype);
        if (status == VT_OK)
            status = be->reserve_workspace(be);
        double flops = 2.0 * (double)tokens * (double)shapes[i].in * (double)shapes[i].out;
        for (int product = GEMM_FORWARD; product <= GEMM_WEIGHT_GRADIENT && status == VT_OK; product++) {
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
