#include "backend/cuda/cudnn_api.h"

#include <cudnn.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

/* X(name): every function we use, found by dlsym. */
#define CUDNN_FUNCTIONS(X)                                                                                             \
    X(cudnnGetVersion)                                                                                                 \
    X(cudnnGetErrorString)                                                                                             \
    X(cudnnGetLastErrorString)                                                                                         \
    X(cudnnCreate)                                                                                                     \
    X(cudnnDestroy)                                                                                                    \
    X(cudnnSetStream)                                                                                                  \
    X(cudnnBackendCreateDescriptor)                                                                                    \
    X(cudnnBackendDestroyDescriptor)                                                                                   \
    X(cudnnBackendSetAttribute)                                                                                        \
    X(cudnnBackendFinalize)                                                                                            \
    X(cudnnBackendGetAttribute)                                                                                        \
    X(cudnnBackendExecute)

static struct {
#define DECLARE(name) __typeof__(&name) name;
    CUDNN_FUNCTIONS(DECLARE)
} api;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char refusal[256]; /* empty: the library is there */
static size_t version;

static void find_functions(void *library)
{
    void *found;
#define FIND(name)                                                                                                     \
    found = dlsym(library, #name);                                                                                     \
    if (!found)                                                                                                        \
        snprintf(refusal, sizeof refusal, "libcudnn.so.9 has no " #name);                                              \
    *(void **)&api.name = found;
    CUDNN_FUNCTIONS(FIND)
}

static void load(void)
{
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(refusal, sizeof refusal, "no cuDNN: %s", why ? why : "dlopen failed");
        return;
    }
    find_functions(library);
    if (refusal[0])
        return;
    version = api.cudnnGetVersion();
    if (version < CUDNN_VERSION_NEEDED)
        snprintf(refusal, sizeof refusal, "cuDNN %zu is too old for attention, expected %d or newer", version,
                 (int)CUDNN_VERSION_NEEDED);
}

vt_status cudnn_load(void)
{
    pthread_once(&once, load);
    return refusal[0] ? VT_FAIL(VT_E_UNSUPPORTED, "%s", refusal) : VT_OK;
}

size_t cudnn_version(void) { return version; }

/* cudnnStatus_t groups its codes: 3xxx is "not supported". */
static vt_status check(cudnnStatus_t status, const char *what)
{
    if (status == CUDNN_STATUS_SUCCESS)
        return VT_OK;
    char words[512];
    words[0] = '\0';
    api.cudnnGetLastErrorString(words, sizeof words);
    vt_status code = (int)status / 1000 == 3 ? VT_E_UNSUPPORTED : VT_E_IO;
    return VT_FAIL(code, "cuDNN: %s: %s%s%s", what, api.cudnnGetErrorString(status), words[0] ? ": " : "", words);
}

vt_status cudnn_open_handle(void *stream, void **handle)
{
    cudnnHandle_t made = NULL;
    VT_TRY(cudnn_load());
    VT_TRY(check(api.cudnnCreate(&made), "cudnnCreate"));
    vt_status status = check(api.cudnnSetStream(made, (cudaStream_t)stream), "cudnnSetStream");
    if (status != VT_OK) {
        (void)api.cudnnDestroy(made);
        return status;
    }
    *handle = made;
    return VT_OK;
}

void cudnn_close_handle(void **handle)
{
    if (*handle)
        (void)api.cudnnDestroy((cudnnHandle_t)*handle);
    *handle = NULL;
}

vt_status cudnn_new(int type, cudnn_descriptor *out)
{
    return check(api.cudnnBackendCreateDescriptor((cudnnBackendDescriptorType_t)type, out), "new descriptor");
}

void cudnn_free(cudnn_descriptor *descriptor)
{
    if (*descriptor)
        (void)api.cudnnBackendDestroyDescriptor(*descriptor);
    *descriptor = NULL;
}

vt_status cudnn_set(cudnn_descriptor descriptor, int attribute, int type, int64_t count, const void *values)
{
    return check(api.cudnnBackendSetAttribute(descriptor, (cudnnBackendAttributeName_t)attribute,
                                              (cudnnBackendAttributeType_t)type, count, values),
                 "set attribute");
}

vt_status cudnn_finalize(cudnn_descriptor descriptor, const char *what)
{
    return check(api.cudnnBackendFinalize(descriptor), what);
}

vt_status cudnn_get(cudnn_descriptor descriptor, int attribute, int type, int64_t room, int64_t *count, void *values)
{
    int64_t found = 0;
    VT_TRY(check(api.cudnnBackendGetAttribute(descriptor, (cudnnBackendAttributeName_t)attribute,
                                              (cudnnBackendAttributeType_t)type, room, &found, values),
                 "get attribute"));
    if (count)
        *count = found;
    return VT_OK;
}

vt_status cudnn_execute(void *handle, cudnn_descriptor plan, cudnn_descriptor pack)
{
    return check(api.cudnnBackendExecute((cudnnHandle_t)handle, plan, pack), "execute");
}
