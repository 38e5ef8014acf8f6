/* The threads ops run on. The caller works too, and nobody waits for a thread that has no part of the work: helpers
 * claim parts as they come, so a helper that the system has put aside (a loader decoding JPEG, another process) costs
 * at most the part it holds. A team spins briefly between runs, then sleeps. One caller at a time. */
#ifndef VT_BACKEND_CPU_TEAM_H
#define VT_BACKEND_CPU_TEAM_H

#include "base/status.h"

struct cpu_team;

/* Do part `part` of `parts`; `worker` (0 .. threads - 1) names the scratch to use: two parts at a time never share it.
 */
typedef void cpu_task(void *context, int part, int parts, int worker);

VT_MUST_CHECK vt_status cpu_team_open(int threads, struct cpu_team **out);
/* Run every part once; returns when all are done. Each worker begins at its own share of the parts, in order, then
 * helps others: with `parts` a multiple of the threads, even work stays where its data is cached. Allocates nothing. */
void cpu_team_run(struct cpu_team *team, int parts, cpu_task *task, void *context);
void cpu_team_close(struct cpu_team **team);

#endif
