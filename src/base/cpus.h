/* How many CPUs there are for this process: what its affinity mask allows (taskset, cpusets, mpirun's binding), not what the
 * machine has. */
#ifndef VT_BASE_CPUS_H
#define VT_BASE_CPUS_H

/* CPUs this process may run on; at least 1. */
int cpus_usable(void);
/* This process's part when `local_size` processes share the host: its own mask when a launcher bound it, else an even
 * share of the machine; at least 1. */
int cpus_share(int local_size);

#endif
