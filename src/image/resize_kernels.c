/* The inner loops of the resize. AVX2: a 22-bit coefficient k = high * 2^11 + low has both parts in 16 bits, so two
 * multiply-adds (pmaddwd) of pixel pairs give exact 32-bit partial sums; sum = (sum_high << 11) + sum_low modulo 2^32,
 * the scalar sum. */
#include "image/resize.h"

#include <string.h>

#include "base/check.h"

static void scalar_rows(const struct resize_axis *axis, int channels, const uint8_t *const rows[4],
                        uint8_t *const outs[4])
{
    for (int r = 0; r < 4; r++) {
        if (r > 0 && outs[r] == outs[r - 1])
            break;
        for (int i = 0; i < axis->out; i++) {
            const int32_t *k = axis->k + (size_t)i * (size_t)axis->taps;
            const uint8_t *at = rows[r] + (size_t)axis->first[i] * (size_t)channels;
            for (int c = 0; c < channels; c++) {
                int32_t sum = 1 << (RESIZE_BITS - 1);
                for (int t = 0; t < axis->count[i]; t++)
                    sum += at[t * channels + c] * k[t];
                outs[r][i * channels + c] = resize_clip(sum);
            }
        }
    }
}

static void scalar_columns(const struct resize_axis *axis, int i, const uint8_t *src, size_t row_bytes, uint8_t *dst,
                           size_t from)
{
    const int32_t *k = axis->k + (size_t)i * (size_t)axis->taps;
    for (size_t x = from; x < row_bytes; x++) {
        int32_t sum = 1 << (RESIZE_BITS - 1);
        for (int t = 0; t < axis->count[i]; t++)
            sum += src[(size_t)t * row_bytes + x] * k[t];
        dst[x] = resize_clip(sum);
    }
}

static void scalar_column(const struct resize_axis *axis, int i, const uint8_t *src, size_t row_bytes, uint8_t *dst)
{
    scalar_columns(axis, i, src, row_bytes, dst, 0);
}

const struct resize_kernels resize_scalar = {scalar_rows, scalar_column};

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i pair_of(const int16_t *two)
{
    int32_t both;
    memcpy(&both, two, sizeof both);
    return _mm256_set1_epi32(both);
}

AVX2 static inline __m256i finish(__m256i high, __m256i low)
{
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, RESIZE_LOW_BITS), low);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (RESIZE_BITS - 1))), RESIZE_BITS);
}

/* RGB, 2 rows per register (one per 128-bit lane), 4 rows per call, 4 taps = 12 bytes per load. */
AVX2 static void avx2_rows_rgb(const struct resize_axis *axis, const uint8_t *const rows[4], uint8_t *const outs[4])
{
    const __m256i first_pair = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 0, -1, 3, -1,
                                                1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m256i second_pair = _mm256_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1, 6, -1, 9,
                                                 -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    for (int i = 0; i < axis->out; i++) {
        const int16_t *high = axis->high + (size_t)i * (size_t)axis->taps,
                      *low = axis->low + (size_t)i * (size_t)axis->taps;
        size_t offset = (size_t)axis->first[i] * 3;
        __m256i high01 = _mm256_setzero_si256(), low01 = high01, high23 = high01, low23 = high01;
        for (int t = 0; t < axis->count[i]; t += 4, offset += 12) {
            __m256i a =
                _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[0] + offset))),
                                        _mm_loadu_si128((const __m128i *)(rows[1] + offset)), 1);
            __m256i b =
                _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[2] + offset))),
                                        _mm_loadu_si128((const __m128i *)(rows[3] + offset)), 1);
            __m256i k_high = pair_of(high + t), k_low = pair_of(low + t);
            __m256i pixels_a = _mm256_shuffle_epi8(a, first_pair), pixels_b = _mm256_shuffle_epi8(b, first_pair);
            high01 = _mm256_add_epi32(high01, _mm256_madd_epi16(pixels_a, k_high));
            low01 = _mm256_add_epi32(low01, _mm256_madd_epi16(pixels_a, k_low));
            high23 = _mm256_add_epi32(high23, _mm256_madd_epi16(pixels_b, k_high));
            low23 = _mm256_add_epi32(low23, _mm256_madd_epi16(pixels_b, k_low));
            k_high = pair_of(high + t + 2), k_low = pair_of(low + t + 2);
            pixels_a = _mm256_shuffle_epi8(a, second_pair), pixels_b = _mm256_shuffle_epi8(b, second_pair);
            high01 = _mm256_add_epi32(high01, _mm256_madd_epi16(pixels_a, k_high));
            low01 = _mm256_add_epi32(low01, _mm256_madd_epi16(pixels_a, k_low));
            high23 = _mm256_add_epi32(high23, _mm256_madd_epi16(pixels_b, k_high));
            low23 = _mm256_add_epi32(low23, _mm256_madd_epi16(pixels_b, k_low));
        }
        /* Words: rows 0 and 2 in the low lane, 1 and 3 in the high one; then bytes 0-2 and 4-6 of each lane. */
        __m256i words = _mm256_packs_epi32(finish(high01, low01), finish(high23, low23));
        __m256i bytes = _mm256_packus_epi16(words, words);
        uint8_t lanes[32];
        _mm256_storeu_si256((__m256i *)lanes, bytes);
        memcpy(outs[0] + 3 * i, lanes, 3);
        memcpy(outs[1] + 3 * i, lanes + 16, 3);
        memcpy(outs[2] + 3 * i, lanes + 4, 3);
        memcpy(outs[3] + 3 * i, lanes + 20, 3);
    }
}

