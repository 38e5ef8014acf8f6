#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int this_rank = 0, world_size = 1, log_fd = -1;

void log_set_rank(int rank, int size)
{
    this_rank = rank;
    world_size = size;
}

int log_rank(void) { return this_rank; }

vt_status log_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open the log for writing: %s", path, strerror(errno));
    log_close();
    log_fd = fd;
    return VT_OK;
}

void log_close(void)
{
    if (log_fd >= 0)
        close(log_fd);
    log_fd = -1;
}

/* "2026-01-31T23:59:59Z ", for the file alone: the same on every host, wherever it is. */
enum { STAMP_BYTES = 21, LINE_BYTES = VT_MESSAGE_BYTES + 128 };

static void write_stamp(char *stamped)
{
    char text[STAMP_BYTES + 1] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ ", &utc) != STAMP_BYTES)
        memset(text, ' ', STAMP_BYTES);
    memcpy(stamped, text, STAMP_BYTES);
}

static void emit(int to_stderr, const char *level, const char *format, va_list args)
{
    char stamped[STAMP_BYTES + LINE_BYTES], *line = stamped + STAMP_BYTES;
    int used = 0;
    write_stamp(stamped);
    if (world_size > 1 && *level)
        used = snprintf(line, LINE_BYTES, "[rank %d] %s", this_rank, level);
    else
        used = snprintf(line, LINE_BYTES, "%s", level);
    int n = vsnprintf(line + used, (size_t)(LINE_BYTES - used - 1), format, args);
    used += n < LINE_BYTES - used - 2 ? n : LINE_BYTES - used - 2;
    line[used++] = '\n';
    /* A log that cannot be written must not stop a run, and a terminal that is gone not the log. */
    ssize_t told = to_stderr ? write(STDERR_FILENO, line, (size_t)used) : 0, kept = 0;
    if (log_fd >= 0)
        kept = write(log_fd, stamped, STAMP_BYTES + (size_t)used);
    (void)told, (void)kept;
}

void log_info(const char *format, ...)
{
    if (this_rank != 0)
        return;
    va_list args;
    va_start(args, format);
    emit(1, "", format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(1, "warning: ", format, args);
    va_end(args);
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(1, "error: ", format, args);
    va_end(args);
}

void log_file_only(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    emit(0, "", format, args);
    va_end(args);
}
