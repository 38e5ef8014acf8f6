#include "base/cpu_quota.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { GROUP_BYTES = 1024, FILE_BYTES = 2048 };

/* A file's first number or numbers; how many there were. */
static int read_numbers(const char *root, const char *group, const char *name, double *first, double *second)
{
    char path[FILE_BYTES];
    snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/%s", root, group, name);
    FILE *file = fopen(path, "r");
    int count = file ? fscanf(file, "%lf %lf", first, second) : 0;
    if (file)
        fclose(file);
    return count;
}

/* Of one group alone, in CPUs; "max" and -1 stand for no limit, which is 0 here. */
static double group_limit(const char *root, const char *group, bool version2)
{
    double quota, period, unused;
    if (version2 ? read_numbers(root, group, "cpu.max", &quota, &period) != 2
                 : read_numbers(root, group, "cpu.cfs_quota_us", &quota, &unused) < 1 ||
                       read_numbers(root, group, "cpu.cfs_period_us", &period, &unused) < 1)
        return 0;
    return quota > 0 && period > 0 && quota / period < 1 << 20 ? quota / period : 0;
}

/* Of the group and all above it. A container may show its own group as the topmost, under the name the host has for it:
 * folders that are not there are passed over. */
static double tightest(const char *root, char *group, size_t top, bool version2)
{
    double least = 0;
    for (;;) {
        double limit = group_limit(root, group, version2);
        if (limit > 0 && (least == 0 || limit < least))
            least = limit;
        char *last = strrchr(group + top, '/');
        if (!last)
            return least;
        *last = 0;
    }
}

static bool has_cpu(const char *controllers)
{
    for (const char *at = controllers; (at = strstr(at, "cpu")); at += 3)
        if ((at == controllers || at[-1] == ',') && (at[3] == 0 || at[3] == ','))
            return true;
    return false;
}

int cpu_quota(const char *root)
{
    char path[FILE_BYTES], line[GROUP_BYTES], group[GROUP_BYTES + 8];
    double least = 0;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) { /* ID:CONTROLLERS:PATH; version 2 names no controllers */
        char *controllers = strchr(line, ':'), *name = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!name)
            continue;
        *name++ = 0;
        name[strcspn(name, "\n")] = 0;
        bool version2 = !*++controllers;
        if (!version2 && !has_cpu(controllers))
            continue;
        snprintf(group, sizeof group, "%s%s", version2 ? "" : "/cpu", name);
        double limit = tightest(root, group, version2 ? 0 : strlen("/cpu"), version2);
        if (limit > 0 && (least == 0 || limit < least))
            least = limit;
    }
    if (file)
        fclose(file);
    return (int)ceil(least - 1e-9);
}
