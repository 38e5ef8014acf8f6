/* The formulas of ref against PyTorch (tests/golden/ops.py): finite differences show that backward belongs to forward,
 * this shows that forward is what the field means by the name. */
#include "test.h"

#include "backend/backend.h"

enum { MAX_VALUES = 64, LINE_BYTES = 2048 };

static FILE *golden;
static struct backend *be;

/* The next line, which must be called `name`. */
static int read_row(const char *name, double *values)
{
    char line[LINE_BYTES];
    CU_ASSERT_PTR_NOT_NULL_FATAL(fgets(line, sizeof line, golden));
    char *at = line + strlen(name);
    CU_ASSERT_FATAL(strncmp(line, name, strlen(name)) == 0 && *at == ' ');
    int count = 0;
    while (*at != '\n' && *at != '\0') {
        CU_ASSERT_FATAL(count < MAX_VALUES);
        values[count++] = strtod(at, &at);
    }
    return count;
}

static void read_input(const char *name, float *values)
{
    double row[MAX_VALUES];
    int count = read_row(name, row);
    for (int i = 0; i < count; i++)
        values[i] = (float)row[i];
}

static void expect_row(const char *name, const float *values)
{
    double row[MAX_VALUES];
    int count = read_row(name, row);
    for (int i = 0; i < count; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)values[i], row[i], 1e-6 * (1 + fabs(row[i])));
}

static void test_linear(void)
{
    float x[12], w[20], b[5], y[15], pre[15];
    read_input("x", x);
    read_input("w", w);
    read_input("b", b);
    static const struct {
        enum activation act;
        const char *row;
    } ACTS[] = {{ACT_NONE, "pre"}, {ACT_GELU_ERF, "gelu_erf"}, {ACT_GELU_TANH, "gelu_tanh"}, {ACT_TANH, "tanh"}};
    double pre_expected[MAX_VALUES] = {0};
    for (int a = 0; a < 4; a++) {
        struct linear_desc desc = {.rows = 3, .in = 4, .out = 5, .bias = true, .act = ACTS[a].act};
        struct op_plan *plan;
        ASSERT_OK(be->nn.linear_plan(be, &desc, &plan));
        ASSERT_OK(be->reserve_workspace(be));
        CU_ASSERT_EQUAL(plan->flops, 2 * 3 * 4 * 5);
        be->nn.linear_forward(plan, &(struct linear_forward_args){.x = x, .w = w, .b = b, .y = y, .pre = pre});
        expect_row(ACTS[a].row, y);
        for (int i = 0; i < 15; i++) {
            pre_expected[i] = a == 0 ? (double)y[i] : pre_expected[i];
            CU_ASSERT(a == 0 || (double)pre[i] == pre_expected[i]);
        }
        op_plan_close(&plan);
    }
}

