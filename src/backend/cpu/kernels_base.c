/* The kernels at level base (plain C: any machine). */
#include "backend/cpu/kernels.h"

#define VEC_LEVEL 0
#define VEC_TABLE cpu_kernels_base
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
