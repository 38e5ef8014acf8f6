#include "test.h"
#include "train/resolve.h"

static void a_device_leaves_the_cpus(void)
{
    CU_ASSERT_EQUAL(loader_threads(2, false), 2);
    CU_ASSERT_EQUAL(loader_threads(16, false), 8);
    CU_ASSERT_EQUAL(loader_threads(16, true), 16);
    CU_ASSERT_EQUAL(loader_threads(128, true), 32);
}

static const struct test_case cases[] = {{"a device leaves the CPUs to the loader", a_device_leaves_the_cpus}};
TEST_MAIN("loader threads", cases)
