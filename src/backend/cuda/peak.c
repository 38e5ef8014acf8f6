#include "backend/cuda/peak.h"

#include <stddef.h>
#include <string.h>

/* NVIDIA's datasheets, without sparsity. The first row whose words are all in the name counts: variants before their
 * family. */
static const struct {
    const char *word, *variant;
    double teraflops;
} PEAKS[] = {
    {"H100", "PCIe", 756},   {"H100", "NVL", 835}, {"H100", "", 989.4}, {"H800", "PCIe", 756}, {"H800", "", 989.4},
    {"H200", "NVL", 835},    {"GH200", "", 989.4}, {"H200", "", 989.4}, {"GB200", "", 2500},   {"B200", "", 2250},
    {"A100", "", 312},       {"A800", "", 312},    {"A30", "", 165},    {"A40", "", 149.7},    {"L40S", "", 362},
    {"RTX 4090", "", 165.2}, {"RTX 3090", "", 71},
};

double cuda_peak_flops(const char *name)
{
    for (size_t i = 0; i < sizeof PEAKS / sizeof *PEAKS; i++)
        if (strstr(name, PEAKS[i].word) && strstr(name, PEAKS[i].variant))
            return PEAKS[i].teraflops * 1e12;
    return 0;
}
