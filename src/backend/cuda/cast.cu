/* Casts, reduce_add, scalars_reset: one touch an element, 128-bit accesses where the pointers allow it. Bound by
 * memory. */
#include "backend/cuda/op.cuh"

enum { THREADS = 256 };

template <int N, typename From, typename To>
__global__ void __launch_bounds__(THREADS) cast_kernel(const From *src, To *dst, int64_t count)
{
    int64_t first = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    float value[N];
    if (first + N <= count) {
        load_n<N>(src + first, value);
        store_n<N>(dst + first, value);
        return;
    }
    for (int64_t i = first; i < count; i++)
        dst[i] = from_float<To>(to_float(src[i]));
}

template <int N>
__global__ void __launch_bounds__(THREADS) reduce_add_kernel(float *dst, const float *src, int64_t count)
{
    int64_t first = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    float sum[N], value[N];
    if (first + N <= count) {
        load_n<N>(dst + first, sum);
        load_n<N>(src + first, value);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] += value[i];
        store_n<N>(dst + first, sum);
        return;
    }
    for (int64_t i = first; i < count; i++)
        dst[i] += src[i];
}

__global__ void scalars_reset_kernel(struct step_scalars *scalars)
{
    uint32_t skipped = scalars->skipped;
    *scalars = step_scalars{};
    scalars->skipped = skipped;
}

/* Ranges of flat buffers may begin anywhere. */
static bool aligned(const void *a, const void *b)
{
    return ((uintptr_t)a | (uintptr_t)b) % 16 == 0;
}

static dim3 grid_of(int64_t count, bool vectors)
{
    int64_t blocks = divide_up(count, (int64_t)THREADS * (vectors ? VECTOR : 1));
    VT_CHECK(blocks <= INT32_MAX);
    return dim3((unsigned)blocks);
}

static void cast_on(struct backend *be, enum stream stream, const void *src, enum dtype from, void *dst, enum dtype to,
                    int64_t count)
{
    VT_CHECK(cuda_check_dtype("cast", from) == VT_OK && cuda_check_dtype("cast", to) == VT_OK);
    bool vectors = aligned(src, dst);
    if (count == 0)
        return;
    with_type(from, [&](auto f) {
        with_type(to, [&](auto t) {
            using From = decltype(f);
            using To = decltype(t);
            launch_on(be, stream, "cast", vectors ? cast_kernel<VECTOR, From, To> : cast_kernel<1, From, To>,
                      grid_of(count, vectors), dim3(THREADS), 0, src, dst, count);
        });
    });
}

static void cast(struct backend *be, const void *src, enum dtype from, void *dst, enum dtype to, int64_t count)
{
    cast_on(be, STREAM_COMPUTE, src, from, dst, to, count);
}

static void reduce_add(struct backend *be, float *dst, const float *src, int64_t count)
{
    bool vectors = aligned(src, dst);
    if (count > 0)
        launch(be, "reduce_add", vectors ? reduce_add_kernel<VECTOR> : reduce_add_kernel<1>, grid_of(count, vectors),
               dim3(THREADS), 0, dst, src, count);
}

static void scalars_reset(struct backend *be, struct step_scalars *scalars)
{
    launch(be, "scalars_reset", scalars_reset_kernel, dim3(1), dim3(1), 0, scalars);
}

void cuda_cast_install(struct backend *be)
{
    be->nn.cast = cast;
    be->nn.reduce_add = reduce_add;
    be->nn.scalars_reset = scalars_reset;
    be->cast = cast_on;
}
