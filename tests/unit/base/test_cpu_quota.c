#include "base/cpu_quota.h"

#include <string.h>

#include "base/file.h"
#include "scratch.h"
#include "test.h"

static const char *root;

/* A file under the false root, with its folders. */
static void put(const char *path, const char *text)
{
    char full[1024], folder[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    ASSERT_OK(path_dir(folder, sizeof folder, full));
    ASSERT_OK(file_make_dirs(folder));
    FILE *file = fopen(full, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void new_root(const char *name, const char *groups)
{
    root = scratch_path(name);
    put("/proc/self/cgroup", groups);
}

static void test_version_2(void)
{
    new_root("v2", "0::/job/step\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 0);
    put("/sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 0);
    put("/sys/fs/cgroup/job/cpu.max", "400000 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 4);
    put("/sys/fs/cgroup/job/step/cpu.max", "150000 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 2); /* one and a half */
    put("/sys/fs/cgroup/job/step/cpu.max", "600000 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 4); /* the one above is tighter */
    put("/sys/fs/cgroup/cpu.max", "20000 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 1);
}

/* In a container its own group is the topmost. */
static void test_container(void)
{
    new_root("container", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "800000 100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 8);
    new_root("foreign", "3:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker/0123\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 3);
}

static void test_version_1(void)
{
    new_root("v1", "5:cpuset:/other\n4:cpuacct,cpu:/job\n0::/job\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 0);
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "250000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 3);
    new_root("no-cpu", "5:cpuset:/job\n4:cpuacct:/job\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(cpu_quota(root), 0);
}

static void test_nonsense(void)
{
    static const char *const limits[] = {"", "garbage", "100000", "100000 0", "-5 100000", "nan nan", "1e300 1"};
    CU_ASSERT_EQUAL(cpu_quota(scratch_path("absent")), 0);
    new_root("nonsense", "no colons\n0:one\n::\n0::/job\n");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        put("/sys/fs/cgroup/job/cpu.max", limits[i]);
        CU_ASSERT_EQUAL(cpu_quota(root), 0);
    }
}

static const struct test_case cases[] = {{"version 2", test_version_2},
                                         {"containers", test_container},
                                         {"version 1", test_version_1},
                                         {"nonsense", test_nonsense}};
TEST_MAIN("cpu_quota", cases)
