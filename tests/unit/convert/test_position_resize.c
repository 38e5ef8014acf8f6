#include "convert/position_resize.h"

#include "../../golden/vit_formula.h"
#include "checkpoint/safetensors.h"
#include "test.h"

enum { WIDTH = 3, MAX_SIDE = 24 };

static void fill(float *grid, int side)
{
    for (int e = 0; e < side * side * WIDTH; e++)
        grid[e] = (float)((double)(formula_word(formula_hash("grid"), e) >> 11) * 0x1p-53 - 0.5);
}

/* tests/golden/position_resize.py: torch, antialiased bicubic. */
static void test_against_torch(void)
{
    struct safetensors file = {0};
    ASSERT_OK(safetensors_open(VT_SOURCE_DIR "/tests/golden/position_resize.safetensors", &file));
    CU_ASSERT_EQUAL(file.count, 8);
    for (int i = 0; i < file.count; i++) {
        float source[MAX_SIDE * MAX_SIDE * WIDTH], target[MAX_SIDE * MAX_SIDE * WIDTH],
            expected[MAX_SIDE * MAX_SIDE * WIDTH];
        int from = 0, to = 0;
        CU_ASSERT_EQUAL_FATAL(sscanf(file.tensors[i].name, "%dto%d", &from, &to), 2);
        CU_ASSERT_EQUAL_FATAL(file.tensors[i].count, to * to * WIDTH);
        ASSERT_OK(safetensors_read_f32(&file, &file.tensors[i], expected));
        fill(source, from);
        position_resize(source, from, to, WIDTH, target);
        double worst = 0;
        for (int e = 0; e < to * to * WIDTH; e++)
            worst = fmax(worst, fabs((double)(target[e] - expected[e])));
        if (worst > 2e-7)
            fprintf(stderr, "%d to %d: off by %g\n", from, to, worst);
        CU_ASSERT_TRUE(worst <= 2e-7);
    }
    safetensors_close(&file);
}

static void test_same_size_is_identity(void)
{
    float source[7 * 7 * WIDTH], target[7 * 7 * WIDTH];
    fill(source, 7);
    position_resize(source, 7, 7, WIDTH, target);
    CU_ASSERT_EQUAL(memcmp(source, target, sizeof source), 0);
}

static void test_constants_stay(void)
{
    float source[9 * 9], target[5 * 5];
    for (int i = 0; i < 81; i++)
        source[i] = 1.5f;
    position_resize(source, 9, 5, 1, target);
    for (int i = 0; i < 25; i++)
        CU_ASSERT_DOUBLE_EQUAL(target[i], 1.5, 1e-6);
}

static const struct test_case cases[] = {
    {"against torch", test_against_torch},
    {"same size is the identity", test_same_size_is_identity},
    {"constants stay", test_constants_stay},
};
TEST_MAIN("position_resize", cases)
