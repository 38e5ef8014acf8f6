/* The instruction-set levels the kernels are built for, and the one in use: the best of this machine, or a lower one by
 * VT_CPU_ISA (base | avx2 | avx512 | avx512_bf16), which is how tests reach every level on one machine. */
#ifndef VT_BACKEND_CPU_ISA_H
#define VT_BACKEND_CPU_ISA_H

#include <stdbool.h>

#include "base/status.h"

enum cpu_isa {
    CPU_BASE,        /* what the compiler emits for plain C (SSE2 on x86-64) */
    CPU_AVX2,        /* AVX2 + FMA */
    CPU_AVX512,      /* F, BW, DQ, VL */
    CPU_AVX512_BF16, /* + vdpbf16ps */
    CPU_ISA_COUNT
};

const char *cpu_isa_name(enum cpu_isa isa);
/* The best level of this machine. */
enum cpu_isa cpu_isa_machine(void);
/* True when the machine has AMX bf16 tiles (used through oneDNN). */
bool cpu_has_amx_bf16(void);
/* The machine's level, lowered by VT_CPU_ISA. VT_E_USAGE for an unknown name, VT_E_UNSUPPORTED for one above the
 * machine. */
VT_MUST_CHECK vt_status cpu_isa_select(enum cpu_isa *isa);
/* The processor's own name ("AMD EPYC ..."), or "CPU". */
void cpu_model_name(char *text, int bytes);

#endif
