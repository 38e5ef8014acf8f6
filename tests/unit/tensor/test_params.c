#include "test.h"

#include "base/philox.h"
#include "tensor/normal.h"
#include "tensor/params.h"

static int add(struct param_table *table, const char *name, int64_t rows, int64_t columns, enum param_init init,
               float value)
{
    struct param row = {.rank = columns ? 2 : 1, .dim = {rows, columns}, .init = init, .init_value = value};
    row.fan_in = columns ? columns : rows;
    row.fan_out = rows;
    snprintf(row.name, sizeof row.name, "%s", name);
    return param_table_add(table, &row);
}

static void test_offsets_and_totals(void)
{
    struct param_table table = {0};
    CU_ASSERT_EQUAL(add(&table, "a", 3, 5, INIT_ZERO, 0), 0);
    CU_ASSERT_EQUAL(add(&table, "b", 64, 0, INIT_ONE, 0), 1);
    CU_ASSERT_EQUAL(add(&table, "c", 65, 0, INIT_ONE, 0), 2);
    CU_ASSERT_EQUAL(table.rows[0].count, 15);
    CU_ASSERT_EQUAL(table.rows[1].offset, 64);
    CU_ASSERT_EQUAL(table.rows[2].offset, 128);
    CU_ASSERT_EQUAL(table.total, 256);
    CU_ASSERT_EQUAL(table.parameters, 15 + 64 + 65);
    CU_ASSERT_EQUAL(param_table_find(&table, "b"), 1);
    CU_ASSERT_EQUAL(param_table_find(&table, "bb"), -1);
    for (int i = 0; i < 200; i++) { /* grows */
        char name[16];
        snprintf(name, sizeof name, "row%d", i);
        CU_ASSERT_EQUAL(add(&table, name, 1, 0, INIT_ZERO, 0), 3 + i);
    }
    CU_ASSERT_EQUAL(table.total, 256 + 200 * PARAM_ALIGN);
    param_table_close(&table);
    param_table_close(&table);
    CU_ASSERT_PTR_NULL(table.rows);
}

struct moments {
    double mean, deviation, kurtosis, least, most;
};

