/* base/philox on the device: the same words for the same (seed, purpose, position, index), so masks have equal bits on
 * every backend. */
#ifndef VT_BACKEND_CUDA_PHILOX_CUH
#define VT_BACKEND_CUDA_PHILOX_CUH

#include "backend/cuda/op.cuh"

/* What a random op's kernel gets: one purpose's draws. rate 0: nothing is drawn. */
struct dropout_args {
    uint64_t seed;
    const uint64_t *position; /* device [B] */
    uint32_t purpose;
    float rate;
    float kept; /* 1 / (1 - rate) */
};

static inline dropout_args dropout_of(const struct op_random *random, uint32_t purpose, float rate)
{
    if (rate == 0)
        return dropout_args{};
    return dropout_args{random->seed, random->position, purpose, rate, (float)(1 / (1 - (double)rate))};
}

/* Draws 4 block .. 4 block + 3 (draw4). */
__device__ inline void philox_draw4(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t block, uint32_t out[4])
{
    uint32_t c0 = block, c1 = purpose, c2 = (uint32_t)position, c3 = (uint32_t)(position >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

__device__ inline float keep_of(const dropout_args &d, uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f < d.rate ? 0.0f : d.kept;
}

/* Factors of elements e .. e + N - 1 at this position: 0 or kept. N is 1, or a multiple of 4 with e one too. */
template <int N> __device__ inline void draw_keep(const dropout_args &d, uint64_t position, uint32_t e, float *keep)
{
    if constexpr (N == 1) {
        uint32_t word[4];
        philox_draw4(d.seed, d.purpose, position, e / 4, word);
        uint32_t low = e & 1 ? word[1] : word[0],
                 high = e & 1 ? word[3] : word[2]; /* no indexing: stays in registers */
        keep[0] = keep_of(d, e & 2 ? high : low);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            uint32_t word[4];
            philox_draw4(d.seed, d.purpose, position, (e + (uint32_t)i) / 4, word);
#pragma unroll
            for (int j = 0; j < 4; j++)
                keep[i + j] = keep_of(d, word[j]);
        }
    }
}

/* One draw for a whole image (drop path). */
__device__ inline float draw_keep_one(const dropout_args &d, uint64_t position)
{
    float keep;
    draw_keep<1>(d, position, 0, &keep);
    return keep;
}

#endif
