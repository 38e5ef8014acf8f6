/* Timing single ops on a backend, for benches and for the rate a step is measured against. */
#ifndef VT_TRAIN_OP_TIME_H
#define VT_TRAIN_OP_TIME_H

#include <stddef.h>

#include "backend/backend.h"
#include "base/status.h"

/* Seconds of one enqueue: the median of `repetitions` readings (at most 64), after a warm-up. A reading spans several enqueues
 * back to back: at least 10 between two events of the device, where it has a clock (event_elapsed), so that neither the
 * host's clock nor its waiting is in it; else as many as take the host a millisecond. What is enqueued finds its operands
 * where the run before left them: in the cache, when they fit. Waits for the device; per rank. */
VT_MUST_CHECK vt_status op_time(struct backend *be, void (*enqueue)(void *context), void *context, int repetitions,
                                double *seconds);

/* A device buffer of values in [-0.5, 0.5). The caller releases. */
VT_MUST_CHECK vt_status bench_buffer(struct backend *be, size_t bytes, enum dtype dtype, void **out);
double bench_median(double *values, int count); /* sorts them */

#endif
