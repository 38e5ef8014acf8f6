#include "tensor/shape.h"

#include "test.h"

static void test_texts(void)
{
    const int64_t dim[8] = {24, 3, 8, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN};
    char text[SHAPE_TEXT_BYTES];
    CU_ASSERT_STRING_EQUAL(shape_text(dim, 0, text, sizeof text), "[]");
    CU_ASSERT_STRING_EQUAL(shape_text(dim, 1, text, sizeof text), "[24]");
    CU_ASSERT_STRING_EQUAL(shape_text(dim, 3, text, sizeof text), "[24, 3, 8]");
    CU_ASSERT_EQUAL(strlen(shape_text(dim, 8, text, sizeof text)), 2 + 4 + 5 * 20 + 7 * 2);
    CU_ASSERT_STRING_EQUAL(shape_text(dim, 8, text, 6), "[24, ");
}

static const struct test_case cases[] = {{"texts", test_texts}};
TEST_MAIN("tensor shape", cases)
