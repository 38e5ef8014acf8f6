/* The host's functions under their own names, so that shared code links here unchanged. Texts are formatted on this
 * side. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/host_shim.h"
#include "base/check.h"
#include "base/log.h"

static const struct host_api *host;

void host_shim_set(const struct host_api *api)
{
    host = api;
}

#define FORMATTED(text)                                                                                                \
    char text[VT_MESSAGE_BYTES];                                                                                       \
    va_list args;                                                                                                      \
    va_start(args, format);                                                                                            \
    vsnprintf(text, sizeof text, format, args);                                                                        \
    va_end(args)

vt_status status_fail(vt_status code, const char *format, ...)
{
    FORMATTED(text);
    return host->status_fail(code, "%s", text);
}

vt_status status_prefix(vt_status code, const char *format, ...)
{
    FORMATTED(text);
    return host->status_prefix(code, "%s", text);
}

const char *status_message(void)
{
    return host->status_message();
}

void log_info(const char *format, ...)
{
    FORMATTED(text);
    host->log_info("%s", text);
}

void log_warn(const char *format, ...)
{
    FORMATTED(text);
    host->log_warn("%s", text);
}

void log_error(const char *format, ...)
{
    FORMATTED(text);
    host->log_error("%s", text);
}

int log_rank(void)
{
    return host->log_rank();
}

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    FORMATTED(text);
    host->check_failed(file, line, condition, "%s", text);
    abort();
}

void stage_register(const char *thread_name)
{
    host->stage_register(thread_name);
}
void stage_unregister(void)
{
    host->stage_unregister();
}
enum stage stage_enter(enum stage stage)
{
    return host->stage_enter(stage);
}
void stage_set_step(int64_t step)
{
    host->stage_set_step(step);
}
