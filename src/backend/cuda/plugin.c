/* The one exported function of libvitrail_cuda.so. */
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/host_shim.h"
#include "backend/cuda/tuning.h"
#include "base/log.h"

__attribute__((visibility("default"))) vitrail_plugin_function vitrail_plugin;

static vt_status tuning_import_here(struct backend *be, const void *bytes, size_t size)
{
    char libraries[TUNING_WORD_BYTES];
    struct tuning *tuning = ((struct cuda_backend *)be)->tuning;
    VT_TRY(tuning_import(tuning, bytes, size));
    if (tuning_outdated(tuning, libraries))
        log_info("tuning     the choices at hand are of other libraries (%s): timed again", libraries);
    return VT_OK;
}

static vt_status tuning_export_here(struct backend *be, uint8_t **bytes, size_t *size)
{
    return tuning_export(((struct cuda_backend *)be)->tuning, bytes, size);
}

static const char *tuning_find_here(struct backend *be, const char *key)
{
    return cuda_tuning_find((const struct cuda_backend *)be, key);
}

static void tuning_put_here(struct backend *be, const char *key, const char *value)
{
    cuda_tuning_put((struct cuda_backend *)be, key, value);
}

/* cuBLAS writes 13.1.0 as 130100, the runtime 13.0 as 13000. */
static void describe_versions(char *text, size_t bytes)
{
    size_t lt = cublasLtGetVersion();
    snprintf(text, bytes, "CUDA %d.%d, cuBLASLt %zu.%zu.%zu", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
             lt / 10000, lt / 100 % 100, lt % 100);
}

vt_status vitrail_plugin(uint32_t abi, const struct host_api *host, struct plugin *plugin)
{
    if (abi != VT_PLUGIN_ABI)
        return VT_E_UNSUPPORTED;
    host_shim_set(host);
    *plugin = (struct plugin){.name = "cuda",
                              .device_count = cuda_device_count,
                              .device_id = cuda_device_id,
                              .describe = cuda_describe,
                              .backend_open = backend_cuda_open,
                              .comm_open = comm_nccl_open,
                              .tuning_import = tuning_import_here,
                              .tuning_export = tuning_export_here,
                              .tuning_find = tuning_find_here,
                              .tuning_put = tuning_put_here};
    describe_versions(plugin->versions, sizeof plugin->versions);
    return VT_OK;
}
