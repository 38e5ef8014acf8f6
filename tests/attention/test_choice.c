/* The choice among the ways of attention: by preference, by timing, by the tuning table, by wish; and that every way keeps
 * inside the buffers it is timed in (address sanitizer). */
#include "backend_simt.h"
#include "compare.h"
#include "fake_cudnn.h"
#include "test.h"

#include "backend/cuda/attention_ways.h"

static struct backend *ref, *simt;

static struct attention_desc packed(int64_t batch, int64_t heads, int64_t n, int64_t d, enum dtype dtype)
{
    const struct attention_view qkv = {n * 3 * heads * d, d, 3 * heads * d}, o = {n * heads * d, d, heads * d};
    return (struct attention_desc){.batch = batch, .heads = heads, .queries = n, .keys = n, .head_dim = d, .dtype = dtype,
                                   .scale = 0.125f, .q = qkv, .k = qkv, .v = qkv, .o = o};
}

/* A fresh table, and what the candidates take. */
static void start(bool tune, double us0, double us1)
{
    tuning_close(&fake_cudnn.tuning);
    ASSERT_OK(tuning_open("test", "1", &fake_cudnn.tuning));
    fake_cudnn.us[0] = us0;
    fake_cudnn.us[1] = us1;
    fake_cudnn.absent = fake_cudnn.reversed = false;
    fake_cudnn.timed = fake_cudnn.enqueued = fake_cudnn.compiled = 0;
    for (int i = 0; i < 2; i++)
        fake_cudnn.closed[i] = fake_cudnn.wrong[i] = fake_cudnn.idle[i] = false;
    ((struct cuda_backend *)simt)->tune = tune;
    ((struct cuda_backend *)simt)->shared_bytes = 227 * 1024;
    CU_ASSERT_EQUAL(fake_cudnn.open, 0);
    unsetenv("VT_CUDA_ATTENTION");
    unsetenv("VT_CUDA_ATTENTION_STRICT");
}

static void expect(const struct attention_desc *desc, const char *algorithm)
{
    struct op_plan *plan = NULL;
    ASSERT_OK(simt->nn.attention_plan(simt, desc, &plan));
    CU_ASSERT_STRING_EQUAL(plan->algorithm, algorithm);
    CU_ASSERT_EQUAL(plan->flops, 4.0 * (double)(desc->batch * desc->heads * desc->queries * desc->keys * desc->head_dim));
    op_plan_close(&plan);
    CU_ASSERT_EQUAL(fake_cudnn.open, 0);
}

static void test_preference(void)
{
    start(false, 1, 1);
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16), large = packed(1, 1, 400, 64, DTYPE_BF16);
    const struct attention_desc wide = packed(2, 2, 50, 64, DTYPE_F32), odd = packed(1, 2, 9, 20, DTYPE_BF16);
    expect(&small, "head/head");
    expect(&large, "cudnn-unified.0/cudnn-graph.0");
    expect(&wide, "plain/plain");
    expect(&odd, "plain/plain");
    struct attention_desc dropout = small;
    dropout.dropout = 0.1f;
    expect(&dropout, "plain/plain");
    ((struct cuda_backend *)simt)->shared_bytes = 30000;
    expect(&small, "head/cudnn-graph.0");
    cuda_attention_close((struct cuda_backend *)simt);
    fake_cudnn.absent = true;
    expect(&large, "plain/plain");
    CU_ASSERT_EQUAL(fake_cudnn.timed, 0);
}

static void test_timing(void)
{
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16), large = packed(1, 2, 300, 32, DTYPE_BF16);
    start(true, 12, 11);
    expect(&small, "head/head");
    start(true, 8, 7);
    expect(&small, "cudnn-unified.1/cudnn-graph.1");
    start(true, 7, -1); /* fails when run */
    expect(&small, "cudnn-unified.0/cudnn-graph.0");
    start(true, -1, -1);
    expect(&large, "plain/head");
}

