#include "train/stop_look.h"

#include <signal.h>
#include <unistd.h>

#include "test.h"
#include "train/signals.h"

/* A rank that only counts what it is asked for; another one like it is as slow, and asks to stop when told so. */
static int sums;
static bool other_stops;
static vt_status count_sum(struct comm *comm, void *data, int64_t count, enum dtype dtype, enum reduce_op op)
{
    double *values = data;
    (void)comm;
    CU_ASSERT(count == 2 && dtype == DTYPE_F64 && op == REDUCE_SUM);
    values[0] += other_stops;
    values[1] += values[1];
    sums++;
    return VT_OK;
}
static struct comm two = {.name = "test", .size = 2, .all_reduce = count_sum};

static int looks(double known_ms, int parts, int part_us, bool *stop)
{
    struct stop_look look = stop_look_start(known_ms);
    sums = 0;
    for (int done = 1; done < parts && !*stop; done++) {
        if (part_us)
            usleep((unsigned)part_us);
        ASSERT_OK(stop_look(&look, &two, "", done, stop));
    }
    return sums;
}

/* An ordinary step, its pace known from the last one, costs nothing; of an unknown pace, or known to be long, it is looked into. */
static void only_where_it_takes_long(void)
{
    bool stop = false;
    CU_ASSERT_EQUAL(looks(1, 1000, 0, &stop), 0);
    CU_ASSERT_EQUAL(looks(100, 10, 0, &stop), 0);
    CU_ASSERT_EQUAL(looks(0, 1, 0, &stop), 0);
    CU_ASSERT_EQUAL(looks(0, 1000, 0, &stop), 10); /* after 1, 2, 4 ... 512 */
    CU_ASSERT_EQUAL(looks(2000, 3, 600 * 1000, &stop), 2);
    CU_ASSERT_FALSE(stop);
}

static void any_rank_stops_all(void)
{
    bool stop = false;
    other_stops = true;
    CU_ASSERT_EQUAL(looks(0, 100, 0, &stop), 1);
    CU_ASSERT(stop);
    other_stops = stop = false;
    signals_install();
    raise(SIGUSR2);
    CU_ASSERT_EQUAL(looks(0, 100, 0, &stop), 1);
    CU_ASSERT(stop);
    CU_ASSERT_STRING_EQUAL(signals_reason_name(signals_stop_reason()), "SIGUSR2");
}

static const struct test_case cases[] = {
    {"only where it takes long", only_where_it_takes_long},
    {"any rank stops all", any_rank_stops_all},
};
TEST_MAIN("train/stop_look", cases)
