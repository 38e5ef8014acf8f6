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

/* The steps of a run after which something is due, as text. */
static const char *due_steps(const char *every, int64_t batch, int64_t images, int64_t total)
{
    static char text[4096];
    struct duration duration;
    size_t used = 0;
    ASSERT_OK(duration_parse(every, &duration));
    text[0] = 0;
    for (int64_t step = 1; step <= total; step++)
        if (duration_due(duration, step, batch, images, total))
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", used ? " " : "", (long long)step);
    return text;
}

static void when_due(void)
{
    CU_ASSERT_STRING_EQUAL(due_steps("4steps", 8, 100, 12), "4 8 12");
    CU_ASSERT_STRING_EQUAL(due_steps("5steps", 8, 100, 12), "5 10 12");
    CU_ASSERT_STRING_EQUAL(due_steps("0", 8, 100, 12), "12");
    CU_ASSERT_STRING_EQUAL(due_steps("1step", 8, 100, 3), "1 2 3");
    CU_ASSERT_STRING_EQUAL(due_steps("0.01ep", 8, 100, 3), "1 2 3");
    CU_ASSERT_STRING_EQUAL(due_steps("25%", 8, 100, 10), "3 5 8 10");
    CU_ASSERT_STRING_EQUAL(due_steps("1e300steps", 8, 100, 3), "3");
    /* One step before the end is the end. */
    CU_ASSERT_STRING_EQUAL(due_steps("11steps", 8, 100, 12), "12");
    CU_ASSERT_STRING_EQUAL(due_steps("10steps", 8, 100, 12), "10 12");
    /* Every epoch is 12.5 steps: no drift, and the fifth of five is the end. */
    CU_ASSERT_STRING_EQUAL(due_steps("1ep", 8, 100, 63), "13 25 38 50 63");
    CU_ASSERT_STRING_EQUAL(due_steps("100images", 8, 100, 63), "13 25 38 50 63");
}

/* As many times as epochs, whatever the batch, in runs whose length is a whole number of them. */
static void no_drift(void)
{
    struct duration every = {1, DURATION_EPOCHS};
    for (int64_t batch = 1; batch <= 400; batch++)
        for (int epochs = 1; epochs <= 40; epochs += 3) {
            struct duration run = {epochs, DURATION_EPOCHS};
            int64_t total = duration_steps(run, batch, 1000, 0);
            int times = 0;
            for (int64_t step = 1; step <= total; step++)
                times += duration_due(every, step, batch, 1000, total);
            CU_ASSERT_EQUAL(times, epochs);
        }
}

static const struct test_case cases[] = {
    {"units", units},
    {"errors", errors},
    {"format reads back", format_reads_back},
    {"in steps", in_steps},
    {"when due", when_due},
    {"no drift over epochs", no_drift},
};
TEST_MAIN("duration", cases)
