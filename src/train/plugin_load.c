#include "train/plugin_load.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"

enum { PLUGIN_PATH_BYTES = 4096 };
static const char PLUGIN_FILE[] = "libvitrail_cuda.so";

static void host_check_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    char text[VT_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    check_failed(file, line, condition, "%s", text);
}

static const struct host_api HOST = {
    .status_fail = status_fail,
    .status_prefix = status_prefix,
    .status_message = status_message,
    .log_info = log_info,
    .log_warn = log_warn,
    .log_error = log_error,
    .log_rank = log_rank,
    .check_failed = host_check_failed,
    .stage_register = stage_register,
    .stage_unregister = stage_unregister,
    .stage_enter = stage_enter,
    .stage_set_step = stage_set_step,
};

bool plugin_driver_present(void)
{
    return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != NULL;
}

/* False: there is no such file. */
static bool find_file(char *path, size_t bytes)
{
    const char *named = getenv("VITRAIL_PLUGIN");
    if (named && *named) {
        snprintf(path, bytes, "%s", named);
        return file_exists(path);
    }
    char program[PLUGIN_PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return false;
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    *slash = '\0';
    const char *const folders[] = {"", "/../lib"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, bytes, "%s%s/%s", program, folders[i], PLUGIN_FILE);
        if (file_exists(path))
            return true;
    }
    return false;
}

static vt_status load(struct plugin *plugin)
{
    char path[2 * PLUGIN_PATH_BYTES];
    if (!find_file(path, sizeof path)) {
        const char *named = getenv("VITRAIL_PLUGIN");
        if (named && *named)
            return VT_FAIL(VT_E_UNSUPPORTED, "VITRAIL_PLUGIN=%s: no such file", named);
        return VT_FAIL(VT_E_UNSUPPORTED, "no CUDA plugin (%s) beside the program or in ../lib: this build has none",
                       PLUGIN_FILE);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return VT_FAIL(VT_E_UNSUPPORTED, "the CUDA plugin cannot be loaded: %s", dlerror());
    vitrail_plugin_function *entry;
    *(void **)&entry = dlsym(library, VT_PLUGIN_ENTRY);
    if (!entry)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s is no vitrail plugin: it has no %s", path, VT_PLUGIN_ENTRY);
    if (entry(VT_PLUGIN_ABI, &HOST, plugin) != VT_OK)
        return VT_FAIL(VT_E_UNSUPPORTED,
                       "%s is of another vitrail version (its interface is not number %#x): build both together", path,
                       VT_PLUGIN_ABI);
    return VT_OK;
}

vt_status plugin_load(const struct plugin **out)
{
    static struct plugin plugin;
    static bool loaded;
    if (!loaded)
        VT_TRY(load(&plugin));
    loaded = true;
    *out = &plugin;
    return VT_OK;
}
