#include "base/cpus.h"

#include <sched.h>
#include <unistd.h>

int cpus_usable(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    /* More CPUs than the set holds: the mask is not what limits us. */
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int cpus_share(int local_size)
{
    int usable = cpus_usable(), online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    /* A mask smaller than the machine was either made for this rank or for all of them together: an even share of the machine
     * is never more than a rank may take, and neither is the mask. */
    int share = online / (local_size > 0 ? local_size : 1);
    share = share < usable ? share : usable;
    return share > 0 ? share : 1;
}
