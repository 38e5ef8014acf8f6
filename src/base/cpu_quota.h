/* The CPU time the control groups of this process allow it: containers and jobs may limit time, not which CPUs. */
#ifndef VT_BASE_CPU_QUOTA_H
#define VT_BASE_CPU_QUOTA_H

/* In whole CPUs, rounded up; the tightest of the group and those it is in. 0: there is no limit that can be read. Both
 * versions of control groups. `root`: where the root folder is; "" but in tests. */
int cpu_quota(const char *root);

#endif
