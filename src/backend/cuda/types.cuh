/* The element types of kernels and how 8 of them travel. Included by every .cu; compiles for the device by nvcc and for
 * the CPU under tests/simt. bf16 is its own struct, so that nothing adds its bits by accident. All arithmetic is in
 * fp32. */
#ifndef VT_BACKEND_CUDA_TYPES_CUH
#define VT_BACKEND_CUDA_TYPES_CUH

#include <stdint.h>

#include "backend/cuda/ptx.h"

/* Shared memory is declared by these two, so that tests/simt can give each block fresh, bounded memory. In the body of
 * a kernel or device function; `count` is a constant. */
#ifdef __CUDACC__
#define SHARED_ARRAY(type, name, count) __shared__ type name[count]
#define SHARED_DYNAMIC(type, name)                                                                                     \
    extern __shared__ __align__(128) unsigned char dynamic_shared[];                                                   \
    type *const name = reinterpret_cast<type *>(dynamic_shared)
#endif

struct bf16 {
    uint16_t bits;
};
static_assert(sizeof(bf16) == 2, "bf16 is storage");

__device__ inline float to_float(float value)
{
    return value;
}
__device__ inline float to_float(bf16 value)
{
    return __uint_as_float((uint32_t)value.bits << 16);
}

/* Rounds to nearest even, like bf16_from_float (a NaN stays a NaN). */
template <typename T> __device__ inline T from_float(float value);
template <> __device__ inline float from_float<float>(float value)
{
    return value;
}
template <> __device__ inline bf16 from_float<bf16>(float value)
{
    return bf16{(uint16_t)pack_bf16x2(value, 0.0f)};
}

/* The value as T keeps it. */
template <typename T> __device__ inline float rounded(float value)
{
    return to_float(from_float<T>(value));
}

enum { VECTOR = 8 }; /* elements a thread moves at once: one 128-bit access in bf16, two in fp32 */

/* VECTOR elements as they lie in memory. A kernel that wants several loads under way fetches all of them before it
 * unpacks the first. Pointers must be 16-byte aligned. */
template <typename T> struct packed8;
template <> struct packed8<float> {
    float4 low, high;
};
template <> struct packed8<bf16> {
    uint4 word;
};

__device__ inline packed8<float> fetch8(const float *from)
{
    return packed8<float>{*(const float4 *)from, *(const float4 *)(from + 4)};
}

__device__ inline packed8<bf16> fetch8(const bf16 *from)
{
    return packed8<bf16>{*(const uint4 *)from};
}

__device__ inline void unpack8(const packed8<float> &from, float value[VECTOR])
{
    value[0] = from.low.x, value[1] = from.low.y, value[2] = from.low.z, value[3] = from.low.w;
    value[4] = from.high.x, value[5] = from.high.y, value[6] = from.high.z, value[7] = from.high.w;
}

__device__ inline void unpack8(const packed8<bf16> &from, float value[VECTOR])
{
    const uint32_t words[4] = {from.word.x, from.word.y, from.word.z, from.word.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        value[2 * i] = __uint_as_float(words[i] << 16);
        value[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

template <typename T> __device__ inline void load8(const T *from, float value[VECTOR])
{
    unpack8(fetch8(from), value);
}

/* One access of 128 bits for certain: of four words as a struct, the compiler may make four stores. */
__device__ inline void store_words(void *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    typedef unsigned __int128 __attribute__((may_alias)) word16;
    *(word16 *)to = (word16)(a | (uint64_t)b << 32) | (word16)(c | (uint64_t)d << 32) << 64;
}

__device__ inline void store8(float *to, const float value[VECTOR])
{
#pragma unroll
    for (int i = 0; i < VECTOR; i += 4)
        store_words(to + i, __float_as_uint(value[i]), __float_as_uint(value[i + 1]), __float_as_uint(value[i + 2]),
                    __float_as_uint(value[i + 3]));
}

__device__ inline void store8(bf16 *to, const float value[VECTOR])
{
    store_words(to, pack_bf16x2(value[0], value[1]), pack_bf16x2(value[2], value[3]), pack_bf16x2(value[4], value[5]),
                pack_bf16x2(value[6], value[7]));
}

/* One kernel body for vectors (N = VECTOR) and for widths that vectors do not divide (N = 1). */
template <typename T> struct packed1 {
    T value;
};
template <int N, typename T> struct packed_type {
    typedef packed8<T> type;
};
template <typename T> struct packed_type<1, T> {
    typedef packed1<T> type;
};
template <int N, typename T> using packed_n = typename packed_type<N, T>::type;

template <int N, typename T> __device__ inline packed_n<N, T> fetch_n(const T *from)
{
    if constexpr (N == VECTOR)
        return fetch8(from);
    else
        return packed1<T>{from[0]};
}

template <int N, typename P> __device__ inline void unpack_n(const P &from, float *value)
{
    if constexpr (N == VECTOR)
        unpack8(from, value);
    else
        value[0] = to_float(from.value);
}

template <int N, typename T> __device__ inline void load_n(const T *from, float *value)
{
    unpack_n<N>(fetch_n<N>(from), value);
}

template <int N, typename T> __device__ inline void store_n(T *to, const float *value)
{
    if constexpr (N == VECTOR)
        store8(to, value);
    else
        to[0] = from_float<T>(value[0]);
}

#endif