/* The first of a heuristic's plans that does not open says nothing of the second. */
static void test_closed(void)
{
    const struct attention_desc large = packed(1, 2, 400, 64, DTYPE_BF16);
    start(true, 5, 7);
    fake_cudnn.closed[0] = true;
    expect(&large, "cudnn-unified.1/cudnn-graph.1");
    start(false, 5, 7);
    fake_cudnn.closed[0] = true;
    expect(&large, "cudnn-unified.1/cudnn-graph.1");
    setenv("VT_CUDA_ATTENTION", "cudnn-graph", 1);
    expect(&large, "cudnn-graph.1/cudnn-graph.1");
    fake_cudnn.closed[1] = true;
    expect(&large, "plain/plain");
}

/* Wrong results, and none, are not taken for their speed. */
static void test_right(void)
{
    const struct attention_desc small = packed(3, 2, 50, 64, DTYPE_BF16);
    start(true, 5, 7);
    fake_cudnn.wrong[0] = true;
    expect(&small, "cudnn-unified.1/cudnn-graph.1");
    start(true, 7, 5);
    fake_cudnn.idle[1] = true;
    expect(&small, "cudnn-unified.0/cudnn-graph.0");
    start(true, 7, 5);
    fake_cudnn.wrong[0] = fake_cudnn.idle[1] = true;
    expect(&small, "head/head");
}

/* A device that is lost ends it, at once and with the words. */
static void test_lost(void)
{
    const struct attention_desc large = packed(1, 2, 300, 32, DTYPE_BF16);
    struct op_plan *plan = NULL;
    start(true, -2, 5);
    ASSERT_FAILS(simt->nn.attention_plan(simt, &large, &plan), VT_E_IO, "its own words");
    CU_ASSERT_EQUAL(fake_cudnn.timed, 1);
    CU_ASSERT_EQUAL(fake_cudnn.open, 0);
}

/* The layers of a model, and its evaluation: one compilation a direction, and none of backward that is not wanted. */
static void test_shared(void)
{
    enum { LAYERS = 3 };
    const struct attention_desc layer = packed(1, 1, 400, 64, DTYPE_BF16);
    struct attention_desc evaluation = layer;
    struct op_plan *plan[LAYERS] = {NULL}, *forward = NULL;
    evaluation.forward_only = true;
    start(false, 1, 1);
    ASSERT_OK(simt->nn.attention_plan(simt, &evaluation, &forward));
    CU_ASSERT_STRING_EQUAL(forward->algorithm, "cudnn-unified.0");
    CU_ASSERT_EQUAL(fake_cudnn.compiled, 1);
    for (int i = 0; i < LAYERS; i++)
        ASSERT_OK(simt->nn.attention_plan(simt, &layer, &plan[i]));
    CU_ASSERT_EQUAL(fake_cudnn.compiled, 2);
    op_plan_close(&forward);
    for (int i = 0; i < LAYERS; i++)
        op_plan_close(&plan[i]);
    CU_ASSERT_EQUAL(fake_cudnn.open, 0);
    CU_ASSERT_PTR_NULL(((struct cuda_backend *)simt)->attention);
}

/* Which choice of the table has this value. */
static void key_of_value(const char *value, char key[TUNING_WORD_BYTES])
{
    struct tuning_rows rows;
    uint8_t *bytes;
    size_t size;
    key[0] = '\0';
    ASSERT_OK(tuning_export(fake_cudnn.tuning, &bytes, &size));
    ASSERT_OK(tuning_decode(bytes, size, &rows));
    for (int i = 0; i < rows.count; i++)
        if (strcmp(rows.rows[i].value, value) == 0)
            snprintf(key, TUNING_WORD_BYTES, "%s", rows.rows[i].key);
    CU_ASSERT_NOT_EQUAL_FATAL(key[0], '\0');
    tuning_rows_close(&rows);
    free(bytes);
}

