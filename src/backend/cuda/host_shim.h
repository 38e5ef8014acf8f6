#ifndef VT_BACKEND_CUDA_HOST_SHIM_H
#define VT_BACKEND_CUDA_HOST_SHIM_H

#include "backend/plugin.h"

/* Before anything else of the plugin runs. */
void host_shim_set(const struct host_api *api);

#endif
