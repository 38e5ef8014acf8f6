/* Heartbeats between the watchdogs of a job: UDP, one socket per rank. Private to the room. */
#ifndef VT_COMM_HEARTBEAT_H
#define VT_COMM_HEARTBEAT_H

#include "comm/comm.h"
#include "comm/verdict.h"

enum { HEARTBEAT_HUBS = 2 }; /* ranks 0 and 1 hear everyone; everyone hears them */

struct heartbeat; /* opaque */

/* Collective: opens the sockets, exchanges addresses and the job's key. Fills the hosts of reports[size]. */
VT_MUST_CHECK vt_status heartbeat_open(struct comm *comm, struct rank_report *reports, struct heartbeat **out);
void heartbeat_close(struct heartbeat **heartbeat);
/* Per rank, one thread: tell the others. */
void heartbeat_send(struct heartbeat *heartbeat, const struct rank_report *own);
/* Wait up to timeout_ms, then take in all that came: updates reports and heard_ns[size]. */
void heartbeat_receive(struct heartbeat *heartbeat, int timeout_ms, struct rank_report *reports, int64_t *heard_ns);

#endif
