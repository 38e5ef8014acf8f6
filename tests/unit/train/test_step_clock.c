/* A step's parts by a device's clock that this file turns: events remember when the stream came by. */
#include "train/step_clock.h"

#include "test.h"
#include "train/trainer.h"

struct event {
    double ms;
};

static double now_ms; /* of the device */
static int alive;

static struct event *event_new(struct backend *be)
{
    (void)be;
    alive++;
    return calloc(1, sizeof(struct event));
}

static void event_free(struct backend *be, struct event *event)
{
    (void)be;
    alive--;
    free(event);
}

static void event_record(struct backend *be, enum stream stream, struct event *event)
{
    (void)be;
    CU_ASSERT_EQUAL(stream, STREAM_COMPUTE);
    event->ms = now_ms;
}

static vt_status event_elapsed(struct backend *be, struct event *from, struct event *to, double *ms)
{
    (void)be;
    *ms = to->ms - from->ms;
    return VT_OK;
}

static struct backend device(void)
{
    return (struct backend){
        .event_new = event_new, .event_free = event_free, .event_record = event_record, .event_elapsed = event_elapsed};
}

/* idle_ms before the step's first work, then two microbatches of 10 + 20 ms with 1 ms between, 3 ms of sums, 2 of optimizer. */
static void run_step(struct step_clock *clock, int64_t step, double idle_ms)
{
    static const struct {
        enum step_part part;
        double ms;
    } parts[] = {{PART_FORWARD, 10}, {PART_BACKWARD, 20}, {PART_IDLE, 1},      {PART_FORWARD, 10},
                 {PART_BACKWARD, 20}, {PART_SUMS, 3},     {PART_OPTIMIZER, 2}, {PART_IDLE, 0}};
    now_ms += idle_ms;
    step_clock_begin(clock, step);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        step_clock_mark(clock, parts[i].part);
        now_ms += parts[i].ms;
    }
}

static const struct step_times host = {.step = 0.5, .data_wait = 8, .copy = 4, .forward = 0.1, .backward = 0.2, .read = 7};

static void check(const struct step_times *times, double step, double data_wait, double copy)
{
    CU_ASSERT_DOUBLE_EQUAL(times->step, step, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->data_wait, data_wait, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->copy, copy, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->forward, 20, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->backward, 40, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->comm_exposed, 3, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->optimizer, 2, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->busy, 62, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(times->read, 7, 0);
}

static void parts_make_up_the_step(void)
{
    struct backend be = device();
    struct step_clock *clock = NULL;
    struct step_times times;
    ASSERT_OK(step_clock_open(&be, 2, &clock));

    run_step(clock, 1, 500); /* what was before the run is no part of it: the host's waits are */
    run_step(clock, 2, 0);   /* the device went on: the host waited for nothing that mattered */
    times = host;
    ASSERT_OK(step_clock_read(clock, 1, &times));
    check(&times, 66 + 12, 8, 4);
    run_step(clock, 3, 30); /* idle for longer than the host waited for data and copies: other reasons, too */
    times = host;
    ASSERT_OK(step_clock_read(clock, 2, &times));
    check(&times, 66, 1, 0);
    times = host;
    ASSERT_OK(step_clock_read(clock, 3, &times));
    check(&times, 66 + 30, 8, 4);

    step_clock_pause(clock); /* an evaluation */
    run_step(clock, 4, 1000);
    run_step(clock, 5, 9);
    times = host;
    ASSERT_OK(step_clock_read(clock, 4, &times));
    check(&times, 66 + 12, 8, 4);
    times = host;
    ASSERT_OK(step_clock_read(clock, 5, &times));
    check(&times, 66 + 9, 8, 2);

    step_clock_close(&clock);
    CU_ASSERT_PTR_NULL(clock);
    CU_ASSERT_EQUAL(alive, 0);
}

static void without_a_device_the_hosts_times_stay(void)
{
    struct backend be = device();
    struct step_clock *clock = NULL;
    struct step_times times = host;
    be.event_elapsed = NULL;
    ASSERT_OK(step_clock_open(&be, 2, &clock));
    CU_ASSERT_PTR_NULL(clock);
    run_step(clock, 1, 0);
    step_clock_pause(clock);
    ASSERT_OK(step_clock_read(clock, 1, &times));
    CU_ASSERT_EQUAL(memcmp(&times, &host, sizeof host), 0);
    step_clock_close(&clock);
}

static const struct test_case cases[] = {{"parts make up the step", parts_make_up_the_step},
                                         {"without a device the host's times stay", without_a_device_the_hosts_times_stay}};
TEST_MAIN("step_clock", cases)