/* Grey: taps of one output are neighbours; 4 per step and row, one row per lane. */
AVX2 static void avx2_rows_grey(const struct resize_axis *axis, const uint8_t *const rows[4], uint8_t *const outs[4])
{
    for (int i = 0; i < axis->out; i++) {
        const int16_t *high = axis->high + (size_t)i * (size_t)axis->taps,
                      *low = axis->low + (size_t)i * (size_t)axis->taps;
        size_t offset = (size_t)axis->first[i];
        /* Each 64-bit part of a register is a row: 4 taps as words, 2 partial sums. */
        __m256i sum_high = _mm256_setzero_si256(), sum_low = sum_high;
        for (int t = 0; t < axis->count[i]; t += 4, offset += 4) {
            uint32_t four[4];
            for (int r = 0; r < 4; r++)
                memcpy(&four[r], rows[r] + offset, 4);
            __m256i pixels = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)four));
            int64_t k_high, k_low;
            memcpy(&k_high, high + t, 8);
            memcpy(&k_low, low + t, 8);
            sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(pixels, _mm256_set1_epi64x(k_high)));
            sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(pixels, _mm256_set1_epi64x(k_low)));
        }
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sum_high, RESIZE_LOW_BITS), sum_low);
        uint32_t parts[8];
        _mm256_storeu_si256((__m256i *)parts, sum);
        for (int r = 0; r < 4; r++)
            outs[r][i] = resize_clip((int32_t)(parts[2 * r] + parts[2 * r + 1] + (1u << (RESIZE_BITS - 1))));
    }
}

AVX2 static void avx2_rows(const struct resize_axis *axis, int channels, const uint8_t *const rows[4],
                           uint8_t *const outs[4])
{
    if (channels == 3)
        avx2_rows_rgb(axis, rows, outs);
    else
        avx2_rows_grey(axis, rows, outs);
}

/* 32 columns at x: row pairs interleaved to words. */
AVX2 static inline void avx2_column_32(const struct resize_axis *axis, int i, const uint8_t *src, size_t row_bytes,
                                       uint8_t *dst)
{
    const int16_t *high = axis->high + (size_t)i * (size_t)axis->taps,
                  *low = axis->low + (size_t)i * (size_t)axis->taps;
    const __m256i zero = _mm256_setzero_si256();
    __m256i h0 = zero, h1 = zero, h2 = zero, h3 = zero, l0 = zero, l1 = zero, l2 = zero, l3 = zero;
    int count = axis->count[i];
    for (int t = 0; t < count; t += 2, src += 2 * row_bytes) {
        __m256i a = _mm256_loadu_si256((const __m256i *)src);
        __m256i b = t + 1 < count ? _mm256_loadu_si256((const __m256i *)(src + row_bytes)) : zero;
        __m256i low_bytes = _mm256_unpacklo_epi8(a, b), high_bytes = _mm256_unpackhi_epi8(a, b);
        __m256i k_high = pair_of(high + t), k_low = pair_of(low + t);
        __m256i p0 = _mm256_unpacklo_epi8(low_bytes, zero), p1 = _mm256_unpackhi_epi8(low_bytes, zero);
        __m256i p2 = _mm256_unpacklo_epi8(high_bytes, zero), p3 = _mm256_unpackhi_epi8(high_bytes, zero);
        h0 = _mm256_add_epi32(h0, _mm256_madd_epi16(p0, k_high));
        l0 = _mm256_add_epi32(l0, _mm256_madd_epi16(p0, k_low));
        h1 = _mm256_add_epi32(h1, _mm256_madd_epi16(p1, k_high));
        l1 = _mm256_add_epi32(l1, _mm256_madd_epi16(p1, k_low));
        h2 = _mm256_add_epi32(h2, _mm256_madd_epi16(p2, k_high));
        l2 = _mm256_add_epi32(l2, _mm256_madd_epi16(p2, k_low));
        h3 = _mm256_add_epi32(h3, _mm256_madd_epi16(p3, k_high));
        l3 = _mm256_add_epi32(l3, _mm256_madd_epi16(p3, k_low));
    }
    /* The unpacks and packs both work within lanes, so the bytes come back in order. */
    __m256i words0 = _mm256_packs_epi32(finish(h0, l0), finish(h1, l1));
    __m256i words1 = _mm256_packs_epi32(finish(h2, l2), finish(h3, l3));
    _mm256_storeu_si256((__m256i *)dst, _mm256_packus_epi16(words0, words1));
}

AVX2 static void avx2_column(const struct resize_axis *axis, int i, const uint8_t *src, size_t row_bytes, uint8_t *dst)
{
    size_t x = 0;
    for (; x + 32 <= row_bytes; x += 32)
        avx2_column_32(axis, i, src + x, row_bytes, dst + x);
    if (x < row_bytes && row_bytes >= 32) /* the last 32 columns again: same values */
        avx2_column_32(axis, i, src + row_bytes - 32, row_bytes, dst + row_bytes - 32);
    else if (x < row_bytes)
        scalar_columns(axis, i, src, row_bytes, dst, x);
}

static const struct resize_kernels resize_avx2 = {avx2_rows, avx2_column};

const struct resize_kernels *resize_best(void)
{
    return __builtin_cpu_supports("avx2") ? &resize_avx2 : &resize_scalar;
}
#else
const struct resize_kernels *resize_best(void)
{
    return &resize_scalar;
}
#endif
