#include "test.h"

#include "base/philox.h"

/* Known answers of Random123's kat_vectors file, philox 4x32 with 10 rounds. */
static void known_answers(void)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        philox4x32(cases[i].counter, cases[i].key, out);
        CU_ASSERT_EQUAL(memcmp(out, cases[i].expected, sizeof out), 0);
    }
}

/* Any element alone, in any order, equals the element of the whole stream. */
static void seeks(void)
{
    uint32_t stream[64];
    for (uint32_t block = 0; block < 16; block++)
        draw4(42, DRAW_CROP, 7, block, stream + 4 * block);
    for (int e = 63; e >= 0; e--) {
        CU_ASSERT_EQUAL(draw_u32(42, DRAW_CROP, 7, (uint32_t)e), stream[e]);
        CU_ASSERT_EQUAL(draw_uniform(42, DRAW_CROP, 7, (uint32_t)e), (float)(stream[e] >> 8) * 0x1p-24f);
    }
    for (uint32_t e = 0; e < 32; e++) {
        uint64_t wide = (uint64_t)stream[2 * e] << 32 | stream[2 * e + 1];
        CU_ASSERT_EQUAL(draw_uniform53(42, DRAW_CROP, 7, e), (double)(wide >> 11) * 0x1p-53);
    }
}

/* Neighbouring seeds, purposes, layers, positions and indices give different numbers. */
static void streams_differ(void)
{
    uint32_t base = draw_u32(1, DRAW_CROP, 10, 0);
    CU_ASSERT_NOT_EQUAL(base, draw_u32(2, DRAW_CROP, 10, 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1 + (1ull << 32), DRAW_CROP, 10, 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1, DRAW_FLIP, 10, 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1, draw_purpose_layer(DRAW_CROP, 1), 10, 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1, DRAW_CROP, 11, 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1, DRAW_CROP, 10 + (1ull << 32), 0));
    CU_ASSERT_NOT_EQUAL(base, draw_u32(1, DRAW_CROP, 10, 1));
}

static void below_is_in_range_and_even(void)
{
    enum { N = 7, DRAWS = 70000 };
    int counts[N] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint64_t value = draw_below(3, DRAW_MIX, i, 0, N);
        CU_ASSERT_FATAL(value < N);
        counts[value]++;
    }
    /* Binomial with mean 10000, standard deviation 93: five of them. */
    for (int v = 0; v < N; v++)
        CU_ASSERT(abs(counts[v] - DRAWS / N) < 465);
    CU_ASSERT_EQUAL(draw_below(3, DRAW_MIX, 0, 0, 1), 0);
    CU_ASSERT(draw_below(3, DRAW_MIX, 0, 0, UINT64_MAX) < UINT64_MAX);
}

static void uniform_moments(void)
{
    double sum = 0, square = 0, low = 1, high = 0;
    enum { DRAWS = 100000 };
    for (uint32_t i = 0; i < DRAWS; i++) {
        double u = draw_uniform(9, DRAW_INIT, 0, i);
        sum += u;
        square += u * u;
        low = u < low ? u : low;
        high = u > high ? u : high;
    }
    CU_ASSERT(low >= 0 && high < 1);
    CU_ASSERT_DOUBLE_EQUAL(sum / DRAWS, 0.5, 0.005);
    CU_ASSERT_DOUBLE_EQUAL(square / DRAWS, 1.0 / 3, 0.005);
}

static const struct test_case cases[] = {
    {"known answers", known_answers},     {"seeks to any element", seeks},
    {"streams differ", streams_differ},   {"draw_below", below_is_in_range_and_even},
    {"uniform moments", uniform_moments},
};
TEST_MAIN("philox", cases)
