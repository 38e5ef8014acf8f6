/* What plays the GPU below the real plugin: the functions of the CUDA runtime that src/backend/cuda calls, on the CPU. Device
 * memory is protected while nothing runs on the device, kernels are those of tests/simt, and work waits in its stream until
 * something makes it run, so that a missing wait shows. VT_STAND_IN_ORDER=lazy (default): a stream runs only as far as a wait needs;
 * eager: everything as early as it may; random. VT_STAND_IN_CAPTURE=N: the N-th capture fails. VT_STAND_IN_COUNT=1: what the host
 * asked for, at the end. It aborts on what CUDA leaves undefined, and refuses what CUDA refuses; one that it refuses less readily is
 * a mistake here. */
#ifndef VT_TESTS_STAND_IN_RUNTIME_H
#define VT_TESTS_STAND_IN_RUNTIME_H

#include <cuda_runtime_api.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Work of `context` (copied, `bytes` of it) on a stream, for what plays a library; us: what the device's clock says of it. Kept by a
 * capture like a kernel's launch. */
void stand_in_enqueue(cudaStream_t stream, const char *what, void (*run)(void *context), const void *context, size_t bytes,
                      double us);
/* Whether [pointer, pointer + bytes) lies in one allocation of the device. */
bool stand_in_is_device(const void *pointer, size_t bytes);
/* The calling thread's current device; aborts when it never set one. */
int stand_in_device(const char *function);
/* Says what is wrong, and aborts. */
void stand_in_broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#ifdef __cplusplus
}
#endif

#endif
