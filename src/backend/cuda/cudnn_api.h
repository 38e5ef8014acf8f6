/* cuDNN's backend API behind plain C: the library is opened at run time (no link dependency) and its types stay in
 * cudnn_api.c. A descriptor is made, given attributes (values of cudnn.h's enums), finalised, and destroyed. */
#ifndef VT_BACKEND_CUDA_CUDNN_API_H
#define VT_BACKEND_CUDA_CUDNN_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CUDNN_VERSION_NEEDED = 91501 }; /* 9.15.1: before it, backward was wrong where keys % 128 != 0 */

typedef void *cudnn_descriptor;

/* What plans are compiled for: a handle on the current device, or, without a device, its properties as JSON text. */
struct cudnn_target {
    void *handle;            /* from cudnn_open_handle; NULL with device_json */
    const char *device_json;
};

/* Opens libcudnn once per process. VT_E_UNSUPPORTED: not there, or older than CUDNN_VERSION_NEEDED. */
VT_MUST_CHECK vt_status cudnn_load(void);
size_t cudnn_version(void); /* 0 before cudnn_load */
/* A handle that enqueues on this cudaStream_t. */
VT_MUST_CHECK vt_status cudnn_open_handle(void *stream, void **handle);
void cudnn_close_handle(void **handle);

/* Failures carry cuDNN's own words: VT_E_UNSUPPORTED where it says not supported, else VT_E_IO. */
VT_MUST_CHECK vt_status cudnn_new(int type, cudnn_descriptor *out);
void cudnn_free(cudnn_descriptor *descriptor); /* accepts NULL */
VT_MUST_CHECK vt_status cudnn_set(cudnn_descriptor descriptor, int attribute, int type, int64_t count, const void *values);
VT_MUST_CHECK vt_status cudnn_finalize(cudnn_descriptor descriptor, const char *what);
/* At most `room` elements; *count (NULL allowed) is how many there are. */
VT_MUST_CHECK vt_status cudnn_get(cudnn_descriptor descriptor, int attribute, int type, int64_t room, int64_t *count,
                                  void *values);
VT_MUST_CHECK vt_status cudnn_execute(void *handle, cudnn_descriptor plan, cudnn_descriptor pack);

#endif
