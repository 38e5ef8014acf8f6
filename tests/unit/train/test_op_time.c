/* How an op is timed: on a backend with a clock of its own that this file turns, and on one without. */
#include "train/op_time.h"

#include "base/clock.h"
#include "test.h"

enum { EVENTS = 2, OP_NS = 5000, WAIT_NS = 20000 };

struct event {
    double ms;
    int64_t runs;
};

static struct {
    double ms;           /* the device's clock */
    int64_t runs;        /* enqueues so far */
    int64_t fewest;      /* enqueues between two events */
    struct event events[EVENTS];
    int made, freed, waits;
} world;

static struct event *event_new(struct backend *be)
{
    (void)be;
    return &world.events[world.made++ % EVENTS];
}

static void event_free(struct backend *be, struct event *event)
{
    (void)be, (void)event;
    world.freed++;
}

static void event_record(struct backend *be, enum stream stream, struct event *event)
{
    (void)be;
    CU_ASSERT_EQUAL(stream, STREAM_COMPUTE);
    *event = (struct event){world.ms, world.runs};
}

/* Waiting takes the host long, and the device none of its time. */
static vt_status event_wait(struct backend *be, struct event *event)
{
    int64_t until = clock_ns() + WAIT_NS;
    (void)be, (void)event;
    world.waits++;
    while (clock_ns() < until) {
    }
    return VT_OK;
}

static vt_status event_elapsed(struct backend *be, struct event *from, struct event *to, double *ms)
{
    (void)be;
    *ms = to->ms - from->ms;
    int64_t runs = to->runs - from->runs;
    world.fewest = world.fewest == 0 || runs < world.fewest ? runs : world.fewest;
    return VT_OK;
}

static vt_status synchronise(struct backend *be)
{
    (void)be;
    return VT_OK;
}

static void enqueue_on_device(void *context)
{
    (void)context;
    world.runs++;
    world.ms += OP_NS * 1e-6;
}

static void by_the_devices_clock(void)
{
    struct backend be = {.event_new = event_new, .event_free = event_free, .event_record = event_record, .event_wait = event_wait,
                         .event_elapsed = event_elapsed, .synchronise = synchronise};
    double seconds = 0;
    memset(&world, 0, sizeof world);
    ASSERT_OK(op_time(&be, enqueue_on_device, NULL, 5, &seconds));
    CU_ASSERT_DOUBLE_EQUAL(seconds, OP_NS * 1e-9, 1e-15);
    CU_ASSERT(world.fewest >= 10);
    CU_ASSERT_EQUAL(world.waits, 6);
    CU_ASSERT_EQUAL(world.made, 2);
    CU_ASSERT_EQUAL(world.freed, 2);
}

static void enqueue_on_host(void *context)
{
    int64_t until = clock_ns() + OP_NS;
    (void)context;
    world.runs++;
    while (clock_ns() < until) {
    }
}

/* Short ops share a reading of a millisecond; the time is at least what an op takes, as the machine may be busy. */
static void by_the_hosts_clock(void)
{
    struct backend be = {.synchronise = synchronise};
    double seconds = 0;
    memset(&world, 0, sizeof world);
    ASSERT_OK(op_time(&be, enqueue_on_host, NULL, 3, &seconds));
    CU_ASSERT(seconds >= OP_NS * 1e-9 && seconds < 1);
    CU_ASSERT(world.runs >= 2 + 3 && world.runs <= 2 + 3 * 1000);
}

static void medians(void)
{
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
    CU_ASSERT_DOUBLE_EQUAL(bench_median(odd, 3), 2, 0);
    CU_ASSERT_DOUBLE_EQUAL(bench_median(even, 4), 2.5, 0);
}

static const struct test_case cases[] = {
    {"by the device's clock", by_the_devices_clock}, {"by the host's clock", by_the_hosts_clock}, {"medians", medians}};
TEST_MAIN("op_time", cases)
