#include "train/gemm_rate.h"

#include <math.h>

#include "base/check.h"
#include "train/op_time.h"

/* One linear layer under test. */
struct subject {
    struct backend *be;
    struct op_plan *plan;
    void *buffers[8];
    int buffer_count;
    enum gemm_product product; /* what run_linear enqueues */
};

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

static void run_linear(void *context)
{
    struct subject *s = context;
    void *x = s->buffers[0], *w = s->buffers[1], *y = s->buffers[2], *dw = s->buffers[3], *b = s->buffers[4];
    if (s->product == GEMM_FORWARD)
        s->be->nn.linear_forward(s->plan, &(struct linear_forward_args){.x = x, .w = w, .b = b, .b_rounded = w, .y = y});
    else if (s->product == GEMM_INPUT_GRADIENT)
        s->be->nn.linear_backward_input(s->plan, &(struct linear_input_args){.dy = y, .w = w, .dx = x});
    else
        s->be->nn.linear_backward_weight(s->plan, x, y, dw, NULL, true);
}

static vt_status plan_linear(struct subject *s, struct backend *be, int64_t rows, int64_t in, int64_t out, enum dtype dtype)
{
    *s = (struct subject){.be = be};
    const struct linear_desc desc = {.rows = rows, .in = in, .out = out, .dtype = dtype, .dtype_out = dtype, .bias = true};
    return be->nn.linear_plan(be, &desc, &s->plan);
}

static vt_status open_linear(struct subject *s, struct backend *be, int64_t rows, int64_t in, int64_t out, enum dtype dtype)
{
    size_t e = dtype_bytes(dtype);
    VT_TRY(plan_linear(s, be, rows, in, out, dtype));
    VT_TRY(give_buffer(s, (size_t)(rows * in) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(in * out) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(rows * out) * e, dtype));
    VT_TRY(give_buffer(s, (size_t)(in * out) * sizeof(float), DTYPE_F32));
    VT_TRY(give_buffer(s, (size_t)out * sizeof(float), DTYPE_F32));
    return be->reserve_workspace(be);
}

static void block_shapes(const struct vit_config *m, struct gemm_shape shapes[4])
{
    shapes[0] = (struct gemm_shape){"qkv", m->width, 3 * m->width};
    shapes[1] = (struct gemm_shape){"proj", m->width, m->width};
    shapes[2] = (struct gemm_shape){"fc1", m->width, m->mlp_width};
    shapes[3] = (struct gemm_shape){"fc2", m->mlp_width, m->width};
}

vt_status gemm_rate_plan(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype)
{
    struct gemm_shape shapes[4];
    block_shapes(model, shapes);
    for (int i = 0; i < 4; i++) {
        struct subject s;
        VT_TRY(plan_linear(&s, be, (int64_t)rows * vit_tokens(model), shapes[i].in, shapes[i].out, dtype));
        subject_close(&s);
    }
    return VT_OK;
}

vt_status gemm_rate_measure(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                            int repetitions, gemm_result on_result, void *context, struct gemm_rate *rate)
{
    struct gemm_shape shapes[4];
    int64_t tokens = (int64_t)rows * vit_tokens(model);
    double total_flops = 0, total_seconds = 0;
    block_shapes(model, shapes);
    *rate = (struct gemm_rate){0};
    for (int i = 0; i < 4; i++) {
        struct subject s;
        vt_status status = open_linear(&s, be, tokens, shapes[i].in, shapes[i].out, dtype);
        double flops = 2.0 * (double)tokens * (double)shapes[i].in * (double)shapes[i].out;
        for (s.product = GEMM_FORWARD; s.product <= GEMM_WEIGHT_GRADIENT && status == VT_OK; s.product++) {
            double seconds = 0;
            status = op_time(be, run_linear, &s, repetitions, &seconds);
            if (status != VT_OK)
                break;
            total_flops += flops;
            total_seconds += seconds;
            rate->best = fmax(rate->best, flops / seconds);
            if (on_result)
                on_result(context, &shapes[i], s.product, seconds, flops);
        }
        subject_close(&s);
        VT_TRY(status);
    }
    rate->mean = total_flops / total_seconds;
    return VT_OK;
}

/* The better of the two products that leave an output of the compute type. */
static vt_status measure_square(struct backend *be, enum dtype dtype, int side, int repetitions, double *seconds)
{
    struct subject s;
    vt_status status;
    double input = 0;
    VT_TRY_OUT(open_linear(&s, be, side, side, side, dtype));
    s.product = GEMM_FORWARD;
    VT_TRY_OUT(op_time(be, run_linear, &s, repetitions, seconds));
    s.product = GEMM_INPUT_GRADIENT;
    VT_TRY_OUT(op_time(be, run_linear, &s, repetitions, &input));
    *seconds = fmin(*seconds, input);
out:
    subject_close(&s);
    return status;
}

vt_status gemm_peak_measure(struct backend *be, enum dtype dtype, int repetitions, struct gemm_peak *peak)
{
    enum { DEVICE_SIDE = 8192, DEVICE_SIDE_F32 = 4096, HOST_SIDE_MIN = 128, HOST_SIDE_MAX = 2048 };
    static const double host_seconds = 5e-3; /* a product that takes so long is large enough for a CPU's caches */
    const bool device = be->memory_bytes != 0;
    int last = !device ? HOST_SIDE_MAX : dtype == DTYPE_BF16 ? DEVICE_SIDE : DEVICE_SIDE_F32;
    *peak = (struct gemm_peak){0};
    for (int side = device ? last : HOST_SIDE_MIN; side <= last; side *= 2) {
        double seconds;
        VT_TRY(measure_square(be, dtype, side, repetitions, &seconds));
        double rate = 2.0 * side * side * side / seconds;
        if (rate > peak->flops_per_s)
            *peak = (struct gemm_peak){rate, side};
        if (seconds > host_seconds)
            break;
    }
    return VT_OK;
}
