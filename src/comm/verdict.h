/* The watchdog's judgement, apart from its sockets: pure, so that it can be tested. Private to the room. */
#ifndef VT_COMM_VERDICT_H
#define VT_COMM_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stage.h"

struct rank_report {      /* what one rank said last, and when */
    char host[64];
    bool heard;           /* at least once */
    bool left;            /* it has said goodbye */
    bool ending;          /* it has judged and takes the job down */
    bool waiting;         /* its main thread waits for other ranks */
    bool overdue;         /* no progress for longer than it allows itself */
    double silent_s;      /* since it was heard; 0 for the own rank */
    int64_t step;         /* -1 = none yet */
    char thread[24];      /* who is busy: "main", "loader 3" */
    enum stage stage;
    double stage_s;       /* busy there so long (when it was heard) */
    double stalled_s;     /* since the last progress */
};

/* What this process does now, in the words of a report: thread, stage, waiting, step. */
void report_own(struct rank_report *report);

/* Is the job stuck? Then the line to print, and *culprit = its rank, -1 when every rank waits for another. False while
 * the rank that the others wait for is within its own limit. */
bool verdict_find(const struct rank_report *reports, int size, double silence_limit_s, int *culprit, char *text,
                  size_t bytes);

#endif
