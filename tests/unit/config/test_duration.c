#include "test.h"

#include "config/duration.h"

static void parses(const char *text, double value, enum duration_unit unit)
{
    struct duration duration = {-1, DURATION_STEPS};
    ASSERT_OK(duration_parse(text, &duration));
    CU_ASSERT_EQUAL(duration.value, value);
    CU_ASSERT_EQUAL(duration.unit, unit);
}

static void units(void)
{
    parses("90ep", 90, DURATION_EPOCHS);
    parses("0.5epochs", 0.5, DURATION_EPOCHS);
    parses("1 epoch", 1, DURATION_EPOCHS);
    parses("10ksteps", 10000, DURATION_STEPS);
    parses("1step", 1, DURATION_STEPS);
    parses("1.2Mimages", 1.2e6, DURATION_IMAGES);
    parses("2Gimages", 2e9, DURATION_IMAGES);
    parses("3%", 3, DURATION_PERCENT);
    parses("1e3steps", 1000, DURATION_STEPS);
    parses("0", 0, DURATION_STEPS);
    parses("0%", 0, DURATION_PERCENT);
}

static void errors(void)
{
    struct duration duration = {7, DURATION_IMAGES};
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"90", "has no unit: expected a length"},
        {"90 parsecs", "unknown unit \"parsecs\""},
        {"ep", "\"ep\": expected a length"},
        {"", "expected a length"},
        {"-1ep", "expected a length"},
        {"nanep", "expected a length"},
        {"infsteps", "expected a length"},
        {"0x10steps", "expected a length"},
        {"1e999steps", "expected a length"},
        {"101%", "more than 100%"},
        {"1k%", "unknown unit \"k%\""},
        {"1kksteps", "unknown unit"},
        {"1epx", "unknown unit \"epx\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ASSERT_FAILS(duration_parse(bad[i].text, &duration), VT_E_USAGE, bad[i].message);
    CU_ASSERT_EQUAL(duration.value, 7);
}

static void format_reads_back(void)
{
    static const char *const texts[] = {"90ep", "10000steps", "1200000images", "3%", "0", "0.1ep", "33.333333333%"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct duration duration;
        char text[48];
        ASSERT_OK(duration_parse(texts[i], &duration));
        duration_format(duration, text, sizeof text);
        parses(text, duration.value, duration.unit);
        CU_ASSERT_STRING_EQUAL(text, texts[i]);
    }
}

static int64_t steps(const char *text, int64_t batch, int64_t images, int64_t total)
{
    struct duration duration;
    ASSERT_OK(duration_parse(text, &duration));
    return duration_steps(duration, batch, images, total);
}

static void in_steps(void)
{
    /* big_vision's S/16: 1268355 images, batch 1024, 90 epochs: 111476.5 steps. */
    CU_ASSERT_EQUAL(steps("90ep", 1024, 1268355, 0), 111477);
    CU_ASSERT_EQUAL(steps("10ksteps", 1024, 1268355, 0), 10000);
    CU_ASSERT_EQUAL(steps("1.2Mimages", 1000, 1, 0), 1200);
    CU_ASSERT_EQUAL(steps("5%", 1, 1, 1000), 50);
    CU_ASSERT_EQUAL(steps("0ep", 1, 1000, 1000), 0);
    CU_ASSERT_EQUAL(steps("0.001ep", 1000, 1000, 0), 1); /* something is at least one step */
    CU_ASSERT_EQUAL(steps("1e300steps", 1, 1, 1), INT64_MAX / 2);
}

static const struct test_case cases[] = {
    {"units", units},
    {"errors", errors},
    {"format reads back", format_reads_back},
    {"in steps", in_steps},
};
TEST_MAIN("duration", cases)
