/* The sample order: every sample once per epoch for any N, keyed by seed and epoch, the same wherever it is asked from.
 */
#include "test.h"

#include "base/clock.h"
#include "dataset/order.h"

static struct order make(enum order_mode mode, uint64_t n, uint64_t seed, uint32_t k, uint32_t v, uint32_t m,
                         bool sticky)
{
    struct order_desc desc = {.mode = mode,
                              .seed = seed,
                              .samples = n,
                              .block_samples = k,
                              .stripes = v,
                              .window_blocks = m,
                              .sticky = sticky};
    struct order order;
    ASSERT_OK(order_init(&order, &desc));
    return order;
}

/* Is epoch `epoch` of the order a permutation of 0..n-1? */
static int is_bijection(const struct order *order, uint64_t epoch)
{
    uint64_t n = order->desc.samples;
    unsigned char *seen = calloc(n, 1);
    int good = 1;
    for (uint64_t p = 0; p < n && good; p++) {
        uint64_t sample = order_sample(order, epoch * n + p);
        good = sample < n && !seen[sample];
        if (good)
            seen[sample] = 1;
    }
    free(seen);
    return good;
}

static void check_all(uint64_t n, uint64_t seed)
{
    static const uint32_t kvm[][3] = {{1, 1, 1}, {2, 3, 4}, {8, 4, 2}, {128, 16, 8}, {5, 7, 1}};
    struct order full = make(ORDER_FULL, n, seed, 0, 0, 0, false);
    int good = is_bijection(&full, 0) && is_bijection(&full, 3);
    for (size_t i = 0; i < sizeof kvm / sizeof *kvm; i++)
        for (int sticky = 0; sticky < 2; sticky++) {
            struct order window = make(ORDER_WINDOW, n, seed, kvm[i][0], kvm[i][1], kvm[i][2], sticky);
            good = good && is_bijection(&window, seed % 4);
        }
    if (!good)
        fprintf(stderr, "not a bijection: N = %llu, seed %llu\n", (unsigned long long)n, (unsigned long long)seed);
    CU_ASSERT(good);
}

static void small_sizes(void)
{
    for (uint64_t n = 1; n <= 300; n++)
        check_all(n, n * 7 + 1);
}

static void large_sizes(void)
{
    /* 65537 and 262145 are 2^(2k) + 1, where rounding log2 down loses samples. */
    static const uint64_t sizes[] = {1000, 65537, 262145, 999983};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_all(sizes[i], i);
    struct order full = make(ORDER_FULL, 1281167, 5, 0, 0, 0, false);
    struct order window = make(ORDER_WINDOW, 1281167, 5, 128, 1024, 8, false);
    struct order sticky = make(ORDER_WINDOW, 1281167, 5, 128, 1024, 8, true);
    CU_ASSERT(is_bijection(&full, 1) && is_bijection(&window, 1) && is_bijection(&sticky, 1));
}

static int agreements(const struct order *a, uint64_t from_a, const struct order *b, uint64_t from_b, uint64_t count)
{
    int same = 0;
    for (uint64_t p = 0; p < count; p++)
        same += order_sample(a, from_a + p) == order_sample(b, from_b + p);
    return same;
}

static void seeds_and_epochs_differ(void)
{
    enum { N = 10000 };
    for (int mode = 0; mode < 2; mode++) {
        enum order_mode kind = mode ? ORDER_WINDOW : ORDER_FULL;
        struct order a = make(kind, N, 1, 16, 8, 4, false), b = make(kind, N, 2, 16, 8, 4, false);
        CU_ASSERT_EQUAL(agreements(&a, 0, &a, 0, N), N);
        CU_ASSERT(agreements(&a, 0, &b, 0, N) < 200); /* 1 expected when independent; whole windows may share a slot */
        CU_ASSERT(agreements(&a, 0, &a, N, N) < 200);
        CU_ASSERT(agreements(&a, 0, &a, 5 * N, N) < 200);
    }
}

static void sequential_is_the_identity(void)
{
    struct order order = make(ORDER_SEQUENTIAL, 10, 1, 0, 0, 0, false);
    for (uint64_t p = 0; p < 30; p++)
        CU_ASSERT_EQUAL(order_sample(&order, p), p % 10);
    CU_ASSERT_EQUAL(order_stripe(&order, 7), 0);
}

