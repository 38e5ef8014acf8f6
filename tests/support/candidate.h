/* Backends by the names that tests take: ref, ref-strict, cpu, and cuda through the plugin, on the first GPU. */
#ifndef VT_CANDIDATE_H
#define VT_CANDIDATE_H

#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "train/plugin_load.h"

enum { EXIT_SKIPPED = 77 };

static inline vt_status candidate_open_cuda(struct backend **out)
{
    const struct backend_desc first = {.device_index = 0};
    const struct plugin *plugin;
    int count;
    VT_TRY(plugin_load(&plugin));
    VT_TRY(plugin->device_count(&count));
    if (count < 1)
        return VT_FAIL(VT_E_UNSUPPORTED, "no GPU");
    return plugin->backend_open(&first, out);
}

static inline vt_status candidate_open(const char *name, struct backend **out)
{
    struct backend_desc desc = {0};
    if (strcmp(name, "cuda") == 0)
        return candidate_open_cuda(out);
    if (strcmp(name, "cpu") == 0)
        return backend_cpu_open(&desc, out);
    desc.strict = strcmp(name, "ref-strict") == 0;
    if (desc.strict || strcmp(name, "ref") == 0)
        return backend_ref_open(&desc, out);
    return VT_FAIL(VT_E_USAGE, "%s: no such backend, expected ref, ref-strict, cpu or cuda", name);
}

/* What main returns when candidate_open failed: no GPU is no failure, but it is said. */
static inline int candidate_missing(vt_status status)
{
    printf("%s: %s\n", status == VT_E_UNSUPPORTED ? "SKIPPED" : "FAILED", status_message());
    return status == VT_E_UNSUPPORTED ? EXIT_SKIPPED : 1;
}

#endif
