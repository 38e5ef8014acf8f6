/* The C side of the formulas of vit.py: weights, pixels and labels as functions of (name, element). */
#ifndef VT_GOLDEN_VIT_FORMULA_H
#define VT_GOLDEN_VIT_FORMULA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tensor/params.h"

/* Element i of a name: splitmix64 of FNV-1a(name) + (i + 1) * golden ratio. */
static inline uint64_t formula_hash(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001B3u;
    return h;
}

static inline uint64_t formula_word(uint64_t hash, int64_t element)
{
    uint64_t x = hash + ((uint64_t)element + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline void formula_weights(const struct param *row, float *values)
{
    const char *name = row->name, *last = strrchr(name, '.');
    double scale = 3.5 / sqrt((double)row->count / (double)row->dim[0]), shift = 0;
    if (!last)
        scale = 1; /* cls_token, pos_embed */
    else if (strstr(name, "norm") && strcmp(last, ".weight") == 0)
        scale = 0.4, shift = 1;
    else if (strcmp(last, ".bias") == 0)
        scale = 0.2;
    const uint64_t hash = formula_hash(name);
    for (int64_t e = 0; e < row->count; e++)
        values[e] = (float)(shift + ((double)(formula_word(hash, e) >> 11) * 0x1p-53 - 0.5) * scale);
}

#endif
