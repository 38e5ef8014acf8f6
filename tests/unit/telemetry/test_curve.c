#include "telemetry/curve.h"

#include "test.h"

static void test_smooth(void)
{
    /* keep = 1/2; by hand: out[1] = (1/2 * 8 + 4 + 1/2 * 0) / 2, out[0] = (8 + 1/2 * 4 + 1/4 * 0) / (7/4). */
    const double y[] = {8, NAN, 4, 0};
    double out[4];
    curve_smooth(y, 4, 2, out);
    CU_ASSERT_DOUBLE_EQUAL(out[0], 10 / 1.75, 1e-12);
    CU_ASSERT(isnan(out[1]));
    CU_ASSERT_DOUBLE_EQUAL(out[2], 4, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(out[3], (0 + 2 + 2) / 1.75, 1e-12);
}

/* A straight line stays where it is away from its ends: nothing trails behind. A constant stays everywhere. */
static void test_no_lag(void)
{
    enum { N = 2000 };
    static double line[N], flat[N], out[N];
    for (int i = 0; i < N; i++) {
        line[i] = 3 - 0.01 * i;
        flat[i] = 0.1;
    }
    curve_smooth(line, N, 20, out);
    for (int i = 500; i < N - 500; i++)
        CU_ASSERT_DOUBLE_EQUAL(out[i], line[i], 1e-9);
    curve_smooth(flat, N, 20, out);
    for (int i = 0; i < N; i++)
        CU_ASSERT_DOUBLE_EQUAL(out[i], 0.1, 1e-12);
    curve_smooth(line, N, 1, out); /* a window of one point is the point */
    CU_ASSERT_EQUAL(memcmp(out, line, sizeof out), 0);
}

static void test_thin(void)
{
    enum { N = 10000, BUCKETS = 50 };
    static double x[N], y[N], xs[2 * BUCKETS + 2], ys[2 * BUCKETS + 2];
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = sin(i * 0.37);
    }
    y[777] = 50; /* the spike that a chart must not lose */
    y[5000] = -50;
    y[5001] = NAN;
    y[5002] = 1e300;
    int64_t count = curve_thin(x, y, N, BUCKETS, xs, ys);
    bool high = false, low = false;
    CU_ASSERT_FATAL(count > BUCKETS && count <= 2 * BUCKETS + 2);
    for (int64_t i = 0; i < count; i++) {
        CU_ASSERT(i == 0 || xs[i] >= xs[i - 1]);
        CU_ASSERT_EQUAL(ys[i], y[(int)xs[i]]);
        high = high || (xs[i] == 777 && ys[i] == 50);
        low = low || (xs[i] == 5000 && ys[i] == -50);
    }
    CU_ASSERT(high && low);
    CU_ASSERT(xs[0] == 0 && xs[count - 1] == N - 1);
}

static void test_thin_small(void)
{
    double xs[8], ys[8];
    const double x[] = {1, 2, 3, 4}, y[] = {5, NAN, INFINITY, 6}, same[] = {1, 1, 1, 1};
    CU_ASSERT_EQUAL(curve_thin(x, y, 4, 3, xs, ys), 2);
    CU_ASSERT(xs[0] == 1 && ys[0] == 5 && xs[1] == 4 && ys[1] == 6);
    CU_ASSERT_EQUAL(curve_thin(x, y, 0, 3, xs, ys), 0);
    CU_ASSERT_EQUAL(curve_thin(x, y + 1, 2, 3, xs, ys), 0);
    CU_ASSERT_EQUAL(curve_thin(same, x, 4, 1, xs, ys), 1); /* no width to share among buckets */
}

static void test_quantile(void)
{
    const double y[] = {5, 1, NAN, 3, 2, 4, -INFINITY};
    CU_ASSERT_EQUAL(curve_quantile(y, 7, 0), 1);
    CU_ASSERT_EQUAL(curve_quantile(y, 7, 0.5), 3);
    CU_ASSERT_EQUAL(curve_quantile(y, 7, 1), 5);
    CU_ASSERT(isnan(curve_quantile(y, 0, 0.5)));
}

static const struct test_case cases[] = {
    {"smoothing by hand", test_smooth},
    {"smoothing does not lag", test_no_lag},
    {"thinning keeps extremes", test_thin},
    {"thinning of few points", test_thin_small},
    {"quantiles", test_quantile},
};
TEST_MAIN("telemetry/curve", cases)
