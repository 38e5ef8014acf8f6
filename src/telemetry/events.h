/* TensorBoard event files: TFRecord frames (length, masked CRC32C of it, payload, masked CRC32C of it) around protobuf
 * events (proto/tb_event.proto). Each event is one write(2): a reader never sees half of one. */
#ifndef VT_TELEMETRY_EVENTS_H
#define VT_TELEMETRY_EVENTS_H

#include <stdint.h>

#include "base/status.h"
#include "telemetry/metrics.h"

struct events; /* opaque */
/* A new file DIR/events.out.tfevents.<unix seconds>.<host>.<attempt>, begun with the version event. `wall_time` is unix
 * seconds, here and below. */
VT_MUST_CHECK vt_status events_open(const char *dir, int attempt, double wall_time, struct events **out);
/* The run starts again after step `resume_step`: readers forget later steps of earlier files in the folder. */
VT_MUST_CHECK vt_status events_write_restart(struct events *events, double wall_time, int64_t resume_step);
/* One event with a scalar per value; non-finite ones are written as they are (TensorBoard marks them). */
VT_MUST_CHECK vt_status events_write(struct events *events, double wall_time, int64_t step, const struct metric *values,
                                     int count);
VT_MUST_CHECK vt_status events_flush(struct events *events); /* fdatasync */
const char *events_path(const struct events *events);        /* borrowed */
void events_close(struct events **events);

#endif
