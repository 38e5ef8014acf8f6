/* A libcudnn.so.9 that has every function the plugin looks for, and is of a version that is too old. */
#include <stddef.h>

size_t cudnnGetVersion(void);
size_t cudnnGetVersion(void) { return 90700; }

#define FUNCTION(name)                                                                                                 \
    void name(void);                                                                                                   \
    void name(void) {}
FUNCTION(cudnnGetErrorString)
FUNCTION(cudnnGetLastErrorString)
FUNCTION(cudnnCreate)
FUNCTION(cudnnDestroy)
FUNCTION(cudnnSetStream)
FUNCTION(cudnnBackendCreateDescriptor)
FUNCTION(cudnnBackendDestroyDescriptor)
FUNCTION(cudnnBackendSetAttribute)
FUNCTION(cudnnBackendFinalize)
FUNCTION(cudnnBackendGetAttribute)
FUNCTION(cudnnBackendExecute)
