/* Rank-aware log to stderr and, once opened, to a file. Lines are whole: one write(2) each. With one rank lines are bare;
 * with more, warnings and errors carry "[rank r]". log_info speaks on rank 0 only; log_warn and log_error on every rank. */
#ifndef VT_BASE_LOG_H
#define VT_BASE_LOG_H

#include "base/status.h"

void log_set_rank(int rank, int size);
int log_rank(void);
/* Append to a file as well (rank 0's RUN/log.txt), each line after the time: "2026-01-31T23:59:59Z ...". Closed by log_close. */
VT_MUST_CHECK vt_status log_open(const char *path);
void log_close(void);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Only to the file: what a terminal shows otherwise (the progress line). */
void log_file_only(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
