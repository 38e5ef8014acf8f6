/* The progress line: one line redrawn on a terminal, plain lines (at most every few seconds) when piped. */
#ifndef VT_TELEMETRY_PROGRESS_H
#define VT_TELEMETRY_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    int64_t first_step, total_steps;
    bool terminal;
    double started_ms, printed_ms;
    bool dirty; /* a redrawn line is on screen */
};

struct progress_values {
    int64_t step;
    double epoch, loss, lr, images_per_s, data_wait_fraction, eta_s; /* NaN = not shown */
};

void progress_start(struct progress *progress, int64_t first_step, int64_t total_steps);
/* Draw if it is time (or `force`). Rank 0 only. */
void progress_update(struct progress *progress, const struct progress_values *values, bool force);
/* Finish the redrawn line so that other output starts on a fresh one. */
void progress_break(struct progress *progress);

#endif
