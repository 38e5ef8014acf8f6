/* Expected values: closed forms worked out by hand at the borders, and big_vision's published formulas. */
#include "optim/schedule.h"
#include "test.h"

#define NEAR(value, expected) CU_ASSERT_DOUBLE_EQUAL(value, expected, 1e-12)

static void warmup_is_linear(void)
{
    struct schedule s = {.kind = SCHEDULE_COSINE, .lr = 1, .warmup_steps = 10, .total_steps = 110};
    NEAR(schedule_lr(&s, 0), 0);
    NEAR(schedule_lr(&s, 1), 0.1);
    NEAR(schedule_lr(&s, 9), 0.9);
    NEAR(schedule_lr(&s, 10), 1);
    s.warmup_lr = 0.5;
    NEAR(schedule_lr(&s, 0), 0.5);
    NEAR(schedule_lr(&s, 5), 0.75);
}

static void cosine(void)
{
    struct schedule s = {.kind = SCHEDULE_COSINE, .lr = 2, .min_lr = 1, .warmup_steps = 10, .total_steps = 110};
    NEAR(schedule_lr(&s, 10), 2);
    NEAR(schedule_lr(&s, 35), 1 + 0.5 * (1 + sqrt(0.5))); /* a quarter */
    NEAR(schedule_lr(&s, 60), 1.5);
    NEAR(schedule_lr(&s, 110), 1);
    NEAR(schedule_lr(&s, 1000), 1); /* stays at the floor */
}

static void linear(void)
{
    struct schedule s = {.kind = SCHEDULE_LINEAR, .lr = 1, .total_steps = 4};
    const double expected[] = {1, 0.75, 0.5, 0.25, 0, 0};
    for (int step = 0; step < 6; step++)
        NEAR(schedule_lr(&s, step), expected[step]);
}

static void constant_with_cooldown(void)
{
    struct schedule s = {.kind = SCHEDULE_CONSTANT, .lr = 1, .min_lr = 0.2, .total_steps = 100, .cooldown_steps = 10};
    NEAR(schedule_lr(&s, 0), 1);
    NEAR(schedule_lr(&s, 90), 1);
    NEAR(schedule_lr(&s, 95), 0.6);
    NEAR(schedule_lr(&s, 99), 0.28);
    NEAR(schedule_lr(&s, 100), 0.2);
    s.cooldown_steps = 0;
    NEAR(schedule_lr(&s, 1000), 1);
}

static void rsqrt(void)
{
    struct schedule s = {
        .kind = SCHEDULE_RSQRT, .lr = 1, .warmup_steps = 100, .total_steps = 90000, .timescale = 10000};
    NEAR(schedule_lr(&s, 50), 0.5);
    NEAR(schedule_lr(&s, 10000), 1);
    NEAR(schedule_lr(&s, 40000), 0.5);
    NEAR(schedule_lr(&s, 90000), 1.0 / 3);
    s.timescale = 0; /* max(warm-up, 10000) */
    NEAR(schedule_lr(&s, 40000), 0.5);
    s.cooldown_steps = 50000;
    NEAR(schedule_lr(&s, 40000), 0.5); /* cool-down begins here with factor 1 */
    NEAR(schedule_lr(&s, 90000), 0);
    s.min_lr = 0.4, s.cooldown_steps = 0;
    NEAR(schedule_lr(&s, 89999), 0.4);
}

/* No jump anywhere: neighbouring steps differ by no more than the steepest slope of any part. */
static void continuous(void)
{
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_RSQRT; kind++)
        for (int64_t timescale = 0; timescale <= 10; timescale += 10) {
            struct schedule s = {.kind = (enum schedule_kind)kind, .lr = 1, .warmup_steps = 50, .total_steps = 400,
                                 .cooldown_steps = 100, .timescale = timescale};
            for (int64_t step = 0; step < 450; step++)
                CU_ASSERT_FATAL(fabs(schedule_lr(&s, step + 1) - schedule_lr(&s, step)) <= 1.0 / 50 + 1e-9);
        }
}

static void degenerate_lengths(void)
{
    struct schedule s = {.kind = SCHEDULE_COSINE, .lr = 1, .min_lr = 0.1, .warmup_steps = 10, .total_steps = 5};
    NEAR(schedule_lr(&s, 4), 0.4); /* a run that ends within its warm-up */
    s = (struct schedule){.kind = SCHEDULE_COSINE, .lr = 1, .min_lr = 0.1};
    NEAR(schedule_lr(&s, 0), 0.1);
}

static const struct test_case cases[] = {
    {"warm-up", warmup_is_linear}, {"cosine", cosine},         {"linear", linear},
    {"constant", constant_with_cooldown}, {"rsqrt", rsqrt},    {"no jumps", continuous},
    {"degenerate lengths", degenerate_lengths},
};
TEST_MAIN("schedule", cases)