static void test_attention(void)
{
    const struct attention_view view = {24, 12, 4};
    const struct attention_desc desc = {.batch = 2, .heads = 2, .queries = 3, .keys = 3, .head_dim = 4,
                                        .scale = 0.5f, .q = view, .k = view, .v = view, .o = view};
    float q[48], k[48], v[48], d_o[48], o[48], lse[12], dq[48], dk[48], dv[48];
    struct op_plan *plan;
    read_input("q", q);
    read_input("k", k);
    read_input("v", v);
    read_input("d_o", d_o);
    ASSERT_OK(be->nn.attention_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.attention_forward(plan, q, k, v, o, lse, NULL);
    be->nn.attention_backward(plan, q, k, v, o, lse, d_o, dq, dk, dv, NULL, NULL);
    expect_row("o", o);
    expect_row("lse", lse);
    expect_row("dq", dq);
    expect_row("dk", dk);
    expect_row("dv", dv);
    op_plan_close(&plan);
}

static void test_add_norm(void)
{
    const struct add_norm_desc desc = {
        .batch = 2, .tokens = 2, .width = 6, .eps = 0.01f, .has_delta = true, .layer_scale = true};
    float x[24], delta[24], ls[6], weight[6], bias[6], dy[24], x_out[24], y[24], stats[8];
    float dx[24], ddelta[24], dls[6], dweight[6], dbias[6];
    struct op_plan *plan;
    read_input("x", x);
    read_input("delta", delta);
    read_input("ls", ls);
    read_input("weight", weight);
    read_input("bias", bias);
    read_input("dy", dy);
    ASSERT_OK(be->nn.add_norm_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    const struct add_norm_forward_args forward = {x, delta, ls, weight, bias, x_out, y, stats};
    be->nn.add_norm_forward(plan, &forward, NULL);
    const struct add_norm_backward_args backward = {.dy = dy,
                                                    .x_out = x_out,
                                                    .stats = stats,
                                                    .ls = ls,
                                                    .weight = weight,
                                                    .delta = delta,
                                                    .dx = dx,
                                                    .ddelta = ddelta,
                                                    .dweight = dweight,
                                                    .dbias = dbias,
                                                    .dls = dls};
    be->nn.add_norm_backward(plan, &backward, NULL);
    expect_row("y", y);
    expect_row("dx", dx);
    expect_row("ddelta", ddelta);
    expect_row("dls", dls);
    expect_row("dweight", dweight);
    expect_row("dbias", dbias);
    op_plan_close(&plan);
}

static void test_loss(void)
{
    float logits[15], ids[6], label_weight[6], row_weight[3] = {1, 1, 1}, dlogits[15], row_loss[3];
    int32_t label_id[6];
    read_input("logits", logits);
    read_input("label_id", ids);
    read_input("label_weight", label_weight);
    for (int i = 0; i < 6; i++)
        label_id[i] = (int32_t)ids[i];
    for (int kind = LOSS_SOFTMAX; kind <= LOSS_SIGMOID; kind++) {
        const struct loss_desc desc = {3, 5, 2, (enum loss_kind)kind, 0.125f, DTYPE_F32};
        struct step_scalars scalars = {0};
        const struct loss_args args = {logits, label_id, label_weight, row_weight, 0.125f, dlogits, row_loss, &scalars};
        struct op_plan *plan;
        ASSERT_OK(be->nn.loss_plan(be, &desc, &plan));
        ASSERT_OK(be->reserve_workspace(be));
        be->nn.loss_forward_backward(plan, &args);
        expect_row(kind == LOSS_SOFTMAX ? "softmax" : "sigmoid", row_loss);
        expect_row(kind == LOSS_SOFTMAX ? "dsoftmax" : "dsigmoid", dlogits);
        CU_ASSERT_DOUBLE_EQUAL(scalars.loss_sum, (double)row_loss[0] + (double)row_loss[1] + (double)row_loss[2], 1e-6);
        CU_ASSERT_EQUAL(scalars.weight_sum, 3);
        op_plan_close(&plan);
    }
}

/* Ties count as lower class id first; padding counts nowhere; any label of positive weight may hit. */
static void test_correct(void)
{
    enum { K = 7 };
    const float logits[] = {
        5, 5, 0, 0, 0, 0, 0, /* label 0: first of the tie: in the best 1 */
        5, 5, 0, 0, 0, 0, 0, /* label 1: second of the tie: in the best 5 only */
        1, 1, 1, 1, 1, 1, 1, /* label 5: sixth of the tie: neither */
        1, 2, 3, 4, 5, 6, 7, /* labels 0 (weight 1) and 6 (weight 0.1): 6 hits */
        1, 2, 3, 4, 5, 6, 7, /* label 6 of weight 0, 0 of weight 1: neither */
        1, 2, 3, 4, 5, 6, 7, /* padding */
        1, 2, 3, 4, 5, 6, 7, /* no label at all */
    };
    const int32_t id[] = {0, -1, 1, -1, 5, -1, 0, 6, 6, 0, 6, -1, -1, -1};
    const float weight[] = {1, 0, 1, 0, 1, 0, 1, 0.1f, 0, 1, 1, 0, 1, 1}, row_weight[] = {1, 1, 1, 1, 1, 0, 1};
    const struct loss_desc desc = {7, K, 2, LOSS_SOFTMAX, 0, DTYPE_F32};
    struct step_scalars scalars = {.correct1 = 10, .correct5 = 20};
    const struct loss_args args = {logits, id, weight, row_weight, 1, NULL, NULL, &scalars};
    struct op_plan *plan;
    ASSERT_OK(be->nn.loss_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.loss_forward_backward(plan, &args);
    CU_ASSERT_EQUAL(scalars.correct1, 10 + 2);
    CU_ASSERT_EQUAL(scalars.correct5, 20 + 3);
    CU_ASSERT_EQUAL(scalars.weight_sum, 6);
    op_plan_close(&plan);
}

/* Patches by hand: image pixel (y, x, c) = 100 b + 16 y + 4 x + c, 4x4x2, patch 2. */
static void test_patchify(void)
{
    enum { H = 4, P = 2, C = 2 };
    const struct patchify_desc desc = {.batch = 2, .height = H, .width = H, .channels = C, .patch = P, .dtype = DTYPE_F32,
                                       .mean = {0.5f, 0.25f}, .std = {0.5f, 2}};
    uint8_t images[2 * H * H * C];
    float patches[2 * H * H * C];
    struct op_plan *plan;
    for (int i = 0; i < 2 * H * H * C; i++)
        images[i] = (uint8_t)(100 * (i / (H * H * C)) + 16 * (i / (H * C) % H) + 4 * (i / C % H) + i % C);
    ASSERT_OK(be->nn.patchify_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.patchify_forward(plan, images, NULL, patches, NULL);
    for (int i = 0; i < 2 * H * H * C; i++) {
        int column = i % P, row = i / P % P, c = i / (P * P) % C, patch = i / (P * P * C) % 4, b = i / (P * P * C * 4);
        int pixel = 100 * b + 16 * (patch / 2 * P + row) + 4 * (patch % 2 * P + column) + c;
        double expected = c == 0 ? (pixel / 255.0 - 0.5) / 0.5 : (pixel / 255.0 - 0.25) / 2;
        CU_ASSERT_DOUBLE_EQUAL((double)patches[i], expected, 1e-7);
    }
    op_plan_close(&plan);
}

/* The mean leaves the class token out, in both directions. */
static void test_pool(void)
{
    const float x[] = {100, 200, 1, 2, 3, 6}, dy[] = {4, 8};
    float y[2], dx[6];
    for (int kind = POOL_CLS; kind <= POOL_MEAN; kind++) {
        const struct pool_desc desc = {1, 3, 2, 1, (enum pool_kind)kind, DTYPE_F32};
        struct op_plan *plan;
        ASSERT_OK(be->nn.pool_plan(be, &desc, &plan));
        ASSERT_OK(be->reserve_workspace(be));
        be->nn.pool_forward(plan, x, y);
        be->nn.pool_backward(plan, dy, dx);
        CU_ASSERT(kind == POOL_CLS ? y[0] == 100 && y[1] == 200 : y[0] == 2 && y[1] == 4);
        CU_ASSERT(kind == POOL_CLS ? dx[0] == 4 && dx[1] == 8 && dx[2] == 0 && dx[5] == 0
                                   : dx[0] == 0 && dx[1] == 0 && dx[2] == 2 && dx[5] == 4);
        op_plan_close(&plan);
    }
}

static const struct test_case cases[] = {
    {"linear and activations", test_linear},
    {"attention", test_attention},
    {"add_norm", test_add_norm},
    {"losses", test_loss},
    {"correct counts", test_correct},
    {"patchify", test_patchify},
    {"pool", test_pool},
};

int main(void)
{
    const struct backend_desc desc = {0};
    golden = fopen(VT_SOURCE_DIR "/tests/golden/ops.txt", "r");
    if (!golden || backend_ref_open(&desc, &be) != VT_OK)
        return 2;
    int failed = run_tests("backend/ref values", cases, (int)(sizeof cases / sizeof *cases));
    be->close(be);
    fclose(golden);
    return failed;
}
