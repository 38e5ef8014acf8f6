/* The progress line: one line redrawn on a terminal, plain lines (at most every few seconds) when piped. */
#ifndef VT_TELEMETRY_PROGRESS_H
#define VT_TELEMETRY_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    int64_t first_step, total_steps;
    bool terminal;
    double started_ms, printed_ms; /* printed_ms: when the last plain line went out, to stderr or the log */
    double drawn_ms;               /* when the line on the terminal was last redrawn */
    bool dirty;                    /* a redrawn line is on screen */
    double step_started_ms;        /* of the step progress_within is told of */
};

struct progress_values {
    int64_t step;
    double epoch, loss, lr, images_per_s, data_wait_fraction, eta_s; /* NaN = not shown */
};

/* first_step: the first one this process will do; total_steps: the number of the last one. */
void progress_start(struct progress *progress, int64_t first_step, int64_t total_steps);
/* Draw if it is time (or `force`): a terminal ten times a second, a pipe at the first step, then every 10 s, and at the
 * last step. The log file gets the plain lines in both cases. eta_s NaN: from this process' own pace. Rank 0 only. */
void progress_update(struct progress *progress, const struct progress_values *values, bool force);
/* Inside a step that takes long: "step 12/100: microbatch 40 of 4096, 0%, ..." from 10 s after its first call (done = 0) on, as
 * often as the others. Rank 0 only. */
void progress_within(struct progress *progress, int64_t step, int done, int count);
/* Finish the redrawn line so that other output starts on a fresh one. */
void progress_break(struct progress *progress);
/* The text alone: "step 1200/10000  12%  epoch 3.21  loss 2.345  ...". */
void progress_format(const struct progress *progress, const struct progress_values *values, char *text, size_t bytes);

#endif
