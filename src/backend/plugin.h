/* The seam between the program and a plugin (libvitrail_cuda.so): one exported function. A plugin has its own copy of
 * pure code, but what has state stays the host's (messages, log, stage board) and comes through `host_api`, so that a
 * failure inside the plugin reads like any other. The plugin refuses another ABI number; the sizes in it notice most
 * changes of a struct by themselves: raise VT_PLUGIN_VERSION with the others, here, in backend.h, in ops.h or in
 * comm.h. */
#ifndef VT_BACKEND_PLUGIN_H
#define VT_BACKEND_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/stage.h"
#include "base/status.h"

struct comm;

/* The host's functions of the same names (base/status.h, log.h, check.h, stage.h). */
struct host_api {
    vt_status (*status_fail)(vt_status code, const char *format, ...);
    vt_status (*status_prefix)(vt_status code, const char *format, ...);
    const char *(*status_message)(void);
    void (*log_info)(const char *format, ...);
    void (*log_warn)(const char *format, ...);
    void (*log_error)(const char *format, ...);
    int (*log_rank)(void);
    void (*check_failed)(const char *file, int line, const char *condition, const char *format, ...);
    void (*stage_register)(const char *thread_name);
    void (*stage_unregister)(void);
    enum stage (*stage_enter)(enum stage stage);
    void (*stage_set_step)(int64_t step);
};

struct plugin {
    char name[16];      /* "cuda" */
    char versions[160]; /* "CUDA 13.0, cuBLASLt 13.1.0": what it is built and linked with */

    /* How many devices this process may use. VT_E_UNSUPPORTED with the reason (no driver, no GPU, too old) when none.
     */
    vt_status (*device_count)(int *count);
    /* The same for the same GPU in every process, whatever index it has there. */
    vt_status (*device_id)(int index, uint64_t *id);
    /* What is found at run time: driver and libraries with their versions, each said where it is missing. Loads them: for the
     * preflight only. May be NULL. */
    void (*describe)(char *text, size_t bytes);
    vt_status (*backend_open)(const struct backend_desc *desc, struct backend **out);
    /* Collective over `world`: collectives on device memory of `be`, enqueued on its STREAM_COMM. */
    vt_status (*comm_open)(struct comm *world, struct backend *be, struct comm **out);

    /* Choices made by timing (algorithms of matrix products, of attention): the same on every rank and after a resume.
     * import: before the first plan; bytes from export of any run (backend/tuning_file.h); entries of other devices or versions
     * are kept but not used; later ones win. export: all choices known, in a fixed order; malloc'ed, the caller frees
     * it with free(). */
    vt_status (*tuning_import)(struct backend *be, const void *bytes, size_t size);
    vt_status (*tuning_export)(struct backend *be, uint8_t **bytes, size_t *size);
    /* One choice: what is stored for `key` for this device and these libraries (NULL: nothing; valid until the next change),
     * and storing it. Keys and values: printable, no blanks, at most 255 characters. */
    const char *(*tuning_find)(struct backend *be, const char *key);
    void (*tuning_put)(struct backend *be, const char *key, const char *value);
};

enum { VT_PLUGIN_VERSION = 6 };
#define VT_PLUGIN_ABI                                                                                                  \
    ((uint32_t)VT_PLUGIN_VERSION << 20 | (uint32_t)((sizeof(struct backend) * 61 + sizeof(struct plugin) * 31 +        \
                                                     sizeof(struct host_api) * 7 + sizeof(struct step_scalars)) &      \
                                                    0xfffff))

/* The exported symbol. Fills *plugin; VT_E_UNSUPPORTED when `abi` is not its own (then host is not used, and no message
 * is set). `host` must stay valid. */
#define VT_PLUGIN_ENTRY "vitrail_plugin"
typedef vt_status vitrail_plugin_function(uint32_t abi, const struct host_api *host, struct plugin *plugin);

#endif