/* What was timed once is taken from the table, also where nothing is timed; a name that no longer opens is chosen anew. */
static void test_table(void)
{
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16), other = packed(2, 2, 51, 64, DTYPE_BF16);
    char key[TUNING_WORD_BYTES];
    start(true, 8, 7);
    expect(&small, "cudnn-unified.1/cudnn-graph.1");
    int timed = fake_cudnn.timed;
    CU_ASSERT(timed > 0);
    ((struct cuda_backend *)simt)->tune = false;
    fake_cudnn.us[1] = 99;
    expect(&small, "cudnn-unified.1/cudnn-graph.1");
    expect(&other, "head/head");
    CU_ASSERT_EQUAL(fake_cudnn.timed, timed);
    key_of_value("cudnn-graph.1:e9.k2=1", key);
    CU_ASSERT_PTR_NOT_NULL(strstr(key, "attention/backward/bf16/2x2x50x50x64/drop0/"));
    fake_cudnn.reversed = true; /* the same plan, in another place */
    expect(&small, "cudnn-unified.0/cudnn-graph.0");
    fake_cudnn.reversed = false;
    CU_ASSERT_EQUAL(fake_cudnn.timed, timed);
    tuning_put(fake_cudnn.tuning, key, "cudnn-graph.1:e7.k2=1"); /* an engine this library does not have */
    expect(&small, "cudnn-unified.1/head");
}

static void test_wish(void)
{
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16);
    struct op_plan *plan = NULL;
    start(true, 8, 7);
    setenv("VT_CUDA_ATTENTION", "plain", 1);
    expect(&small, "plain/plain");
    setenv("VT_CUDA_ATTENTION", "cudnn-graph", 1);
    expect(&small, "cudnn-graph.0/cudnn-graph.0");
    setenv("VT_CUDA_ATTENTION", "cudnn-unified", 1); /* which has no backward of its own */
    expect(&small, "cudnn-unified.0/cudnn-graph.0");
    ASSERT_OK(simt->nn.attention_plan(simt, &small, &plan)); /* before what the table knows, and not stored in it */
    op_plan_close(&plan);
    CU_ASSERT_EQUAL(fake_cudnn.timed, 0);
    setenv("VT_CUDA_ATTENTION", "flash", 1);
    ASSERT_FAILS(simt->nn.attention_plan(simt, &small, &plan), VT_E_USAGE, "VT_CUDA_ATTENTION=flash: expected head,");
    unsetenv("VT_CUDA_ATTENTION");
}

/* Insisted on: another way would prove nothing of this one. */
static void test_strict(void)
{
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16), wide = packed(2, 2, 50, 64, DTYPE_F32);
    struct op_plan *plan = NULL;
    start(true, 8, 7);
    expect(&small, "cudnn-unified.1/cudnn-graph.1");
    setenv("VT_CUDA_ATTENTION_STRICT", "1", 1);
    ASSERT_FAILS(simt->nn.attention_plan(simt, &small, &plan), VT_E_USAGE, "expected VT_CUDA_ATTENTION beside it");
    setenv("VT_CUDA_ATTENTION", "head", 1);
    expect(&small, "head/head");
    ASSERT_FAILS(simt->nn.attention_plan(simt, &wide, &plan), VT_E_UNSUPPORTED,
                 "VT_CUDA_ATTENTION=head, forward: attention: the whole-head kernel does not take this shape");
    setenv("VT_CUDA_ATTENTION", "cudnn-graph", 1);
    ASSERT_FAILS(simt->nn.attention_plan(simt, &wide, &plan), VT_E_UNSUPPORTED, "not bf16");
    setenv("VT_CUDA_ATTENTION", "plain", 1);
    expect(&wide, "plain/plain");
    setenv("VT_CUDA_ATTENTION_STRICT", "yes", 1);
    ASSERT_FAILS(simt->nn.attention_plan(simt, &wide, &plan), VT_E_USAGE, "VT_CUDA_ATTENTION_STRICT=yes: expected 0 or 1");
    unsetenv("VT_CUDA_ATTENTION");
    unsetenv("VT_CUDA_ATTENTION_STRICT");
}

