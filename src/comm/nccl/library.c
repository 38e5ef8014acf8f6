#include "comm/nccl/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static vt_status find_symbols(void *library, const char *name, const struct nccl_symbol *symbols, int count)
{
    for (int i = 0; i < count; i++)
        if (!dlsym(library, symbols[i].name))
            return VT_FAIL(VT_E_UNSUPPORTED, "%s has no %s: NCCL 2.18 or newer is needed", name, symbols[i].name);
    for (int i = 0; i < count; i++) {
        void *function = dlsym(library, symbols[i].name);
        memcpy(symbols[i].address, &function, sizeof function);
    }
    return VT_OK;
}

vt_status nccl_library_load(const struct nccl_symbol *symbols, int count)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static void *loaded; /* others may be calling its functions: their pointers are not written again */
    const char *chosen = getenv("VITRAIL_NCCL");
    const char *name = chosen && *chosen ? chosen : "libnccl.so.2";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return VT_FAIL(VT_E_UNSUPPORTED, "cannot load NCCL: %s; several GPUs need it: install libnccl2, or name the file in VITRAIL_NCCL",
                       dlerror());
    pthread_mutex_lock(&mutex);
    vt_status status = library == loaded ? VT_OK : find_symbols(library, name, symbols, count);
    if (status != VT_OK || library == loaded)
        dlclose(library); /* the first load keeps it */
    else
        loaded = library;
    pthread_mutex_unlock(&mutex);
    return status;
}
