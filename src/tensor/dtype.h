/* Element types and the float <-> bf16 rounding every room agrees on (round to nearest even). */
#ifndef VT_TENSOR_DTYPE_H
#define VT_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_U8, DTYPE_I32, DTYPE_I64, DTYPE_F64, DTYPE_COUNT };

size_t dtype_bytes(enum dtype dtype);
const char *dtype_name(enum dtype dtype); /* "fp32", "bf16", ... */

typedef uint16_t bf16_t; /* the bits */

static inline float bf16_to_float(bf16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static inline bf16_t bf16_from_float(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffffu) > 0x7f800000u)
        return (bf16_t)(word >> 16 | 0x40u); /* NaN stays NaN */
    return (bf16_t)((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}

#endif
