/* Stands in for src/backend/cuda/ptx.h on the CPU: each wrapper computes what its PTX instruction does; the fragment
 * layouts are those of the PTX manual (mma.m16n8k16, ldmatrix). Copies are delayed to the wait that must precede their
 * use. */
#ifndef VT_BACKEND_CUDA_PTX_H
#define VT_BACKEND_CUDA_PTX_H

#include "tensor/dtype.h"

inline uint32_t pack_bf16x2(float low, float high)
{
    return (uint32_t)bf16_from_float(low) | (uint32_t)bf16_from_float(high) << 16;
}

inline float exp2_approx(float x)
{
    return exp2f(x);
}
inline void device_trap()
{
    simt::error("device_trap");
}

namespace simt
{
void mma_m16n8k16(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP]);
void load_matrix(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP]);
} // namespace simt

inline void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], SIMT_PLACE)
{
    struct {
        float d[4];
        uint32_t a[4], b[2];
    } operands;
    memcpy(operands.d, d, sizeof operands.d);
    memcpy(operands.a, a, sizeof operands.a);
    memcpy(operands.b, b, sizeof operands.b);
    simt::words out;
    simt::sync_warp("mma_m16n8k16_bf16", 0xffffffffu, simt::mma_m16n8k16, 0, simt::to_words(operands), out, SIMT_HERE);
    memcpy(d, out.word, sizeof operands.d);
}

/* argument: matrices, negative for transposed */
inline void simt_ldmatrix(const char *what, uint32_t *word, const void *row, int matrices, simt::place where)
{
    simt::words out;
    simt::sync_warp(what, 0xffffffffu, simt::load_matrix, matrices, simt::to_words(row), out, where);
    memcpy(word, out.word, sizeof *word * (size_t)abs(matrices));
}
inline void ldmatrix_x4(uint32_t word[4], const void *row, SIMT_PLACE)
{
    simt_ldmatrix("ldmatrix_x4", word, row, 4, SIMT_HERE);
}
inline void ldmatrix_x4_trans(uint32_t word[4], const void *row, SIMT_PLACE)
{
    simt_ldmatrix("ldmatrix_x4_trans", word, row, -4, SIMT_HERE);
}
inline void ldmatrix_x2(uint32_t word[2], const void *row, SIMT_PLACE)
{
    simt_ldmatrix("ldmatrix_x2", word, row, 2, SIMT_HERE);
}
inline void ldmatrix_x2_trans(uint32_t word[2], const void *row, SIMT_PLACE)
{
    simt_ldmatrix("ldmatrix_x2_trans", word, row, -2, SIMT_HERE);
}

inline void cp_async_16(void *to_shared, const void *from_global)
{
    simt::copy_async(to_shared, from_global, 16, 0);
}
inline void cp_async_16_or_zero(void *to_shared, const void *from_global, bool valid)
{
    simt::copy_async(to_shared, from_global, valid ? 16 : 0, valid ? 0 : 16);
}
inline void cp_async_commit()
{
    simt::copy_commit();
}
template <int pending> inline void cp_async_wait()
{
    simt::copy_wait(pending);
}

#endif
