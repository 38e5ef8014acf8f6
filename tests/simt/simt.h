/* CUDA on the CPU, for proving kernels: put in front of a .cu file (-include), it makes the file plain C++, and
 * simt::launch runs a grid of it. README.md says what is supported, what is checked, and what is not. */
#ifndef VT_TESTS_SIMT_H
#define VT_TESTS_SIMT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <functional>

/* ---- the language ---- */
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static /* blocks run one after another; not poisoned, not bounded: prefer SHARED_ARRAY */
#define __constant__ static

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct uint3 {
    unsigned x, y, z;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}
static inline int4 make_int4(int x, int y, int z, int w)
{
    return {x, y, z, w};
}

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* ---- the machine (simt.cc) ---- */
namespace simt
{
enum { WARP = 32, MAX_THREADS = 1024, MAX_WORDS = 10 };

struct place { /* where in the source a thread waits */
    const char *file;
    int line;
};

/* What each lane gives to a warp operation and gets back. */
struct words {
    uint64_t word[MAX_WORDS];
};
/* Computes the outputs of all lanes in `mask` from their inputs; `argument` is each lane's own. */
typedef void warp_operation(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP]);

/* Run the grid; returns when all its blocks have ended. A broken rule prints where, and aborts (or throws, see
 * catch_errors). Arguments are checked against a GPU's limits. */
void launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);
/* What an op file's launch calls: at once, or when whoever plays the CUDA runtime (tests/plugin/stand_in) says. */
typedef void deferrer(void *stream, const char *name, const std::function<void()> &grid);
void launch_on(void *stream, const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);
void set_deferrer(deferrer *deferrer);

/* For the harness's own tests: errors throw std::runtime_error with their text instead of aborting. */
void catch_errors(bool on);

/* Order in which a block's threads (and a grid's blocks) get their turns; also from SIMT_ORDER=forward|reverse|random.
 */
enum order { FORWARD, REVERSE, RANDOM };
void set_order(enum order order);

/* Inside a thread. */
extern uint3 thread_index, block_index; /* of the running thread */
extern dim3 block_size, grid_size;
void sync_block(place where);
void sync_warp(const char *what, unsigned mask, warp_operation *operation, int argument, const words &in, words &out,
               place where);
unsigned lane();
void *shared_array(const void *key,
                   size_t bytes); /* this block's array of this declaration; poisoned before first use */
void *shared_dynamic();
void copy_async(void *to, const void *from, size_t copy_bytes, size_t zero_bytes); /* done by wait, at the earliest */
void copy_commit();
void copy_wait(int pending);
[[noreturn]] void error(const char *format, ...) __attribute__((format(printf, 1, 2)));

template <typename T> inline words to_words(T value)
{
    static_assert(sizeof(T) <= sizeof(words::word));
    words w = {};
    memcpy(w.word, &value, sizeof value);
    return w;
}
template <typename T> inline T from_words(const words &w)
{
    T value;
    memcpy(&value, w.word, sizeof value);
    return value;
}
void exchange(unsigned mask, const words in[WARP], const int source[WARP], words out[WARP]);
void vote(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP]);

template <typename T> inline T shuffle(const char *what, unsigned mask, T value, int source, place where)
{
    words out;
    sync_warp(what, mask, exchange, source, to_words(value), out, where);
    return from_words<T>(out);
}
} // namespace simt

#define SIMT_HERE                                                                                                      \
    simt::place                                                                                                        \
    {                                                                                                                  \
        file, line                                                                                                     \
    }
#define SIMT_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_size
#define gridDim simt::grid_size
#define warpSize 32

/* Declarations of shared memory, the same for both compilers (types.cuh has the device's). */
#define SHARED_ARRAY(type, name, count)                                                                                \
    static const char name##_key = 0;                                                                                  \
    type *const name = (type *)simt::shared_array(&name##_key, sizeof(type) * (count))
#define SHARED_DYNAMIC(type, name) type *const name = (type *)simt::shared_dynamic()

static inline void __syncthreads(SIMT_PLACE)
{
    simt::sync_block(SIMT_HERE);
}
static inline void __threadfence() {}
static inline long long clock64() /* a look at it takes a while */
{
    static long long clock;
    return clock += 20000;
}
static inline void __threadfence_block() {}

static inline unsigned simt_ballot(const char *what, unsigned mask, int predicate, simt::place where)
{
    simt::words out;
    simt::sync_warp(what, mask, simt::vote, predicate != 0, simt::words{}, out, where);
    return (unsigned)out.word[0];
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_PLACE)
{
    simt_ballot("__syncwarp", mask, 0, SIMT_HERE);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return simt_ballot("__ballot_sync", mask, predicate, SIMT_HERE);
}
static inline int __any_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return simt_ballot("__any_sync", mask, predicate, SIMT_HERE) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return simt_ballot("__all_sync", mask, predicate, SIMT_HERE) == mask;
}

/* A lane outside its segment of `width` keeps its own value, as on the device; a source outside `mask` is an error. */
template <typename T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_PLACE)
{
    int first = (int)simt::lane() & ~(width - 1);
    return simt::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), SIMT_HERE);
}
template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_PLACE)
{
    int own = (int)simt::lane(), source = own ^ bits, last = own | (width - 1);
    return simt::shuffle("__shfl_xor_sync", mask, value, source > last ? own : source, SIMT_HERE);
}
template <typename T> inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, SIMT_PLACE)
{
    int own = (int)simt::lane(), source = own + (int)by, last = own | (width - 1);
    return simt::shuffle("__shfl_down_sync", mask, value, source > last ? own : source, SIMT_HERE);
}
template <typename T> inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, SIMT_PLACE)
{
    int own = (int)simt::lane(), source = own - (int)by, first = own & ~(width - 1);
    return simt::shuffle("__shfl_up_sync", mask, value, source < first ? own : source, SIMT_HERE);
}

/* ---- atomics: threads switch only where they wait, so plain code is atomic ---- */
template <typename T, typename U> inline T atomicAdd(T *at, U value)
{
    T old = *at;
    *at = (T)(old + (T)value);
    return old;
}
template <typename T, typename U> inline T atomicMax(T *at, U value)
{
    T old = *at;
    *at = old < (T)value ? (T)value : old;
    return old;
}
template <typename T, typename U> inline T atomicExch(T *at, U value)
{
    T old = *at;
    *at = (T)value;
    return old;
}
template <typename T> inline T atomicCAS(T *at, T compare, T value)
{
    T old = *at;
    if (old == compare)
        *at = value;
    return old;
}

/* ---- the intrinsics kernels use ---- */
static inline float __uint_as_float(unsigned bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline unsigned __float_as_uint(float value)
{
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
#define __expf expf /* glibc has functions of these names */
#define __logf logf
static inline float __fdividef(float x, float y)
{
    return x / y;
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
template <typename T> inline T __ldg(const T *at)
{
    return *at;
}
template <typename T> inline T __ldcs(const T *at)
{
    return *at;
}
template <typename T> inline void __stcs(T *at, T value)
{
    *at = value;
}
template <typename T> inline T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> inline T max(T a, T b)
{
    return a < b ? b : a;
}

#endif
