/* Which draw decides which element: every random op of ref against draw_uniform itself, written out per op. */
#include "test.h"

#include "backend/backend.h"
#include "base/philox.h"

enum { B = 3, N = 5, D = 6, A = 2 };
static const uint64_t SEED = 0x123456789abcdefu;
static const uint64_t POSITION[B] = {7, 0x100000003u, 41};

static struct backend *be;
static const struct op_random RANDOM = {SEED, POSITION};

static double keep(float rate, uint32_t purpose, int b, int e)
{
    return draw_uniform(SEED, purpose, POSITION[b], (uint32_t)e) < rate ? 0 : 1 / (1 - (double)rate);
}

static void open_with(struct op_plan *plan)
{
    (void)plan;
    ASSERT_OK(be->reserve_workspace(be));
}

static void fill(float *values, int count, float value)
{
    for (int i = 0; i < count; i++)
        values[i] = value;
}

static void test_dropout(void)
{
    const struct dropout_desc desc = {B, N * D, DTYPE_F32, 0.3f, DRAW_OUT_DROPOUT};
    float x[B * N * D], y[B * N * D];
    struct op_plan *plan;
    ASSERT_OK(be->nn.dropout_plan(be, &desc, &plan));
    fill(x, B * N * D, 2);
    be->nn.dropout_forward(plan, x, y, &RANDOM);
    for (int b = 0; b < B; b++)
        for (int e = 0; e < N * D; e++)
            CU_ASSERT_EQUAL(y[b * N * D + e], (float)(2 * keep(0.3f, DRAW_OUT_DROPOUT, b, e)));
    op_plan_close(&plan);
}

static void test_embed(void)
{
    const struct embed_desc desc = {B, N - 1, D, true, DTYPE_F32, DTYPE_F32, 0.4f, DRAW_POS_DROPOUT};
    float patches[B * (N - 1) * D], cls[D], pos[N * D], x[B * N * D];
    struct op_plan *plan;
    ASSERT_OK(be->nn.embed_plan(be, &desc, &plan));
    open_with(plan);
    fill(patches, B * (N - 1) * D, 1);
    fill(cls, D, 2);
    fill(pos, N * D, 0.5f);
    be->nn.embed_forward(plan, patches, cls, pos, x, &RANDOM);
    for (int b = 0; b < B; b++)
        for (int t = 0; t < N; t++)
            for (int c = 0; c < D; c++)
                CU_ASSERT_EQUAL(x[(b * N + t) * D + c],
                                (float)((t ? 1.5 : 2.5) * keep(0.4f, DRAW_POS_DROPOUT, b, t * D + c)));
    op_plan_close(&plan);
}

static void test_add_norm(void)
{
    const uint32_t inner = draw_purpose_layer(DRAW_MLP_DROPOUT, 3), path = draw_purpose_layer(DRAW_DROP_PATH_MLP, 3);
    const struct add_norm_desc desc = {.batch = B,
                                       .tokens = N,
                                       .width = D,
                                       .eps = 1e-6f,
                                       .has_delta = true,
                                       .dropout = 0.25f,
                                       .dropout_purpose = inner,
                                       .drop_path = 0.5f,
                                       .drop_path_purpose = path};
    float x[B * N * D], delta[B * N * D], x_out[B * N * D], y[B * N * D], weight[D], bias[D], stats[2 * B * N];
    struct op_plan *plan;
    ASSERT_OK(be->nn.add_norm_plan(be, &desc, &plan));
    open_with(plan);
    fill(x, B * N * D, 10);
    fill(delta, B * N * D, 1);
    fill(weight, D, 1);
    fill(bias, D, 0);
    const struct add_norm_forward_args args = {x, delta, NULL, weight, bias, x_out, y, stats};
    be->nn.add_norm_forward(plan, &args, &RANDOM);
    int dropped_rows = 0;
    for (int b = 0; b < B; b++) {
        double s = keep(0.5f, path, b, 0);
        dropped_rows += s == 0;
        for (int e = 0; e < N * D; e++)
            CU_ASSERT_EQUAL(x_out[b * N * D + e], (float)(10 + s * keep(0.25f, inner, b, e)));
    }
    CU_ASSERT(dropped_rows > 0 && dropped_rows < B); /* these positions show both */
    op_plan_close(&plan);
}

/* Equal scores, v = one-hot of the key: o reads out the mask. */
static void test_attention(void)
{
    const uint32_t purpose = draw_purpose_layer(DRAW_ATTN_DROPOUT, 2);
    const struct attention_view view = {N * A * N, N, A * N};
    const struct attention_desc desc = {.batch = B, .heads = A, .queries = N, .keys = N, .head_dim = N, .scale = 1,
                                        .q = view, .k = view, .v = view, .o = view, .dropout = 0.35f, .purpose = purpose};
    float zeros[B * N * A * N] = {0}, v[B * N * A * N] = {0}, o[B * N * A * N], lse[B * A * N];
    struct op_plan *plan;
    ASSERT_OK(be->nn.attention_plan(be, &desc, &plan));
    open_with(plan);
    for (int b = 0; b < B; b++)
        for (int j = 0; j < N; j++)
            for (int h = 0; h < A; h++)
                v[((b * N + j) * A + h) * N + j] = 1;
    be->nn.attention_forward(plan, zeros, zeros, v, o, lse, &RANDOM);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < A; h++)
            for (int i = 0; i < N; i++)
                for (int j = 0; j < N; j++)
                    CU_ASSERT_DOUBLE_EQUAL((double)o[((b * N + i) * A + h) * N + j],
                                           keep(0.35f, purpose, b, (h * N + i) * N + j) / N, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL((double)lse[0], log(N), 1e-6);
    op_plan_close(&plan);
}

static const struct test_case cases[] = {
    {"dropout", test_dropout},
    {"embed", test_embed},
    {"add_norm: dropout and drop path", test_add_norm},
    {"attention", test_attention},
};

int main(void)
{
    const struct backend_desc desc = {0};
    if (backend_ref_open(&desc, &be) != VT_OK)
        return 2;
    int failed = run_tests("backend/ref random", cases, (int)(sizeof cases / sizeof *cases));
    be->close(be);
    return failed;
}
