/* Asking a run to stop: SIGUSR2, SIGTERM, SIGHUP or the stop file. The handler only sets a flag; the loop agrees on it over
 * all ranks, finishes the step, commits and leaves with VT_E_STOP. Per process. */
#ifndef VT_TRAIN_SIGNALS_H
#define VT_TRAIN_SIGNALS_H

#include <stdbool.h>

void signals_install(void);
/* A signal came, or `stop_file` ("" = none) exists (looked at no more than once a second). */
bool signals_stop_requested(const char *stop_file);
/* "SIGUSR2", "stop file" ... or NULL. */
const char *signals_stop_reason(void);

#endif