/* Column sums: the whole-head kernel's own, another way's cost half of a pass; that shows in the plan, and is timed and stored apart. */
static void test_sums(void)
{
    struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16);
    struct op_plan *plan = NULL;
    start(true, 12, 11);
    ASSERT_OK(simt->nn.attention_plan(simt, &small, &plan));
    CU_ASSERT_FALSE(plan->own_sums);
    const size_t bytes = plan->workspace_bytes;
    int timed = fake_cudnn.timed;
    op_plan_close(&plan);
    small.sums = true;
    ASSERT_OK(simt->nn.attention_plan(simt, &small, &plan));
    CU_ASSERT_STRING_EQUAL(plan->algorithm, "head/head");
    CU_ASSERT(plan->own_sums);
    CU_ASSERT(plan->workspace_bytes >= bytes + 2 * 2 * 2 * 64 * sizeof(float));
    CU_ASSERT(fake_cudnn.timed > timed);
    op_plan_close(&plan);
    start(true, 8, FAKE_OWN_US * 0.6); /* with half of a pass for the sums, slower than the kernel that leaves them */
    ASSERT_OK(simt->nn.attention_plan(simt, &small, &plan));
    CU_ASSERT_STRING_EQUAL(plan->algorithm, "cudnn-unified.1/head");
    CU_ASSERT(plan->own_sums);
    op_plan_close(&plan);
    start(true, 8, FAKE_OWN_US * 0.4);
    ASSERT_OK(simt->nn.attention_plan(simt, &small, &plan));
    CU_ASSERT_STRING_EQUAL(plan->algorithm, "cudnn-unified.1/cudnn-graph.1");
    CU_ASSERT_FALSE(plan->own_sums);
    op_plan_close(&plan);
}

/* What a way leaves as its sums is held against what its gradients add up to. */
static void test_right_sums(void)
{
    enum { WIDTH = 2 * 64 };
    const struct attention_desc small = packed(2, 2, 50, 64, DTYPE_BF16);
    static float found[2][WIDTH], expected[2][WIDTH];
    const struct attention_sums one = {found[0], NULL, found[1], false}, other = {expected[0], NULL, expected[1], false};
    for (int i = 0; i < WIDTH; i++) {
        expected[0][i] = (float)i - 60;
        expected[1][i] = 0.5f * (float)(i % 7);
        found[0][i] = expected[0][i] * 1.004f;
        found[1][i] = expected[1][i] * 0.996f;
    }
    start(false, 1, 1);
    ASSERT_OK(attention_check_sums((struct cuda_backend *)simt, &small, &one, &other));
    found[1][9] += 3;
    ASSERT_FAILS(attention_check_sums((struct cuda_backend *)simt, &small, &one, &other), VT_E_UNSUPPORTED, "dv's sums differ");
    memset(found[0], 0, sizeof found[0]);
    ASSERT_FAILS(attention_check_sums((struct cuda_backend *)simt, &small, &one, &other), VT_E_UNSUPPORTED, "dq's sums differ");
}

/* The whole table of the op checker, chosen by timing: right numbers through whatever was chosen. */
static void test_numbers(void)
{
    start(true, 5, 50);
    struct compare_result result = ops_compare(ref, simt, "attention", true);
    CU_ASSERT(result.passed > 30);
    CU_ASSERT_EQUAL(result.failed, 0);
    CU_ASSERT(fake_cudnn.enqueued > 0);
    CU_ASSERT_EQUAL(fake_cudnn.open, 0);
}

static const struct test_case CASES[] = {
    {"by preference", test_preference}, {"by timing", test_timing}, {"by the table", test_table},
    {"plans that do not open", test_closed},
    {"wrong results", test_right},      {"a lost device", test_lost},   {"shared by layers", test_shared},
    {"by wish", test_wish},             {"by a strict wish", test_strict}, {"numbers", test_numbers},
    {"sums", test_sums},                {"right sums", test_right_sums},
};

int main(void)
{
    const struct backend_desc desc = {0};
    if (backend_ref_open(&desc, &ref) != VT_OK || backend_simt_open(&desc, &simt) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    fake_cudnn.backend = simt;
    cuda_attention_install(simt);
    int failed = run_tests("attention_choice", CASES, (int)(sizeof CASES / sizeof *CASES));
    tuning_close(&fake_cudnn.tuning);
    simt->close(simt);
    ref->close(ref);
    return failed;
}
