#include <sched.h>
#include <unistd.h>

#include "base/cpus.h"
#include "test.h"

/* A mask of one CPU leaves one, however many the machine has. */
static void test_mask(void)
{
    cpu_set_t before, one;
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof before, &before), 0);
    CU_ASSERT_EQUAL(cpus_usable(), CPU_COUNT(&before));
    int first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CU_ASSERT_EQUAL_FATAL(sched_setaffinity(0, sizeof one, &one), 0);
    CU_ASSERT_EQUAL(cpus_usable(), 1);
    CU_ASSERT_EQUAL(cpus_share(1), 1);
    sched_setaffinity(0, sizeof before, &before);
}

static void test_share(void)
{
    int usable = cpus_usable(), online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    CU_ASSERT_EQUAL(cpus_share(1), usable);
    CU_ASSERT_EQUAL(cpus_share(online * 4), 1);
    CU_ASSERT(cpus_share(2) <= (online / 2 > 1 ? online / 2 : 1));
}

static const struct test_case cases[] = {{"affinity mask", test_mask}, {"share of a host", test_share}};
TEST_MAIN("cpus", cases)
