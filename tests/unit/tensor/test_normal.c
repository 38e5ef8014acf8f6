#include "test.h"

#include "tensor/normal.h"

static void test_quantile_inverts_the_distribution(void)
{
    /* Table values of the normal quantile. */
    CU_ASSERT_EQUAL(normal_quantile(0.5), 0);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(0.975), 1.959963984540054, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(0.25), -0.6744897501960817, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(1e-10), -6.361340902404056, 1e-13);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(1e-20), -9.262340089798408, 1e-13);
    for (double x = -35; x <= 6;
         x += 0.03125) { /* through all three ranges; above 6 the probability itself is coarse */
        double tolerance = x < 3 ? 1e-13 * (1 + fabs(x)) : 1e-6;
        CU_ASSERT_DOUBLE_EQUAL(normal_quantile(normal_cdf(x)), x, tolerance);
    }
}

static void test_truncated_stays_inside(void)
{
    const double cuts[] = {0.5, 2, 40};
    for (int c = 0; c < 3; c++) {
        struct normal_cut normal = normal_cut(cuts[c]);
        double last = -INFINITY;
        for (int i = 0; i < 1000; i++) {
            double x = normal_truncated(&normal, i / 1000.0);
            CU_ASSERT(isfinite(x) && fabs(x) <= cuts[c] && x > last);
            last = x;
        }
        CU_ASSERT(isfinite(normal_truncated(&normal, 0)));
        CU_ASSERT(isfinite(normal_truncated(&normal, 1 - 0x1p-53)));
        CU_ASSERT_DOUBLE_EQUAL(normal_truncated(&normal, 0.5), 0, 1e-12);
    }
}

static const struct test_case cases[] = {
    {"quantile inverts the distribution", test_quantile_inverts_the_distribution},
    {"truncated stays inside", test_truncated_stays_inside},
};
TEST_MAIN("tensor normal", cases)
