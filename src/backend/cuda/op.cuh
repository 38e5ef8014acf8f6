/* What an op file (.cu) needs on its host side: the C contracts, launching, and picking a kernel by dtype. */
#ifndef VT_BACKEND_CUDA_OP_CUH
#define VT_BACKEND_CUDA_OP_CUH

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef _Noreturn
#define _Noreturn __attribute__((noreturn))
#endif
extern "C" {
#include "backend/cuda/cuda.h"
}

#include "backend/cuda/types.cuh"

/* Enqueue a kernel on a stream. `shared_bytes` of dynamic shared memory may pass 48 KiB: the kernel's limit is raised
 * then. A launch error is kept by the backend until the next synchronising call. */
template <typename... Parameters, typename... Arguments>
void launch_on(struct backend *be, enum stream stream, const char *name, void (*kernel)(Parameters...), dim3 grid,
               dim3 block, size_t shared_bytes, Arguments... arguments)
{
#ifdef __CUDACC__
    if (shared_bytes > 40 * 1024) /* the limit without it, 48 KiB, also counts static arrays */
        cuda_check_launch(be, name,
                          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes));
    kernel<<<grid, block, shared_bytes, ((struct cuda_backend *)be)->streams[stream]>>>(Parameters(arguments)...);
    cuda_check_launch(be, name, cudaGetLastError());
#else
    simt::launch_on(((struct cuda_backend *)be)->streams[stream], name, grid, block, shared_bytes,
                    [=] { kernel(Parameters(arguments)...); });
#endif
}

template <typename... Parameters, typename... Arguments>
void launch(struct backend *be, const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared_bytes, Arguments... arguments)
{
    launch_on(be, STREAM_COMPUTE, name, kernel, grid, block, shared_bytes, arguments...);
}

/* How many blocks of a kernel a multiprocessor holds at once; 0: not one. At plan time: from then on the kernel has
 * that much shared memory at most, and the multiprocessor's memory goes to it rather than to the L1 cache. */
template <typename... Parameters>
int blocks_per_multiprocessor(void (*kernel)(Parameters...), int threads, size_t shared_bytes)
{
    int blocks = 2;
#ifdef __CUDACC__
    if ((shared_bytes > 40 * 1024 &&
         (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes) != cudaSuccess ||
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared) != cudaSuccess)) ||
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes) != cudaSuccess) {
        (void)cudaGetLastError();
        blocks = 0;
    }
#else
    (void)kernel, (void)threads, (void)shared_bytes;
#endif
    return blocks;
}

/* with_type(dtype, [&](auto zero) { using T = decltype(zero); ... }): fp32 or bf16, as the plan made sure. */
template <typename Body> void with_type(enum dtype dtype, const Body &body)
{
    if (dtype == DTYPE_BF16)
        body(bf16{});
    else
        body(0.0f);
}

static inline int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static inline int64_t round_up(int64_t a, int64_t to)
{
    return divide_up(a, to) * to;
}
static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Elementwise kernels number their threads, each with 1 or 8 elements, by one grid dimension. */
static inline vt_status check_elements(const char *op, int64_t elements)
{
    const int64_t limit = (int64_t)INT32_MAX * 128;
    if (elements <= limit)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "cuda: %s of %lld elements, expected at most %lld", op, (long long)elements,
                   (long long)limit);
}

/* The same where threads are numbered by 32 bits: divisions by 64 take some hundred instructions. */
static inline vt_status check_threads(const char *op, int64_t elements, int per_thread)
{
    const int64_t limit = (int64_t)(UINT32_MAX - 1024) * per_thread;
    if (elements <= limit)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "cuda: %s of %lld elements, expected at most %lld", op, (long long)elements,
                   (long long)limit);
}

/* Rates in [0, 1), and 32-bit element indices when one is drawn. */
static inline bool rate_ok(float rate, int64_t row_elements)
{
    return rate >= 0 && rate < 1 && (rate == 0 || row_elements <= UINT32_MAX);
}

#endif
