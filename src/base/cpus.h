/* How many CPUs there are for this process: what its affinity mask allows (taskset, cpusets, mpirun's binding) and the time
 * its control groups do (cpu_quota.h), not what the machine has. */
#ifndef VT_BASE_CPUS_H
#define VT_BASE_CPUS_H

#include <stdint.h>

struct cpu_mask { /* CPU c is bit c % 64 of word c / 64; plain data, may be sent to other processes of the host */
    uint64_t words[16];
};

/* CPUs this process may run on; at least 1. */
int cpus_usable(void);
/* CPUs the job may use on this host: of a rank that mpirun has bound to a few, those of mpirun. At least 1. */
int cpus_of_job(void);
/* The same as a mask; empty when the machine has more CPUs than it holds. */
struct cpu_mask cpus_mask(void);
/* What process `own` of `count` on this host may take: every CPU of its mask, divided by the number of processes that have
 * it in theirs. A mask made for each rank is its rank's whole, one made for all of them together (a container, a job's
 * cpuset) is shared. At least 1. With an empty mask: an even share of the CPUs online. */
int cpus_share(const struct cpu_mask *masks, int count, int own);
/* The same within the control groups' time, which the processes of a host share evenly: `quota` CPUs, 0 = no limit. */
int cpus_share_time(int share, int quota, int count);

#endif
