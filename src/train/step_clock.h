/* The parts of a step by the device's clock, where the device runs beside the host: there the host's clock sees enqueues only.
 * Marks on the compute stream tell which part begins; they are read one step late, with the step's scalars. Per rank. */
#ifndef VT_TRAIN_STEP_CLOCK_H
#define VT_TRAIN_STEP_CLOCK_H

#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"

struct step_times;

enum step_part {
    PART_FORWARD,
    PART_BACKWARD,
    PART_SUMS, /* from the last gradient to where its sum is there: communication that is not hidden */
    PART_OPTIMIZER,
    PART_IDLE, /* between microbatches, and after the step */
    PART_COUNT
};

struct step_clock;
/* *out is NULL, which the rest accepts and does nothing for, where ops have run when they are enqueued (no event_elapsed). */
VT_MUST_CHECK vt_status step_clock_open(struct backend *be, int micro_count, struct step_clock **out);
void step_clock_close(struct step_clock **clock); /* nothing in flight */

/* A step, its marks in order; the last one must be PART_IDLE. At most two steps may be unread. */
void step_clock_begin(struct step_clock *clock, int64_t step);
void step_clock_mark(struct step_clock *clock, enum step_part part);
/* The next step does not follow at once: what lies before it is not its own. */
void step_clock_pause(struct step_clock *clock);

/* When the step's last mark has passed: put the device's times in place of the host's. forward, backward, comm_exposed and
 * optimizer are those of the stream; of data_wait and copy stays what the device was idle for; step runs from the end of the
 * step before to its own end; busy is the device's work. */
VT_MUST_CHECK vt_status step_clock_read(struct step_clock *clock, int64_t step, struct step_times *times);

#endif
