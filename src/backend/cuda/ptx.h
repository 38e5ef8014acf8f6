/* The only home of raw PTX: warp matrix products, their operand loads, asynchronous copies, and conversions, one
 * wrapper per instruction (sm_80 and later). Names follow PTX. tests/simt replaces this file by one that computes the
 * same on the CPU, so a new wrapper is added in both. Device code only: empty for a C compiler. */
#ifndef VT_BACKEND_CUDA_PTX_H
#define VT_BACKEND_CUDA_PTX_H

#ifdef __CUDACC__
#include <stdint.h>

/* Two floats rounded to nearest even as bf16; `low` in the lower half. */
__device__ inline uint32_t pack_bf16x2(float low, float high)
{
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

/* 2^x to 2 ulp, denormals flushed. */
__device__ inline float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Ends the whole grid with an error that the next synchronising call reports: an invariant of ours is broken. */
__device__ inline void device_trap()
{
    asm volatile("trap;");
}

/* ---- mma.sync: d(16,8) += a(16,16) b(16,8), bf16 operands, fp32 sums. All 32 lanes. With g = lane / 4, t = lane % 4:
 * a[0] = a(g, 2t..2t+1), a[1] = a(g+8, 2t..), a[2] = a(g, 2t+8..), a[3] = a(g+8, 2t+8..); b[0] = b(2t..2t+1, g),
 * b[1] = b(2t+8.., g); d[0..1] = d(g, 2t..2t+1), d[2..3] = d(g+8, 2t..2t+1). The lower half of a word is the lower
 * index. */
__device__ inline void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ---- ldmatrix: 8x8 matrices of 16-bit elements from shared memory. Lane i of each 8 gives the address of row i (16
 * bytes, 16-byte aligned): lanes 0-7 for matrix 0, 8-15 for matrix 1, and so on (x2 ignores lanes 16-31's). word[j] of
 * a lane is matrix j's (row lane / 4, columns 2 (lane % 4) and + 1); with _trans, the same of the transposed matrix.
 * All 32 lanes. */
__device__ inline uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

__device__ inline void ldmatrix_x4(uint32_t word[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void ldmatrix_x4_trans(uint32_t word[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void ldmatrix_x2(uint32_t word[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(word[0]), "=r"(word[1])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void ldmatrix_x2_trans(uint32_t word[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(word[0]), "=r"(word[1])
                 : "r"(shared_address(row))
                 : "memory");
}

/* ---- cp.async: 16 bytes from global to shared memory, both 16-byte aligned. Visible to the issuing thread after a
 * wait on its group, to others after a barrier behind that. */
__device__ inline void cp_async_16(void *to_shared, const void *from_global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to_shared)), "l"(from_global)
                 : "memory");
}

/* Zeros instead when not `valid`; then nothing is read, but from_global must be a pointer into global memory. */
__device__ inline void cp_async_16_or_zero(void *to_shared, const void *from_global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ inline void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `pending` of this thread's newest groups are still under way. */
template <int pending> __device__ inline void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#endif

#endif
