#include "comm/verdict.h"

#include "test.h"

#include <unistd.h>

#define SILENCE_S 15.0

static struct rank_report waiting_at(int64_t step)
{
    return (struct rank_report){.host = "node", .heard = true, .waiting = true, .overdue = true, .step = step,
                                .thread = "main", .stage = STAGE_COMM_WAIT, .stage_s = 31, .stalled_s = 31};
}

static struct rank_report busy_at(int64_t step, enum stage stage, double stage_s)
{
    struct rank_report report = waiting_at(step);
    report.waiting = false;
    report.stage = stage;
    report.stage_s = stage_s;
    return report;
}

static void busy_before_waiting(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[4] = {waiting_at(57), waiting_at(57), busy_at(57, STAGE_DECODE, 31), waiting_at(57)};
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 4, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 2);
    CU_ASSERT_STRING_EQUAL(text,
                           "watchdog: rank 2 (host node) is stuck in stage decode since 31 s at step 57; ranks 0,1,3 "
                           "wait for it");
}

static void silent_before_busy(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[3] = {waiting_at(5), busy_at(5, STAGE_CHECKPOINT, 40), busy_at(5, STAGE_FORWARD, 0.1)};
    r[2].silent_s = 20;
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 3, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 2);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "rank 2 (host node) is silent since 20 s, last in stage forward at step 5: stopped"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "; rank 0 waits for it"));
    r[2].left = true; /* it said goodbye: not silent */
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 3, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 1);
}

static void the_lowest_step_is_behind(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[3] = {busy_at(8, STAGE_FORWARD, 50), busy_at(7, STAGE_FORWARD, 31), busy_at(8, STAGE_LOG, 90)};
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 3, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 1);
}

/* While the one that the others wait for keeps to a longer limit of its own, nobody is to blame. */
static void an_announced_phase_is_fine(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[2] = {waiting_at(9), busy_at(9, STAGE_EVAL, 31)};
    r[1].overdue = false;
    CU_ASSERT_FALSE(verdict_find(r, 2, SILENCE_S, &culprit, text, sizeof text));
    r[1].overdue = true;
    CU_ASSERT_TRUE(verdict_find(r, 2, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 1);
}

static void all_wait(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[3] = {waiting_at(9), waiting_at(8), {.host = "far"}};
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 3, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "rank 1 furthest back, at step 8); never heard since the start: rank 2 (host far)"));
}

/* Many that were never heard (UDP blocked): a few are named, the rest counted. */
static void many_unheard(void)
{
    static struct rank_report r[3000];
    char text[1024];
    int culprit = -2;
    r[0] = waiting_at(8);
    for (int i = 1; i < 3000; i++)
        memset(r[i].host, 'h', sizeof r[i].host - 1);
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 3000, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "never heard since the start: rank 1 (host hhh"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, ", 8 (host hhh"));
    CU_ASSERT_PTR_NULL(strstr(text, ", 9 (host"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " and 2991 more"));
}

/* It changes stages all the time, and no step ends: the time without progress is what counts. */
static void busy_without_progress(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[2] = {waiting_at(9), busy_at(9, STAGE_EVAL, 0.1)};
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 2, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_STRING_EQUAL(text, "watchdog: rank 1 (host node) has made no progress for 31 s, now in stage eval at "
                                 "step 9; rank 0 waits for it");
}

static void one_rank_waits(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r = waiting_at(9);
    CU_ASSERT_TRUE_FATAL(verdict_find(&r, 1, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_STRING_EQUAL(text, "watchdog: no progress for 31 s, waiting in stage comm wait at step 9");
}

static void quiet_cases(void)
{
    char text[512];
    int culprit = -2;
    struct rank_report r[2] = {{.host = "a"}, {.host = "b"}};
    CU_ASSERT_FALSE(verdict_find(r, 2, SILENCE_S, &culprit, text, sizeof text)); /* never heard is no silence */
    r[0] = waiting_at(3), r[1] = waiting_at(3);
    r[0].overdue = r[1].overdue = false;
    CU_ASSERT_FALSE(verdict_find(r, 2, SILENCE_S, &culprit, text, sizeof text));
}

/* Any list of waiting ranks fits its buffer. */
static void many_ranks(void)
{
    static struct rank_report r[4000];
    char text[512];
    int culprit = -2;
    for (int i = 0; i < 4000; i++)
        r[i] = i % 3 ? waiting_at(4) : busy_at(4, STAGE_READ, 1);
    r[1234] = busy_at(3, STAGE_READ, 31);
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 4000, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_EQUAL(culprit, 1234);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "; ranks 1,2,4,5,"));
    for (int i = 0; i < 4000; i++)
        r[i] = waiting_at(4);
    r[7] = busy_at(4, STAGE_READ, 31);
    CU_ASSERT_TRUE_FATAL(verdict_find(r, 4000, SILENCE_S, &culprit, text, sizeof text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "; ranks 0-6,8-3999 wait for it"));
}

static void own_report(void)
{
    struct rank_report own = {0};
    stage_register("main");
    stage_set_step(12);
    stage_enter(STAGE_OPTIMIZER);
    report_own(&own);
    CU_ASSERT_FALSE(own.waiting);
    CU_ASSERT_EQUAL(own.stage, STAGE_OPTIMIZER);
    CU_ASSERT_EQUAL(own.step, 12);
    stage_enter(STAGE_COMM);
    report_own(&own);
    CU_ASSERT_TRUE(own.waiting);
    stage_enter(STAGE_COMM_WAIT);
    report_own(&own);
    CU_ASSERT_TRUE(own.waiting);
    stage_enter(STAGE_DATA_WAIT);
    report_own(&own);
    CU_ASSERT_FALSE(own.waiting);
    CU_ASSERT_STRING_EQUAL(own.thread, "main");
    stage_unregister();
}

static const struct test_case cases[] = {
    {"busy before waiting", busy_before_waiting},
    {"silent before busy", silent_before_busy},
    {"the lowest step is behind", the_lowest_step_is_behind},
    {"an announced phase is fine", an_announced_phase_is_fine},
    {"all wait", all_wait},
    {"many unheard", many_unheard},
    {"busy without progress", busy_without_progress},
    {"one rank waits", one_rank_waits},
    {"quiet cases", quiet_cases},
    {"many ranks", many_ranks},
    {"own report", own_report},
};
TEST_MAIN("watchdog verdict", cases)
