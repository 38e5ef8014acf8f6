#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
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

static void emit(int to_stderr, const char *level, const char *format, va_list args)
{
    char line[VT_MESSAGE_BYTES + 128];
    int used = 0;
    if (world_size > 1 && *level)
        used = snprintf(line, sizeof line, "[rank %d] %s", this_rank, level);
    else
        used = snprintf(line, sizeof line, "%s", level);
    int n = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    used += n < (int)sizeof line - used - 2 ? n : (int)sizeof line - used - 2;
    line[used++] = '\n';
    /* A log that cannot be written must not stop a run. */
    if (to_stderr && write(STDERR_FILENO, line, (size_t)used) < 0)
        return;
    if (log_fd >= 0 && write(log_fd, line, (size_t)used) < 0)
        return;
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
