/* What the op checker's table does not ask of the CUDA kernels: ranges that begin anywhere, and the same bits whatever
 * the order in which threads and blocks get their turns. */
#include "test.h"

#include "backend/cuda/kernels.h"
#include "backend_simt.h"
#include "backend/ref/activation.h"
#include "base/philox.h"

static struct backend *be;

/* Exact allocations, so that the address sanitizer sees their ends. Values are multiples of 1/4096. */
static float *floats(int64_t count, uint32_t stream)
{
    float *made = malloc((size_t)count * sizeof *made);
    for (int64_t i = 0; made && i < count; i++)
        made[i] = roundf(8192 * draw_uniform(7, stream, 0, (uint32_t)i) - 4096) / 1024;
    CU_ASSERT_PTR_NOT_NULL_FATAL(made);
    return made;
}

static void test_ranges(void)
{
    enum { COUNT = 203 };
    for (int offset = 0; offset < 5; offset++) {
        int64_t count = COUNT - offset;
        float *from = floats(COUNT, 1), *to = floats(COUNT, 2), *before = floats(COUNT, 2);
        bf16_t half[COUNT];
        be->nn.reduce_add(be, to + offset, from + offset, count);
        for (int64_t i = 0; i < COUNT; i++)
            CU_ASSERT_EQUAL(to[i], i < offset ? before[i] : before[i] + from[i]);
        be->cast(be, STREAM_COMM, from + offset, DTYPE_F32, half + offset, DTYPE_BF16, count);
        for (int64_t i = offset; i < COUNT; i++)
            CU_ASSERT_EQUAL(half[i], bf16_from_float(from[i]));
        be->nn.cast(be, half + offset, DTYPE_BF16, to + offset / 2, DTYPE_F32, count);
        for (int64_t i = 0; i < count; i++)
            CU_ASSERT_EQUAL(to[offset / 2 + i], bf16_to_float(half[offset + i]));
        free(from);
        free(to);
        free(before);
    }
    be->nn.reduce_add(be, NULL, NULL, 0);
    be->nn.cast(be, NULL, DTYPE_F32, NULL, DTYPE_BF16, 0);
}

/* A chunk's sum of squares has the same bits wherever its buffer begins, and in any company. */
static void test_norm_bits(void)
{
    enum { COUNT = 2 * NORM_CHUNK + 4099, MOVED = COUNT - NORM_CHUNK }; /* moved: a whole chunk and a part of one */
    double whole[3], part[2];
    float *grads = floats(COUNT, 3), *moved = malloc((MOVED + 3) * sizeof *moved);
    CU_ASSERT_PTR_NOT_NULL_FATAL(moved);
    be->optim.sumsq_chunks(be, grads, COUNT, whole);
    for (int offset = 0; offset < 4; offset++) {
        memcpy(moved + offset, grads + NORM_CHUNK, MOVED * sizeof *moved);
        be->optim.sumsq_chunks(be, moved + offset, MOVED, part);
        CU_ASSERT_EQUAL(part[0], whole[1]);
        CU_ASSERT_EQUAL(part[1], whole[2]);
    }
    free(grads);
    free(moved);
}

/* AdamW of one range in one call, and in two that meet at an odd element: the same bits. */
static void test_update_split(void)
{
    enum { COUNT = 5003, MIDDLE = 1777 };
    struct step_scalars scalars = {.clip_factor = 0.5f};
    struct optim_hyper hyper = {.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .step = 3};
    struct optim_segment one = {1, COUNT, 1, 0.1f};
    struct optim_segment two[2] = {{1, MIDDLE, 1, 0.1f}, {MIDDLE, COUNT, 1, 0.1f}};
    float *p[2], *m[2], *v[2], *g = floats(COUNT, 4);
    for (int i = 0; i < 2; i++) {
        p[i] = floats(COUNT, 5);
        m[i] = floats(COUNT, 6);
        v[i] = floats(COUNT, 7);
        for (int k = 0; k < COUNT; k++)
            v[i][k] *= v[i][k];
    }
    be->optim.adamw(be, &one, 1, &hyper, p[0], g, m[0], v[0], NULL, NULL, 0, &scalars);
    be->optim.adamw(be, two, 2, &hyper, p[1], g, m[1], v[1], NULL, NULL, 0, &scalars);
    CU_ASSERT(memcmp(p[0], p[1], COUNT * sizeof(float)) == 0);
    CU_ASSERT(memcmp(v[0], v[1], COUNT * sizeof(float)) == 0);
    for (int i = 0; i < 2; i++) {
        free(p[i]);
        free(m[i]);
        free(v[i]);
    }
    free(g);
}

