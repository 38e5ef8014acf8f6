/* The watchdog: one thread per rank that takes the job down when it hangs, and names the rank that hangs, not the ones
 * that wait for it. Ranks tell each other over UDP, on a socket of their own, twice a second: step, what the main
 * thread does (stage board; its thread is the row named "main"), whether that is waiting for others, since when there
 * was no progress. Rank 0 judges; rank 1 does when rank 0 is the one that fell silent; every rank ends by itself when
 * both did. A rank that was heard and then is silent for min(timeout, 15 s) is taken for stopped, dead or cut off. The
 * thread shares no lock with the work. */
#ifndef VT_COMM_WATCHDOG_H
#define VT_COMM_WATCHDOG_H

#include "comm/comm.h"

struct watchdog; /* opaque */
/* Collective (a failure is agreed on; exchanges the ranks' status addresses). timeout_s <= 0: no watchdog, *out = NULL.
 * Call it from the main thread: its row of the stage board gets the name "main". */
VT_MUST_CHECK vt_status watchdog_start(struct comm *comm, double timeout_s, struct watchdog **out);
/* Progress was made (end of a step, a checkpoint file written ...). Any thread; one atomic store. NULL is allowed. */
void watchdog_kick(struct watchdog *watchdog);
/* Allow a long phase (evaluation, checkpoint) `seconds` instead; 0 = back to the default. */
void watchdog_allow(struct watchdog *watchdog, double seconds);
/* Say goodbye to the others and stop. Before world_close. */
void watchdog_stop(struct watchdog **watchdog);

#endif
