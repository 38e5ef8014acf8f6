/* What would fit: the advice at the end of a refusal, against the sizes themselves. */
#include "train/memory_plan.h"

#include "test.h"

enum { ROWS = 256 };

static struct memory_fit fit_b16(bool evaluation)
{
    struct memory_fit fit = {
        .train = {.batch = ROWS, .dtype = DTYPE_BF16, .dtype_stream = DTYPE_BF16, .training = true, .labels = 1},
        .evaluation = evaluation,
        .shape = {ROWS, 224, 3, 1},
        .rings = evaluation ? 2 : 1,
        .fixed = (size_t)3 << 30};
    vit_config_defaults(&fit.train.config);
    ASSERT_OK(vit_config_named(&fit.train.config, "B/16"));
    fit.train.config.image_size = 224;
    return fit;
}

/* 54, 34 and 4 MB of blocks an image (11 layers of 197 tokens and one that is class only), beside what is there once. */
static void test_bytes(void)
{
    struct memory_fit fit = fit_b16(false);
    double image[3];
    for (int level = RECOMPUTE_NONE; level <= RECOMPUTE_BLOCK; level++) {
        size_t one = memory_fit_bytes(&fit, ROWS, (enum vit_recompute)level);
        size_t two = memory_fit_bytes(&fit, 2 * ROWS, (enum vit_recompute)level);
        image[level] = (double)(two - one) / ROWS * 1e-6;
        CU_ASSERT(one > fit.fixed);
    }
    CU_ASSERT_DOUBLE_EQUAL(image[RECOMPUTE_NONE] - image[RECOMPUTE_LIGHT], (11 * 197 * 6 + 197 + 5) * 768 * 2e-6, 0.01);
    CU_ASSERT(image[RECOMPUTE_NONE] > 54 && image[RECOMPUTE_NONE] < 58);
    CU_ASSERT(image[RECOMPUTE_LIGHT] > 34 && image[RECOMPUTE_LIGHT] < 38);
    CU_ASSERT(image[RECOMPUTE_BLOCK] > 7 && image[RECOMPUTE_BLOCK] < 12);
    struct memory_fit with = fit_b16(true);
    CU_ASSERT(memory_fit_bytes(&with, ROWS, RECOMPUTE_NONE) > memory_fit_bytes(&fit, ROWS, RECOMPUTE_NONE));
}

/* The largest even number: one pair more does not fit. */
static void test_rows(void)
{
    struct memory_fit fit = fit_b16(true);
    for (int level = RECOMPUTE_NONE; level <= RECOMPUTE_BLOCK; level++)
        for (size_t limit = (size_t)3 << 30; limit < (size_t)40 << 30; limit += (size_t)1700 << 20) {
            int rows = memory_fit_rows(&fit, (enum vit_recompute)level, limit, ROWS);
            CU_ASSERT(rows % 2 == 0 && rows >= 0 && rows <= ROWS);
            CU_ASSERT(rows == 0 || memory_fit_bytes(&fit, rows, (enum vit_recompute)level) <= limit);
            CU_ASSERT(rows == ROWS || memory_fit_bytes(&fit, rows + 2, (enum vit_recompute)level) > limit);
        }
    CU_ASSERT_EQUAL(memory_fit_rows(&fit, RECOMPUTE_NONE, fit.fixed, ROWS), 0);
}

/* The refusal of a plan on a device of `limit` bytes ends with `expected`. */
static void refused(struct memory_fit fit, size_t limit, const char *expected)
{
    struct memory_plan plan = {0};
    size_t activations = memory_fit_bytes(&fit, (int)fit.train.batch, fit.train.recompute) - fit.fixed;
    memory_plan_add(&plan, "weights and optimizer", fit.fixed, 0);
    memory_plan_add(&plan, "activations", activations, 0);
    memory_plan_add(&plan, "input", 0, 1 << 20); /* pinned: not the device's */
    fit.fixed = 12345;                           /* found out by the call */
    ASSERT_FAILS(memory_plan_check_device(&plan, fit, limit), VT_E_MEMORY, expected);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), "the largest part is activations with"));
}

static void test_advice(void)
{
    char expected[160];
    struct memory_fit fit = fit_b16(true);
    const size_t none = memory_fit_bytes(&fit, ROWS, RECOMPUTE_NONE),
                 light = memory_fit_bytes(&fit, ROWS, RECOMPUTE_LIGHT),
                 block = memory_fit_bytes(&fit, ROWS, RECOMPUTE_BLOCK);
    struct memory_plan plan = {0};
    memory_plan_add(&plan, "all", none, 0);
    ASSERT_OK(memory_plan_check_device(&plan, fit, none));
    ASSERT_OK(memory_plan_check_device(&plan, fit, 0)); /* no memory of its own */

    refused(fit, none - 1, "compute.recompute=light would fit, or compute.micro_batch=254");
    refused(fit, light, "compute.recompute=light would fit, or compute.micro_batch=");
    refused(fit, light - 1, "compute.recompute=block would fit, or compute.micro_batch=");
    refused(fit, block, "compute.recompute=block would fit, or compute.micro_batch=");
    int rows = memory_fit_rows(&fit, RECOMPUTE_NONE, block - 1, ROWS);
    snprintf(expected, sizeof expected,
             "compute.recompute=block with compute.micro_batch=254 would fit, or compute.micro_batch=%d", rows);
    refused(fit, block - 1, expected);
    CU_ASSERT(rows > 2 && rows < 100);

    size_t pair = memory_fit_bytes(&fit, 2, RECOMPUTE_NONE);
    refused(fit, pair - 1, "compute.recompute=block with compute.micro_batch=");
    CU_ASSERT_PTR_NULL(strstr(status_message(), ", or compute"));
    refused(fit, fit.fixed, "no microbatch fits at any compute.recompute: expected a smaller model");
    fit.train.recompute = RECOMPUTE_BLOCK;
    refused(fit, block - 1, ": compute.micro_batch=254 would fit");
    fit.train.recompute = RECOMPUTE_LIGHT;
    refused(fit, light - 1, "compute.recompute=block would fit, or compute.micro_batch=254");
}

static const struct test_case cases[] = {
    {"bytes", test_bytes},
    {"rows", test_rows},
    {"advice", test_advice},
};
TEST_MAIN("memory_fit", cases)
