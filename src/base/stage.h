/* The stage board: what each thread of this process is doing, since when and at which step. Threads write their own row
 * (relaxed atomics, no locks); the watchdog and error messages read. Rows are claimed once per thread. */
#ifndef VT_BASE_STAGE_H
#define VT_BASE_STAGE_H

#include <stdint.h>

enum stage {
    STAGE_IDLE, STAGE_START, STAGE_READ, STAGE_DECODE, STAGE_AUGMENT, STAGE_DATA_WAIT, STAGE_COPY, STAGE_FORWARD,
    STAGE_BACKWARD, STAGE_COMM, STAGE_COMM_WAIT, STAGE_OPTIMIZER, STAGE_EVAL, STAGE_CHECKPOINT, STAGE_LOG, STAGE_COUNT
};

enum { STAGE_ROWS = 256 };

struct stage_view {
    char thread[24];
    enum stage stage;
    int64_t step;
    double seconds; /* in this stage so far */
};

const char *stage_name(enum stage stage);
/* Claim a row for the calling thread under a name ("main", "loader 3"). Before the first claim, stage_enter does nothing. */
void stage_register(const char *thread_name);
void stage_unregister(void);
/* Returns the stage left, to be restored by stage_enter. Any thread, any time; two relaxed stores. */
enum stage stage_enter(enum stage stage);
void stage_set_step(int64_t step);
/* What the calling thread set last; -1 = nothing, or no row. */
int64_t stage_step(void);
/* Copy up to `capacity` claimed rows; returns how many. Any thread. */
int stage_snapshot(struct stage_view *views, int capacity);
/* One line, "main: backward 3.1 s (step 12), comm: ...", longest first, into text. */
void stage_describe(char *text, int bytes);

#endif
