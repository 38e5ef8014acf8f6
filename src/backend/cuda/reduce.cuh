/* Sums over the threads of a warp or block. Orders are fixed: the same bits each run. */
#ifndef VT_BACKEND_CUDA_REDUCE_CUH
#define VT_BACKEND_CUDA_REDUCE_CUH

#include "backend/cuda/types.cuh"

enum { WARP_SIZE = 32, ALL_LANES = -1 };

template <typename T> __device__ inline T warp_sum(T value)
{
#pragma unroll
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2)
        value += __shfl_xor_sync((unsigned)ALL_LANES, value, bits);
    return value;
}

__device__ inline float warp_max(float value)
{
#pragma unroll
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2)
        value = fmaxf(value, __shfl_xor_sync((unsigned)ALL_LANES, value, bits));
    return value;
}

/* The block's sum, in every thread. blockDim.x threads in whole warps; `scratch` is shared memory of one T per warp,
 * free for the next use after the barrier at its start. */
template <typename T> __device__ inline T block_sum(T value, T *scratch)
{
    int lane = (int)threadIdx.x % WARP_SIZE, warp = (int)threadIdx.x / WARP_SIZE, warps = (int)blockDim.x / WARP_SIZE;
    value = warp_sum(value);
    __syncthreads();
    if (lane == 0)
        scratch[warp] = value;
    __syncthreads();
    T sum = scratch[0];
    for (int w = 1; w < warps; w++)
        sum += scratch[w];
    return sum;
}

#endif
