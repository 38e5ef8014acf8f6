#include "test.h"

#include "base/text.h"

#include <float.h>

static void distances(void)
{
    CU_ASSERT_EQUAL(text_edit_distance("kitten", "sitting"), 3);
    CU_ASSERT_EQUAL(text_edit_distance("", "abc"), 3);
    CU_ASSERT_EQUAL(text_edit_distance("abc", "ABC"), 0);
    CU_ASSERT_EQUAL(text_edit_distance("batch", "bacth"), 1); /* one swap */
    CU_ASSERT_EQUAL(text_edit_distance("ca", "abc"), 3);      /* restricted: no edits inside a swap */
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    CU_ASSERT_EQUAL(text_edit_distance("x", longer), TEXT_FAR);
}

static void nearest(void)
{
    static const char *const words[] = {"train", "eval", NULL, "export", "report"};
    CU_ASSERT_STRING_EQUAL(text_nearest("trian", words, 5), "train");
    CU_ASSERT_STRING_EQUAL(text_nearest("exprot", words, 5), "export");
    CU_ASSERT_PTR_NULL(text_nearest("benchmark", words, 5));
    CU_ASSERT_PTR_NULL(text_nearest("zz", words, 5));
}

static void formatted(void (*format)(double, char *, size_t), double value, const char *expected)
{
    char text[64];
    format(value, text, sizeof text);
    if (strcmp(text, expected) != 0)
        fprintf(stderr, "%g: \"%s\", expected \"%s\"\n", value, text, expected);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void numbers(void)
{
    formatted(text_format_bytes, 512, "512 B");
    formatted(text_format_bytes, 1536, "1.5 KiB");
    formatted(text_format_bytes, 24.0 * (1 << 30), "24.0 GiB");
    formatted(text_format_count, 950, "950");
    formatted(text_format_count, 12800, "12.8k");
    formatted(text_format_count, 1.2e6, "1.20M");
    formatted(text_format_seconds, 250e-6, "250 us");
    formatted(text_format_seconds, 1.5e-3, "1.5 ms");
    formatted(text_format_seconds, 12.3, "12.3 s");
    formatted(text_format_seconds, 59.97, "1 min 00 s");
    formatted(text_format_seconds, 185, "3 min 05 s");
    formatted(text_format_seconds, 7620, "2 h 07 min");
    formatted(text_format_seconds, 3 * 86400 + 4 * 3600, "3 d 04 h");
    formatted(text_format_seconds, -1, "?");
}

static void doubles_read_back(void)
{
    formatted(text_format_double, 0.1, "0.1");
    formatted(text_format_double, 1e-6, "1e-06");
    formatted(text_format_double, 1024, "1024");
    formatted(text_format_double, NAN, "nan");
    formatted(text_format_double, -INFINITY, "-inf");
    const double values[] = {1.0 / 3, M_PI * 1e200, DBL_MIN, DBL_MAX, 4.9e-324, -0.0, 123456789012345678.0, 0.1f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[64];
        text_format_double(values[i], text, sizeof text);
        double back = strtod(text, NULL);
        CU_ASSERT_EQUAL(memcmp(&back, &values[i], sizeof back), 0);
    }
}

static void plurals(void)
{
    CU_ASSERT_STRING_EQUAL(text_s(1), "");
    CU_ASSERT_STRING_EQUAL(text_s(0), "s");
    CU_ASSERT_STRING_EQUAL(text_s(2), "s");
}

static void globs(void)
{
    CU_ASSERT(text_glob("*.bias", "blocks.0.attn.qkv.bias"));
    CU_ASSERT(text_glob("*norm*", "blocks.11.norm1.weight"));
    CU_ASSERT(text_glob("blocks.?.*", "blocks.3.mlp.fc1.weight"));
    CU_ASSERT(!text_glob("blocks.?.*", "blocks.13.mlp.fc1.weight"));
    CU_ASSERT(!text_glob("*.bias", "bias"));
    CU_ASSERT(text_glob("*", ""));
    CU_ASSERT(!text_glob("", "x"));
    CU_ASSERT(text_glob("a*b*c", "aXbYbZc"));
    CU_ASSERT(!text_glob("a*b*c", "aXbYbZ"));
}

static void appended(void)
{
    char text[12] = "";
    text_append(text, sizeof text, "%d of %d", 3, 4);
    CU_ASSERT_STRING_EQUAL(text, "3 of 4");
    text_append(text, sizeof text, ", and more");
    CU_ASSERT_STRING_EQUAL(text, "3 of 4, and"); /* cut, closed */
    text_append(text, sizeof text, "nothing fits");
    CU_ASSERT_STRING_EQUAL(text, "3 of 4, and");
}

static const struct test_case cases[] = {
    {"appended", appended},
    {"edit distance", distances},
    {"nearest", nearest},
    {"numbers", numbers},
    {"doubles read back", doubles_read_back},
    {"plurals", plurals},
    {"globs", globs},
};
TEST_MAIN("text", cases)
