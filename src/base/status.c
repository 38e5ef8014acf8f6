#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[VT_MESSAGE_BYTES];

/* Messages quote names and values from outside: a line break or a terminal's escape code in one must not act. */
static void keep_on_one_line(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

vt_status status_fail(vt_status code, const char *format, ...)
{
    /* Formatted aside first: an argument may be the old message itself. */
    char text[VT_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    keep_on_one_line(text);
    memcpy(message, text, sizeof message);
    return code;
}

vt_status status_prefix(vt_status code, const char *format, ...)
{
    char prefix[VT_MESSAGE_BYTES / 2], rest[VT_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    keep_on_one_line(prefix);
    memcpy(rest, message, sizeof rest);
    snprintf(message, sizeof message, "%s: %.*s", prefix, (int)(sizeof message - strlen(prefix) - 3), rest);
    return code;
}

const char *status_message(void) { return message; }

const char *status_name(vt_status code)
{
    switch (code) {
    case VT_OK: return "ok";
    case VT_E_USAGE: return "usage";
    case VT_E_IO: return "io";
    case VT_E_FORMAT: return "format";
    case VT_E_LIMIT: return "limit";
    case VT_E_MEMORY: return "memory";
    case VT_E_UNSUPPORTED: return "unsupported";
    case VT_E_COMM: return "comm";
    case VT_E_NUMERIC: return "numeric";
    case VT_E_STOP: return "stop";
    }
    return "unknown";
}

int status_exit_code(vt_status code)
{
    switch (code) {
    case VT_OK: return 0;
    case VT_E_USAGE: return 2;
    case VT_E_STOP: return 75;
    default: return 1;
    }
}