static struct moments moments_of(const float *values, int64_t count)
{
    struct moments m = {.least = INFINITY, .most = -INFINITY};
    double fourth = 0;
    for (int64_t i = 0; i < count; i++) {
        m.mean += (double)values[i] / (double)count;
        m.least = fmin(m.least, (double)values[i]);
        m.most = fmax(m.most, (double)values[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        double square = pow((double)values[i] - m.mean, 2);
        m.deviation += square / (double)count;
        fourth += square * square / (double)count;
    }
    m.kurtosis = fourth / (m.deviation * m.deviation);
    m.deviation = sqrt(m.deviation);
    return m;
}

/* Sample moments of 400 x 500 draws: the mean within 5 standard errors, the deviation within 1 %. */
static struct moments check_init(enum param_init init, float value, double deviation, double kurtosis)
{
    struct param_table table = {0};
    int row = add(&table, "w", 400, 500, init, value);
    float *values = malloc((size_t)table.total * sizeof *values);
    CU_ASSERT_PTR_NOT_NULL_FATAL(values);
    param_table_initialise(&table, 42, 1, values);
    struct moments m = moments_of(values, table.rows[row].count);
    CU_ASSERT_DOUBLE_EQUAL(m.mean, 0, 5 * deviation / sqrt(400 * 500));
    CU_ASSERT_DOUBLE_EQUAL(m.deviation, deviation, 0.01 * deviation);
    CU_ASSERT_DOUBLE_EQUAL(m.kurtosis, kurtosis, 0.06);
    free(values);
    param_table_close(&table);
    return m;
}

static void test_distributions(void)
{
    struct moments m = check_init(INIT_NORMAL, 0.02f, 0.02, 3);
    CU_ASSERT(m.most > 4 * 0.02 && m.most < 6 * 0.02 && m.least < -4 * 0.02 && m.least > -6 * 0.02);

    m = check_init(INIT_TRUNC_NORMAL, 0.02f, 0.02, 3); /* the cut at 2 is 100 sigmas away: no cut at 2 sigmas */
    CU_ASSERT(m.most > 4 * 0.02);

    /* Cut at 2 sigmas: deviation 0.87962566, kurtosis 2.3655 of a standard normal truncated there. */
    m = check_init(INIT_TRUNC_NORMAL, 1.0f, 0.87962566, 2.3655);
    CU_ASSERT(m.most <= 2 && m.most > 1.99 && m.least >= -2 && m.least < -1.99);

    /* The truncated draw ends with variance 1/fan_in, so its bound is 2 / 0.8796 of it. */
    m = check_init(INIT_LECUN_NORMAL, 0, sqrt(1 / 500.0), 2.3655);
    CU_ASSERT(m.most <= 2 * sqrt(1 / 500.0) / 0.87962566 + 1e-7 && m.most > 1.99 * sqrt(1 / 500.0) / 0.87962566);

    double a = sqrt(6 / 900.0);
    m = check_init(INIT_XAVIER_UNIFORM, 0, a / sqrt(3), 1.8);
    CU_ASSERT(m.most <= a && m.most > 0.999 * a && m.least >= -a && m.least < -0.999 * a);
}

static void test_constants_and_gaps(void)
{
    struct param_table table = {0};
    add(&table, "zero", 3, 0, INIT_ZERO, 7);
    add(&table, "one", 5, 0, INIT_ONE, 7);
    add(&table, "constant", 2, 2, INIT_CONSTANT, 1e-5f);
    add(&table, "normal", 70, 0, INIT_NORMAL, 1);
    float values[5 * PARAM_ALIGN];
    CU_ASSERT_EQUAL_FATAL(table.total, 5 * PARAM_ALIGN);
    for (int i = 0; i < 5 * PARAM_ALIGN; i++)
        values[i] = NAN;
    param_table_initialise(&table, 1, 1, values);
    for (int i = 0; i < 5 * PARAM_ALIGN; i++) {
        float expected = i >= 64 && i < 69 ? 1 : i >= 128 && i < 132 ? 1e-5f : 0;
        if (i >= 192 && i < 192 + 70)
            CU_ASSERT(values[i] != 0)
        else
            CU_ASSERT_EQUAL(values[i], expected)
    }
    param_table_close(&table);
}

/* A value is a function of (seed, row number, element): not of shapes around it, of names or of earlier calls. */
static void test_values_depend_on_nothing_else(void)
{
    struct param_table small = {0}, large = {0};
    add(&small, "first", 3, 0, INIT_ZERO, 0);
    add(&small, "w", 10, 0, INIT_NORMAL, 1);
    add(&large, "another", 5000, 0, INIT_NORMAL, 1);
    add(&large, "other.name", 300, 0, INIT_NORMAL, 2);
    add(&large, "third", 300, 0, INIT_NORMAL, 2);
    float *a = malloc((size_t)small.total * sizeof *a), *b = malloc((size_t)large.total * sizeof *b);
    CU_ASSERT_FATAL(a != NULL && b != NULL);
    param_table_initialise(&large, 9, 1, b);
    param_table_initialise(&small, 9, 1, a);
    const float *wa = a + small.rows[1].offset, *wb = b + large.rows[1].offset, *wc = b + large.rows[2].offset;
    for (int i = 0; i < 10; i++) {
        CU_ASSERT_EQUAL(2 * wa[i], wb[i]);
        CU_ASSERT_NOT_EQUAL(wb[i], wc[i]);
    }
    float first = wa[0];
    param_table_initialise(&small, 10, 1, a);
    CU_ASSERT_NOT_EQUAL(wa[0], first);

    /* And it is the draw that the header names. */
    struct param_table uniform = {0};
    add(&uniform, "zero", 3, 0, INIT_ZERO, 0);
    add(&uniform, "u", 2, 4, INIT_XAVIER_UNIFORM, 0);
    param_table_initialise(&uniform, 1234567890123u, 1, b);
    for (uint32_t e = 0; e < 8; e++) {
        double draw = draw_uniform53(1234567890123u, DRAW_INIT, 1, e);
        CU_ASSERT_EQUAL(b[64 + e], (float)(sqrt(6.0 / 6.0) * (2 * draw - 1)));
    }
    free(a);
    free(b);
    param_table_close(&small);
    param_table_close(&large);
    param_table_close(&uniform);
}

/* Rows of every kind, odd sizes, gaps, and enough elements for several parts. */
static void make_mixed(struct param_table *table)
{
    add(table, "odd", 7, 13, INIT_TRUNC_NORMAL, 0.02f);
    add(table, "one", 65, 0, INIT_ONE, 0);
    add(table, "large", 501, 1003, INIT_LECUN_NORMAL, 0);
    add(table, "constant", 3, 0, INIT_CONSTANT, 0.5f);
    add(table, "uniform", 333, 77, INIT_XAVIER_UNIFORM, 0);
    add(table, "zero", 1, 0, INIT_ZERO, 0);
    add(table, "last", 129, 9, INIT_NORMAL, 3);
}

static void test_threads_change_nothing(void)
{
    static const int counts[] = {2, 3, 7, 1000};
    struct param_table table = {0};
    make_mixed(&table);
    size_t bytes = (size_t)table.total * sizeof(float);
    float *one = malloc(bytes), *many = malloc(bytes);
    CU_ASSERT_FATAL(one != NULL && many != NULL);
    param_table_initialise(&table, 5, 1, one);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        memset(many, 0x7b, bytes);
        param_table_initialise(&table, 5, counts[i], many);
        CU_ASSERT_EQUAL(memcmp(one, many, bytes), 0);
    }
    free(one);
    free(many);
    param_table_close(&table);
}

/* Ranges that begin and end anywhere (within a pair of draws, in a gap, across rows) tile to the same bits, and write
 * nothing outside. */
static void test_ranges_tile_the_whole(void)
{
    static const int64_t steps[] = {1, 3, 64, 4097, 100001};
    struct param_table table = {0};
    make_mixed(&table);
    size_t bytes = (size_t)table.total * sizeof(float);
    float *whole = malloc(bytes), *tiled = malloc(bytes);
    CU_ASSERT_FATAL(whole != NULL && tiled != NULL);
    param_table_initialise(&table, 5, 1, whole);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int64_t total = i ? table.total : 400; /* one by one: past the first two rows' gaps */
        memset(tiled, 0x7b, bytes);
        for (int64_t at = 0; at < total; at += steps[i]) {
            int64_t end = at + steps[i] < total ? at + steps[i] : total;
            param_table_initialise_range(&table, 5, at, end, tiled);
            if (end < table.total)
                CU_ASSERT_FATAL(memcmp(&tiled[end], "\x7b\x7b\x7b\x7b", sizeof *tiled) == 0);
        }
        CU_ASSERT_EQUAL(memcmp(whole, tiled, (size_t)total * sizeof *tiled), 0);
    }
    free(whole);
    free(tiled);
    param_table_close(&table);
}

