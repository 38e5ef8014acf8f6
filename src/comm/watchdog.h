/* The watchdog: one thread per rank that looks at the step counter (stage board) and takes the job down when this
 * rank makes no progress for `timeout_s`: it prints rank, host, stage and step of every thread, and of the other ranks as far as
 * they could be heard, so that the culprit is named and not the ones waiting for it. Per rank. */
#ifndef VT_COMM_WATCHDOG_H
#define VT_COMM_WATCHDOG_H

#include "comm/comm.h"

struct watchdog; /* opaque */
/* Collective (exchanges the ranks' status addresses). timeout_s <= 0: no watchdog, *out = NULL. */
VT_MUST_CHECK vt_status watchdog_start(struct comm *comm, double timeout_s, struct watchdog **out);
/* Progress was made (end of a step, a checkpoint file written ...). Any thread; one atomic store. NULL is allowed. */
void watchdog_kick(struct watchdog *watchdog);
/* Allow a long phase (evaluation, checkpoint) `seconds` instead; 0 = back to the default. */
void watchdog_allow(struct watchdog *watchdog, double seconds);
void watchdog_stop(struct watchdog **watchdog);

#endif
