#include <sched.h>
#include <stdlib.h>

#include "base/cpus.h"
#include "test.h"

/* A mask of one CPU leaves one, however many the machine has. */
static void test_mask(void)
{
    cpu_set_t before, one;
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof before, &before), 0);
    CU_ASSERT(cpus_usable() >= 1 && cpus_usable() <= CPU_COUNT(&before)); /* fewer where time is limited */
    struct cpu_mask mask = cpus_mask();
    CU_ASSERT_EQUAL(cpus_share(&mask, 1, 0), CPU_COUNT(&before));
    int first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CU_ASSERT_EQUAL_FATAL(sched_setaffinity(0, sizeof one, &one), 0);
    CU_ASSERT_EQUAL(cpus_usable(), 1);
    mask = cpus_mask();
    CU_ASSERT_EQUAL(mask.words[first / 64], UINT64_C(1) << first % 64);
    sched_setaffinity(0, sizeof before, &before);
}

static struct cpu_mask range(int begin, int end)
{
    struct cpu_mask mask = {{0}};
    for (int c = begin; c < end; c++)
        mask.words[c / 64] |= UINT64_C(1) << c % 64;
    return mask;
}

/* mpirun bound each rank to its own cores: all of them are its own. */
static void test_bound(void)
{
    struct cpu_mask masks[4] = {range(0, 32), range(32, 64), range(64, 96), range(96, 128)};
    for (int r = 0; r < 4; r++)
        CU_ASSERT_EQUAL(cpus_share(masks, 4, r), 32);
}

/* One mask for all (a container with 8 of 128 CPUs): shared, and never less than one. */
static void test_shared(void)
{
    struct cpu_mask masks[12];
    for (int r = 0; r < 12; r++)
        masks[r] = range(60, 68);
    CU_ASSERT_EQUAL(cpus_share(masks, 1, 0), 8);
    CU_ASSERT_EQUAL(cpus_share(masks, 3, 2), 2);
    CU_ASSERT_EQUAL(cpus_share(masks, 8, 7), 1);
    CU_ASSERT_EQUAL(cpus_share(masks, 12, 5), 1);
    masks[1] = range(64, 72); /* half of it shared */
    CU_ASSERT_EQUAL(cpus_share(masks, 2, 1), 6);
    for (int r = 0; r < 3; r++)
        masks[r] = range(0, 3);
    CU_ASSERT_EQUAL(cpus_share(masks, 3, 1), 1); /* three thirds */
}

static void test_unknown(void)
{
    struct cpu_mask masks[2] = {{{0}}, {{0}}};
    CU_ASSERT(cpus_share(masks, 1, 0) >= cpus_share(masks, 2, 1));
    CU_ASSERT(cpus_share(masks, 2, 1) >= 1);
}

/* Time is shared by all processes of a host, whatever their masks. */
static void test_time(void)
{
    CU_ASSERT_EQUAL(cpus_share_time(8, 0, 3), 8);
    CU_ASSERT_EQUAL(cpus_share_time(8, 4, 1), 4);
    CU_ASSERT_EQUAL(cpus_share_time(8, 16, 1), 8);
    CU_ASSERT_EQUAL(cpus_share_time(32, 16, 4), 4);
    CU_ASSERT_EQUAL(cpus_share_time(32, 2, 4), 1);
}

/* A rank of mpirun has few, the job has what mpirun has: here, our parent. */
static void test_job(void)
{
    cpu_set_t before, one;
    int whole = cpus_usable(), first = 0;
    CU_ASSERT_EQUAL(cpus_of_job(), whole);
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CU_ASSERT_EQUAL_FATAL(sched_setaffinity(0, sizeof one, &one), 0);
    CU_ASSERT_EQUAL(cpus_of_job(), 1); /* taskset vitrail train */
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    CU_ASSERT_EQUAL(cpus_of_job(), whole);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    sched_setaffinity(0, sizeof before, &before);
}

static const struct test_case cases[] = {{"affinity mask", test_mask},   {"bound ranks", test_bound},
                                         {"a shared mask", test_shared}, {"no mask", test_unknown},
                                         {"limited time", test_time},    {"the job's", test_job}};
TEST_MAIN("cpus", cases)