/* Every element is its own draw, made normal: the definition, element by element. */
static void test_each_element_is_its_draw(void)
{
    struct param_table table = {0};
    add(&table, "first", 3, 0, INIT_ZERO, 0);
    int row = add(&table, "w", 11, 31, INIT_LECUN_NORMAL, 0);
    float values[64 + 384];
    CU_ASSERT_EQUAL_FATAL(table.total, 64 + 384);
    struct normal_cut normal = normal_cut(2);
    param_table_initialise(&table, 77, 1, values);
    for (uint32_t e = 0; e < 11 * 31; e++) {
        double draw = draw_uniform53(77, DRAW_INIT, (uint64_t)row, e);
        CU_ASSERT_EQUAL(values[64 + e],
                        (float)(sqrt(1 / 31.0) / 0.87962566103423978 * normal_truncated(&normal, draw)));
    }
    param_table_close(&table);
}

static const struct test_case cases[] = {
    {"offsets and totals", test_offsets_and_totals},
    {"distributions", test_distributions},
    {"constants and gaps", test_constants_and_gaps},
    {"values depend on seed, row and element only", test_values_depend_on_nothing_else},
    {"threads change nothing", test_threads_change_nothing},
    {"ranges tile the whole", test_ranges_tile_the_whole},
    {"each element is its draw", test_each_element_is_its_draw},
};
TEST_MAIN("tensor params", cases)
