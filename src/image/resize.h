/* Inside image/: the two passes of the separable resize, scalar (the definition) and AVX2 (the same bits). */
#ifndef VT_IMAGE_RESIZE_H
#define VT_IMAGE_RESIZE_H

#include <stddef.h>
#include <stdint.h>

enum {
    RESIZE_BITS = 22,     /* fraction bits of a coefficient */
    RESIZE_LOW_BITS = 11, /* the AVX2 path splits a coefficient in two 16-bit parts: high * 2^11 + low */
    RESIZE_TAP_ALIGN = 4, /* taps per output are padded with zero coefficients to a multiple of this */
    RESIZE_SLACK = 64     /* bytes that may be read past the end of a source row */
};

/* Taps of one axis: output i = clip8((sum_t k[i][t] * in[first[i] + t] + 2^21) >> 22). */
struct resize_axis {
    int out, taps;       /* taps: allocated per output, zero padded */
    int *first, *count;  /* [out] */
    int32_t *k;          /* [out][taps] */
    int16_t *high, *low; /* [out][taps]: k = high * 2^11 + low, |low| <= 2^10 */
};

/* One call of the horizontal pass: up to 4 rows of `channels` bytes per pixel. Rows may be read up to RESIZE_SLACK
 * bytes past their end by the AVX2 version. */
typedef void resize_rows_fn(const struct resize_axis *axis, int channels, const uint8_t *const rows[4],
                            uint8_t *const outs[4]);
/* Output row i of the vertical pass, row_bytes wide: rows first[i].. of src. */
typedef void resize_column_fn(const struct resize_axis *axis, int i, const uint8_t *src, size_t row_bytes,
                              uint8_t *dst);

struct resize_kernels {
    resize_rows_fn *rows;
    resize_column_fn *column;
};

extern const struct resize_kernels resize_scalar;
/* The fastest kernels of this CPU; resize_scalar when there are none. */
const struct resize_kernels *resize_best(void);
/* For tests: run image_resize on the scalar kernels in this thread. */
void resize_force_scalar(int on);

static inline uint8_t resize_clip(int32_t sum)
{
    int32_t value = sum >> RESIZE_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

#endif
