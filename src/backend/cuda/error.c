/* Errors of the runtime: returned ones in words, those of enqueues kept for whoever waits next. */
#include <cuda_runtime.h>

#include "backend/cuda/cuda.h"

vt_status cuda_fail(int error, const char *what)
{
    vt_status code = error == cudaErrorMemoryAllocation                                   ? VT_E_MEMORY
                     : error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice ? VT_E_UNSUPPORTED
                                                                                          : VT_E_IO;
    (void)cudaGetLastError(); /* reported now: not again */
    return VT_FAIL(code, "cuda: %s: %s (%s)", what, cudaGetErrorString((cudaError_t)error),
                   cudaGetErrorName((cudaError_t)error));
}

void cuda_note(struct cuda_backend *cuda, int error, const char *what)
{
    int none = 0;
    if (error == cudaSuccess)
        return;
    (void)cudaGetLastError();
    if (__atomic_compare_exchange_n(&cuda->error, &none, error, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        __atomic_store_n(&cuda->error_what, what, __ATOMIC_RELEASE);
}

void cuda_check_launch(struct backend *be, const char *kernel, int error)
{
    cuda_note((struct cuda_backend *)be, error, kernel);
}
