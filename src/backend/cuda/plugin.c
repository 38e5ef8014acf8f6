/* The one exported function of libvitrail_cuda.so. */
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/host_shim.h"
#include "backend/cuda/tuning.h"

__attribute__((visibility("default"))) vitrail_plugin_function vitrail_plugin;

static vt_status tuning_import_text(struct backend *be, const char *text)
{
    return tuning_import(((struct cuda_backend *)be)->tuning, text);
}

static vt_status tuning_export_text(struct backend *be, char **text)
{
    return tuning_export(((struct cuda_backend *)be)->tuning, text);
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
                              .backend_open = backend_cuda_open,
                              .comm_open = comm_nccl_open,
                              .tuning_import = tuning_import_text,
                              .tuning_export = tuning_export_text};
    describe_versions(plugin->versions, sizeof plugin->versions);
    return VT_OK;
}
