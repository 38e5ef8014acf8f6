/* Looking for stop requests (train/signals.h) inside long work, by all ranks together. The work has parts (microbatches), the
 * same number on every rank; parts take their time, so every look also agrees on the pace, which places the next one about a
 * second later. Work whose parts are known to take less than that in all is never looked into. */
#ifndef VT_TRAIN_STOP_LOOK_H
#define VT_TRAIN_STOP_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "comm/comm.h"

struct stop_look {
    int64_t next; /* parts done at the next look */
    double started_ms;
};

/* part_ms: what a part takes, the same on every rank; 0 = not known, looked at from the first part on. */
struct stop_look stop_look_start(double part_ms);
/* After `done` parts. *stop: some rank was asked to stop; untouched where it is no time to look. Logically collective. */
VT_MUST_CHECK vt_status stop_look(struct stop_look *look, struct comm *comm, const char *stop_file, int64_t done, bool *stop);

#endif
