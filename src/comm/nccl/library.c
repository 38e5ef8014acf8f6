#include "comm/nccl/library.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

vt_status nccl_library_load(const struct nccl_symbol *symbols, int count)
{
    const char *chosen = getenv("VITRAIL_NCCL");
    const char *name = chosen && *chosen ? chosen : "libnccl.so.2";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return VT_FAIL(VT_E_UNSUPPORTED, "cannot load NCCL: %s; several GPUs need it: install libnccl2, or name the file in VITRAIL_NCCL",
                       dlerror());
    for (int i = 0; i < count; i++) {
        void *function = dlsym(library, symbols[i].name);
        if (!function) {
            dlclose(library);
            return VT_FAIL(VT_E_UNSUPPORTED, "%s has no %s: NCCL 2.18 or newer is needed", name, symbols[i].name);
        }
        memcpy(symbols[i].address, &function, sizeof function);
    }
    return VT_OK;
}
