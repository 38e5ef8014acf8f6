#include "test.h"

#include "tensor/dtype.h"

static void test_sizes_and_names(void)
{
    CU_ASSERT_EQUAL(dtype_bytes(DTYPE_F32), 4);
    CU_ASSERT_EQUAL(dtype_bytes(DTYPE_BF16), 2);
    CU_ASSERT_EQUAL(dtype_bytes(DTYPE_F16), 2);
    CU_ASSERT_EQUAL(dtype_bytes(DTYPE_U8), 1);
    CU_ASSERT_EQUAL(dtype_bytes(DTYPE_I64), 8);
    CU_ASSERT_STRING_EQUAL(dtype_name(DTYPE_BF16), "bf16");
    CU_ASSERT_STRING_EQUAL(dtype_name(DTYPE_F64), "fp64");
    for (int dtype = 0; dtype < DTYPE_COUNT; dtype++)
        CU_ASSERT(dtype_bytes((enum dtype)dtype) > 0 && dtype_name((enum dtype)dtype)[0] != '\0');
}

static void test_bf16_rounds_to_nearest_even(void)
{
    CU_ASSERT_EQUAL(bf16_from_float(1.0f), 0x3f80);
    CU_ASSERT_EQUAL(bf16_from_float(0x1.01p0f), 0x3f80);     /* tie: down to even */
    CU_ASSERT_EQUAL(bf16_from_float(0x1.03p0f), 0x3f82);     /* tie: up to even */
    CU_ASSERT_EQUAL(bf16_from_float(0x1.010002p0f), 0x3f81); /* just above the tie */
    CU_ASSERT_EQUAL(bf16_from_float(-0x1.03p0f), 0xbf82);
    CU_ASSERT_EQUAL(bf16_from_float(0x1.fffffep127f), 0x7f80); /* overflows to infinity */
    CU_ASSERT_EQUAL(bf16_from_float(INFINITY), 0x7f80);
    CU_ASSERT_EQUAL(bf16_from_float(-0.0f), 0x8000);
    CU_ASSERT(isnan(bf16_to_float(bf16_from_float(NAN))));
    for (uint32_t bits = 0; bits < 0x10000; bits++)
        if (!isnan(bf16_to_float((bf16_t)bits)))
            CU_ASSERT_EQUAL(bf16_from_float(bf16_to_float((bf16_t)bits)), bits);
}

static const struct test_case cases[] = {
    {"sizes and names", test_sizes_and_names},
    {"bf16 rounds to nearest even", test_bf16_rounds_to_nearest_even},
};
TEST_MAIN("tensor dtype", cases)
