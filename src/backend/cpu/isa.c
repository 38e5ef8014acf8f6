#include "backend/cpu/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[CPU_ISA_COUNT] = {"base", "avx2", "avx512", "avx512_bf16"};

const char *cpu_isa_name(enum cpu_isa isa)
{
    return names[isa];
}

#if defined(__x86_64__)

/* State components the operating system saves: a CPU feature without its register state is unusable. */
static unsigned enabled_state(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

enum { STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 };

enum cpu_isa cpu_isa_machine(void)
{
    unsigned a, b, c, d, state = enabled_state();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || (state & STATE_AVX) != STATE_AVX)
        return CPU_BASE;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2))
        return CPU_BASE;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((b & avx512) != avx512 || (state & STATE_AVX512) != STATE_AVX512)
        return CPU_AVX2;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5))
        return CPU_AVX512_BF16;
    return CPU_AVX512;
}

bool cpu_has_amx_bf16(void)
{
    unsigned a, b, c, d;
    return (enabled_state() & STATE_AMX) == STATE_AMX && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 22) &&
           (d & 1u << 24);
}

void cpu_model_name(char *text, int bytes)
{
    unsigned words[13] = {0};
    if (__get_cpuid(0x80000000u, &words[0], &words[1], &words[2], &words[3]) && words[0] >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
        words[12] = 0;
        const char *name = (const char *)words;
        snprintf(text, (size_t)bytes, "%s", name + strspn(name, " "));
        for (size_t length = strlen(text); length && text[length - 1] == ' '; length--)
            text[length - 1] = 0;
    } else {
        snprintf(text, (size_t)bytes, "CPU");
    }
}

#else

enum cpu_isa cpu_isa_machine(void)
{
    return CPU_BASE;
}
bool cpu_has_amx_bf16(void)
{
    return false;
}
void cpu_model_name(char *text, int bytes)
{
    snprintf(text, (size_t)bytes, "CPU");
}

#endif

vt_status cpu_isa_select(enum cpu_isa *isa)
{
    enum cpu_isa machine = cpu_isa_machine();
    const char *wish = getenv("VT_CPU_ISA");
    if (!wish || !*wish) {
        *isa = machine;
        return VT_OK;
    }
    for (int i = 0; i < CPU_ISA_COUNT; i++) {
        if (strcmp(wish, names[i]) != 0)
            continue;
        if ((enum cpu_isa)i > machine)
            return VT_FAIL(VT_E_UNSUPPORTED, "VT_CPU_ISA=%s: this machine has %s at best", wish, names[machine]);
        *isa = (enum cpu_isa)i;
        return VT_OK;
    }
    return VT_FAIL(VT_E_USAGE, "VT_CPU_ISA=%s: expected base, avx2, avx512 or avx512_bf16", wish);
}
