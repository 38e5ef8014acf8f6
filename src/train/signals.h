/* Asking a run to stop: SIGUSR2, SIGTERM, SIGINT, SIGHUP or the stop file. The handler only sets a flag; the loop agrees on it
 * over all ranks, finishes what it is at (a step; long ones and evaluations are cut off), commits and leaves with VT_E_STOP.
 * A SIGTERM or SIGINT after that ends the process at once, with one line. Per process. */
#ifndef VT_TRAIN_SIGNALS_H
#define VT_TRAIN_SIGNALS_H

#include <stdbool.h>

/* SIGINT and SIGHUP stay ignored where they are (nohup, a shell's background job). */
void signals_install(void);
/* A signal came, or `stop_file` ("" = none) exists (looked at no more than four times a second). */
bool signals_stop_requested(const char *stop_file);
/* What this process was asked by: a number, 0 = nothing, greater where several ranks differ in what to tell; and its name,
 * "SIGUSR2", "stop file" ... */
int signals_stop_reason(void);
const char *signals_reason_name(int reason);

/* A checkpoint stands: leaving at once is status_exit_code(VT_E_STOP) from now on; until then it is a failure. */
void signals_checkpoint_stands(void);
/* Around a commit: a second signal waits for its end, a third one does not. */
void signals_hold(void);
void signals_release(void);

#endif
