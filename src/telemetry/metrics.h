/* The metrics stream: name/value pairs per step to RUN/metrics.jsonl and a TensorBoard event file, under the names of
 * docs/metrics.md. Rank 0 writes; telemetry knows nothing of training. */
#ifndef VT_TELEMETRY_METRICS_H
#define VT_TELEMETRY_METRICS_H

#include <stdint.h>

#include "base/status.h"

enum { METRICS_MAX = 128 }; /* values of one record */

struct metric {
    const char *name; /* "train/loss" */
    double value;
};

struct metrics; /* opaque */
/* Append to DIR/metrics.jsonl (a torn last line is cut off first; lines past `resume_step` are kept but superseded:
 * readers take the last line of a step) and open a new DIR/events.out.tfevents.<unixtime>.<host>.<attempt>. dir NULL: a
 * stream that drops everything (ranks > 0). DIR exists. `resume_step` is the last step already done, 0 at a fresh
 * start. */
VT_MUST_CHECK vt_status metrics_open(const char *dir, int attempt, int64_t resume_step, struct metrics **out);
/* One record: {"step":..,"attempt":..,"images_seen":..,"epoch":..,"wall_time": unix seconds, name: value ...}.
 * Non-finite values are written as null; a name given twice keeps the later value. A step may have several records
 * (training, evaluation): readers merge them. One write(2) per file, or nothing of it (disk
 * full): a failure leaves whole records only, and later ones may succeed. count <= METRICS_MAX - 2. */
VT_MUST_CHECK vt_status metrics_write(struct metrics *metrics, int64_t step, int64_t images_seen, double epoch,
                                      const struct metric *values, int count);
/* Both files to the disk (fdatasync). */
VT_MUST_CHECK vt_status metrics_flush(struct metrics *metrics);
void metrics_close(struct metrics **metrics);

#endif
