/* Errors that come from the world (a file, a config, a peer, a JPEG): a code to branch on and one line of text for the
 * user. Who first knows writes the text (what was wrong, where, what was expected); relays stay silent; the command line
 * prints it once. The text is per thread: a worker hands it over with status_message()/status_fail(). */
#ifndef VT_BASE_STATUS_H
#define VT_BASE_STATUS_H

typedef enum vt_status {
    VT_OK = 0,
    VT_E_USAGE,       /* the user asked for something that does not exist or cannot be (config, arguments): exit 2 */
    VT_E_IO,          /* the operating system said no: open, read, write, disk full */
    VT_E_FORMAT,      /* bytes that are not what they claim to be: damaged, truncated, wrong magic */
    VT_E_LIMIT,       /* a stated bound was passed */
    VT_E_MEMORY,      /* a planned allocation does not fit */
    VT_E_UNSUPPORTED, /* valid, but this build, backend or device does not do it */
    VT_E_COMM,        /* a peer or the network failed */
    VT_E_NUMERIC,     /* non-finite values past the limit */
    VT_E_STOP         /* asked to stop and committed: exit 75, "requeue me" */
} vt_status;

#define VT_MUST_CHECK __attribute__((warn_unused_result))
#define VT_MESSAGE_BYTES 1024

/* Set this thread's message and return code. Used through VT_FAIL. Control characters in it become '?'. */
vt_status status_fail(vt_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Put "prefix: " in front of this thread's message; returns code unchanged. For callers that know the place. */
vt_status status_prefix(vt_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* This thread's last message; never NULL. Valid until the next failure on this thread. */
const char *status_message(void);
const char *status_name(vt_status code);
/* Process exit status for a code: 0, 2 (usage), 75 (stop) or 1. */
int status_exit_code(vt_status code);

/* return VT_FAIL(VT_E_FORMAT, "%s: ...", path); */
#define VT_FAIL(code, ...) status_fail((code), __VA_ARGS__)

/* Relay a failure to the caller. */
#define VT_TRY(call)                                                                                                   \
    do {                                                                                                               \
        vt_status vt_try_status_ = (call);                                                                             \
        if (vt_try_status_ != VT_OK)                                                                                   \
            return vt_try_status_;                                                                                     \
    } while (0)

/* Relay through the function's cleanup: sets `status` and jumps to `out`. */
#define VT_TRY_OUT(call)                                                                                               \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != VT_OK)                                                                                           \
            goto out;                                                                                                  \
    } while (0)

#endif
