/* The kernels at level avx2 (AVX2 + FMA). */
#include "backend/cpu/kernels.h"

#if defined(__x86_64__)
#define VEC_LEVEL 1
#define VEC_TABLE cpu_kernels_avx2
#include "backend/cpu/vec.inc"
#include "backend/cpu/gemm.inc"
#include "backend/cpu/activation.inc"
#include "backend/cpu/softmax.inc"
#include "backend/cpu/random.inc"
#include "backend/cpu/norm.inc"
#include "backend/cpu/rows.inc"
#include "backend/cpu/optim.inc"
#include "backend/cpu/table.inc"
#include "backend/cpu/vec_end.inc"
#endif