/* GELU and tanh over their whole range, against the C library in double. */
static void test_activations(void)
{
    enum { COUNT = 4001 };
    static float x[COUNT], y[COUNT], slope[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)(i - COUNT / 2) / 160; /* -12.5 .. 12.5 */
        slope[i] = 1;
    }
    x[0] = -3e4f, x[1] = 3e4f, x[2] = -1e-30f, x[3] = -0.0f;
    for (int act = ACT_GELU_ERF; act <= ACT_TANH; act++) {
        double worst = 0, worst_slope = 0;
        cuda_activation_forward(be, (enum activation)act, x, DTYPE_F32, y, DTYPE_F32, 1, COUNT);
        cuda_activation_backward(be, (enum activation)act, x, slope, DTYPE_F32, 1, COUNT, COUNT);
        for (int i = 0; i < COUNT; i++) {
            double v = (double)x[i];
            worst = fmax(worst, fabs((double)y[i] - activation_value((enum activation)act, v)) / fmax(1, fabs(v)));
            worst_slope = fmax(worst_slope, fabs((double)slope[i] - activation_slope((enum activation)act, v)));
            slope[i] = 1;
        }
        CU_ASSERT(worst < 3e-7);
        CU_ASSERT(worst_slope < 2e-6);
    }
}

/* ---- the same bits in any order of turns ---- */

enum { B = 5, N = 13, D = 264, ROWS = B * N, ALL = ROWS * D, SUMS = 4 };

static void norm_backward(float *out)
{
    struct add_norm_desc desc = {.batch = B,
                                 .tokens = N,
                                 .width = D,
                                 .dtype = DTYPE_F32,
                                 .dtype_stream = DTYPE_F32,
                                 .eps = 1e-6f,
                                 .has_delta = true,
                                 .layer_scale = true,
                                 .dropout = 0.3f,
                                 .drop_path = 0.4f};
    float *x = floats(ALL, 10), *stats = floats(2 * ROWS, 11), *row = floats(D, 12), *dx = floats(ALL, 13),
          *ddelta = floats(ALL, 14);
    uint64_t position[B] = {1, 2, 3, 4, 5};
    struct op_random random = {9, position};
    struct add_norm_backward_args args = {.dy = x,
                                          .x_out = x,
                                          .stats = stats,
                                          .ls = row,
                                          .weight = row,
                                          .delta = x,
                                          .dx_in = x,
                                          .dx = dx,
                                          .ddelta = ddelta,
                                          .dweight = out,
                                          .dbias = out + D,
                                          .dls = out + 2 * D,
                                          .ddelta_sum = out + 3 * D};
    struct op_plan *plan;
    ASSERT_OK(be->nn.add_norm_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.add_norm_backward(plan, &args, &random);
    memcpy(out + 4 * D, dx, ALL * sizeof *dx);
    op_plan_close(&plan);
    free(x);
    free(stats);
    free(row);
    free(dx);
    free(ddelta);
}

static void loss(float *out)
{
    enum { K = 300 };
    struct loss_desc desc = {.batch = N, .classes = K, .labels = 1, .smoothing = 0.1f, .dtype_grad = DTYPE_F32};
    struct step_scalars scalars = {0};
    float *logits = floats(N * K, 20), ones[N];
    int32_t id[N];
    for (int i = 0; i < N; i++) {
        ones[i] = 1;
        id[i] = i * 20;
    }
    struct loss_args args = {.logits = logits,
                             .label_id = id,
                             .label_weight = ones,
                             .row_weight = ones,
                             .grad_scale = 1,
                             .dlogits = out,
                             .row_loss = out + N * K,
                             .scalars = &scalars};
    struct op_plan *plan;
    ASSERT_OK(be->nn.loss_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.loss_forward_backward(plan, &args);
    memcpy(out + N * K + N, &scalars, sizeof scalars);
    op_plan_close(&plan);
    free(logits);
}

static void norm_of(float *out)
{
    enum { COUNT = 2 * NORM_CHUNK + 11 };
    double partial[3];
    struct step_scalars scalars = {0};
    float *grads = floats(COUNT, 30);
    be->optim.sumsq_chunks(be, grads, COUNT, partial);
    be->optim.norm_finish(be, partial, 3, 1, &scalars);
    memcpy(out, &scalars, sizeof scalars);
    free(grads);
}

static void test_order_bits(void)
{
    static void (*const runs[])(float *out) = {norm_backward, loss, norm_of};
    enum { OUT = SUMS * D + ALL };
    static float first[OUT], other[OUT];
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
        for (int order = 0; order < 3; order++) {
            float *out = order ? other : first;
            memset(out, 0, sizeof first);
            backend_simt_order(order);
            runs[r](out);
            CU_ASSERT(memcmp(first, out, sizeof first) == 0);
        }
    backend_simt_order(0);
}

static const struct test_case cases[] = {
    {"ranges that begin anywhere", test_ranges},     {"chunks of the norm have their bits", test_norm_bits},
    {"an update in two parts", test_update_split},   {"activations", test_activations},
    {"the same bits in any order", test_order_bits},
};

int main(void)
{
    const struct backend_desc plain = {0};
    if (backend_simt_open(&plain, &be) != VT_OK)
        return 2;
    int failed = run_tests("kernels", cases, sizeof cases / sizeof *cases);
    be->close(be);
    return failed;
}
