#include "base/cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cpu_quota.h"

enum { WORD_BITS = 64, MASK_CPUS = WORD_BITS * sizeof(struct cpu_mask) / sizeof(uint64_t) };

static int cpus_online(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static int cpus_of(pid_t process)
{
    cpu_set_t set;
    int cpus = cpus_online(); /* more CPUs than the set holds: the mask is not what limits us */
    if (sched_getaffinity(process, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        cpus = CPU_COUNT(&set);
    return cpus_share_time(cpus, cpu_quota(""), 1);
}

int cpus_usable(void) { return cpus_of(0); }

int cpus_of_job(void) { return cpus_of(getenv("OMPI_COMM_WORLD_SIZE") ? getppid() : 0); }

struct cpu_mask cpus_mask(void)
{
    struct cpu_mask mask = {{0}};
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int c = 0; c < MASK_CPUS && c < CPU_SETSIZE; c++)
            if (CPU_ISSET(c, &set))
                mask.words[c / WORD_BITS] |= UINT64_C(1) << c % WORD_BITS;
    return mask;
}

static bool has(const struct cpu_mask *mask, int c) { return mask->words[c / WORD_BITS] >> c % WORD_BITS & 1; }

int cpus_share(const struct cpu_mask *masks, int count, int own)
{
    double share = 0;
    bool empty = true;
    for (int c = 0; c < MASK_CPUS; c++) {
        int holders = 0;
        if (!has(&masks[own], c))
            continue;
        empty = false;
        for (int r = 0; r < count; r++)
            holders += has(&masks[r], c);
        share += 1.0 / holders;
    }
    if (empty)
        share = (double)cpus_online() / count;
    share += 1e-6; /* three thirds are one CPU */
    return share < 1 ? 1 : (int)share;
}

int cpus_share_time(int share, int quota, int count)
{
    int time = quota / count > 1 ? quota / count : 1;
    return quota > 0 && time < share ? time : share;
}
