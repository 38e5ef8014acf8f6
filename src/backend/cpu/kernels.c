#include "backend/cpu/kernels.h"

#include <stddef.h>

const struct cpu_kernels *cpu_kernels_of(enum cpu_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case CPU_AVX512_BF16:
        return &cpu_kernels_avx512_bf16;
    case CPU_AVX512:
        return &cpu_kernels_avx512;
    case CPU_AVX2:
        return &cpu_kernels_avx2;
#endif
    case CPU_BASE:
        return &cpu_kernels_base;
    default:
        return NULL;
    }
}