/* All samples of a block are met in one stripe; sticky stripes keep their blocks from epoch to epoch. */
static void stripes_own_blocks(void)
{
    enum { K = 16, V = 8, M = 4, N = K * V * 11 + 37, BLOCKS = V * 11 };
    for (int sticky = 0; sticky < 2; sticky++) {
        struct order order = make(ORDER_WINDOW, N, 3, K, V, M, sticky);
        int owner[3][BLOCKS], moved = 0;
        memset(owner, -1, sizeof owner);
        for (uint64_t epoch = 0; epoch < 3; epoch++)
            for (uint64_t p = 0; p < N; p++) {
                uint64_t sample = order_sample(&order, epoch * N + p), block = sample / K;
                int stripe = (int)order_stripe(&order, epoch * N + p);
                if (block >= BLOCKS)
                    continue;
                if (owner[epoch][block] < 0)
                    owner[epoch][block] = stripe;
                CU_ASSERT_EQUAL_FATAL(owner[epoch][block], stripe);
            }
        for (int b = 0; b < BLOCKS; b++)
            moved += owner[1][b] != owner[0][b];
        if (sticky)
            CU_ASSERT_EQUAL(moved, 0);
        if (!sticky)
            CU_ASSERT(moved > BLOCKS / 2);
    }
}

/* Within a window every stripe meets M blocks and no more: what bounds the memory of a rank. */
static void windows_bound_the_blocks(void)
{
    enum { K = 16, V = 8, M = 4, WINDOW = K * V * M, N = WINDOW * 3 };
    struct order order = make(ORDER_WINDOW, N, 9, K, V, M, false);
    for (int w = 0; w < 3; w++) {
        char met[V][N / K] = {{0}};
        int count[V] = {0};
        for (int q = 0; q < WINDOW; q++) {
            uint64_t p = (uint64_t)(w * WINDOW + q);
            uint32_t stripe = order_stripe(&order, p);
            uint64_t block = order_sample(&order, p) / K;
            count[stripe] += !met[stripe][block];
            met[stripe][block] = 1;
        }
        for (int v = 0; v < V; v++)
            CU_ASSERT_EQUAL(count[v], M);
    }
}

/* Position 0 over many seeds is uniform: chi-square of 64 cells, 63 degrees of freedom, far tails fail. */
static void first_sample_is_uniform(void)
{
    enum { CELLS = 64, SEEDS = 20000 };
    int count[CELLS] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct order order = make(ORDER_FULL, CELLS, seed, 0, 0, 0, false);
        count[order_sample(&order, seed % 7)]++;
    }
    double chi2 = 0, expected = (double)SEEDS / CELLS;
    for (int c = 0; c < CELLS; c++)
        chi2 += (count[c] - expected) * (count[c] - expected) / expected;
    CU_ASSERT(chi2 > 25 && chi2 < 120);
}

static void neighbours_are_unrelated(void)
{
    enum { N = 100003 };
    struct order order = make(ORDER_FULL, N, 11, 0, 0, 0, false);
    double sum = 0, previous = (double)order_sample(&order, 0) / N - 0.5;
    for (uint64_t p = 1; p < N; p++) {
        double x = (double)order_sample(&order, p) / N - 0.5;
        sum += x * previous;
        previous = x;
    }
    CU_ASSERT(fabs(sum / N * 12) < 0.015); /* lag-1 correlation; its deviation is 1/sqrt(N) = 0.003 */
}

/* A position far into the stream of a huge dataset costs what the first one costs. */
static void constant_time_and_known_values(void)
{
    struct order huge = make(ORDER_WINDOW, 1000000007, 1, 128, 1024, 8, false);
    double start = clock_ms();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 10000; i++)
        sum += order_sample(&huge, 50000000000u + i * 999983);
    CU_ASSERT(sum > 0);
    CU_ASSERT(clock_ms() - start < 500);
    /* A change of these numbers changes the order of every run: it must be a decision. */
    struct order full = make(ORDER_FULL, 1000, 42, 0, 0, 0, false),
                 window = make(ORDER_WINDOW, 1000, 42, 8, 4, 2, false);
    CU_ASSERT_EQUAL(order_sample(&full, 0), 800);
    CU_ASSERT_EQUAL(order_sample(&full, 1234), 183);
    CU_ASSERT_EQUAL(order_sample(&window, 1234), 847);
}

static void refuses_nonsense(void)
{
    struct order order;
    ASSERT_FAILS(order_init(&order, &(struct order_desc){.mode = ORDER_FULL}), VT_E_USAGE, "no samples");
    ASSERT_FAILS(order_init(&order, &(struct order_desc){.mode = ORDER_WINDOW, .samples = 10}), VT_E_USAGE,
                 "at least 1");
}

static const struct test_case cases[] = {
    {"every sample once, N = 1..300", small_sizes},
    {"every sample once, large N", large_sizes},
    {"seeds and epochs differ", seeds_and_epochs_differ},
    {"sequential", sequential_is_the_identity},
    {"stripes own whole blocks", stripes_own_blocks},
    {"a window holds M blocks per stripe", windows_bound_the_blocks},
    {"the first sample is uniform over seeds", first_sample_is_uniform},
    {"neighbours are unrelated", neighbours_are_unrelated},
    {"constant time, known values", constant_time_and_known_values},
    {"nonsense is refused", refuses_nonsense},
};
TEST_MAIN("order", cases)
