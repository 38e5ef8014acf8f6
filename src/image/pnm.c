/* Portable anymaps: P2/P5 (grey) and P3/P6 (RGB), text and binary, 8 and 16 bit. Small and without state: the fastest
 * thing to decode, so packed raw datasets (IDX) are stored as P5. */
#include <string.h>

#include "image/codec.h"

struct pnm {
    int width, height, channels, max_value, text;
    const uint8_t *at, *end; /* the raster */
};

static int is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Next unsigned number, past white space and # comments; -1 at the end of the data or on anything else. */
static long next_number(const uint8_t **at, const uint8_t *end, long limit)
{
    const uint8_t *p = *at;
    while (p < end && (is_space(*p) || *p == '#')) {
        if (*p == '#')
            while (p < end && *p != '\n')
                p++;
        else
            p++;
    }
    if (p >= end || *p < '0' || *p > '9')
        return -1;
    long value = 0;
    while (p < end && *p >= '0' && *p <= '9' && value <= limit)
        value = value * 10 + (*p++ - '0');
    *at = p;
    return value <= limit ? value : -1;
}

static vt_status parse_header(const uint8_t *bytes, size_t size, struct pnm *pnm)
{
    const uint8_t *at = bytes + 2, *end = bytes + size;
    pnm->channels = bytes[1] == '3' || bytes[1] == '6' ? 3 : 1;
    pnm->text = bytes[1] < '5';
    long width = next_number(&at, end, 1L << 30), height = next_number(&at, end, 1L << 30);
    long max_value = next_number(&at, end, 1L << 30);
    if (width < 0 || height < 0 || max_value < 1 || max_value > 65535 || at >= end || !is_space(*at))
        return VT_FAIL(VT_E_FORMAT, "PNM: damaged header, expected P%c WIDTH HEIGHT MAXVAL (1..65535)", bytes[1]);
    VT_TRY(image_check_size("PNM", (uint64_t)width, (uint64_t)height));
    pnm->width = (int)width;
    pnm->height = (int)height;
    pnm->max_value = (int)max_value;
    pnm->at = at + 1;
    pnm->end = end;
    size_t values = (size_t)width * (size_t)height * (size_t)pnm->channels, left = (size_t)(end - pnm->at);
    size_t needed = pnm->text ? 2 * values - 1 : max_value > 255 ? 2 * values : values;
    if (left < needed)
        return VT_FAIL(VT_E_FORMAT, "PNM: truncated: %zu bytes of pixels, %ld x %ld x %d need %zu", left, width, height,
                       pnm->channels, needed);
    return VT_OK;
}

vt_status pnm_probe(const uint8_t *bytes, size_t size, struct image_info *info)
{
    struct pnm pnm = {0};
    VT_TRY(parse_header(bytes, size, &pnm));
    info->codec = CODEC_PNM;
    info->width = pnm.width;
    info->height = pnm.height;
    info->channels = pnm.channels;
    return VT_OK;
}

static uint8_t scale_value(unsigned value, unsigned max_value)
{
    return (uint8_t)((value > max_value ? max_value : value) * 255u / max_value +
                     ((value > max_value ? max_value : value) * 255u % max_value * 2 >= max_value));
}

/* `count` stored values at value index `first` of a binary raster, as 8 bit. */
static void binary_values(const struct pnm *pnm, size_t first, size_t count, uint8_t *dst)
{
    unsigned max_value = (unsigned)pnm->max_value;
    if (max_value == 255) {
        memcpy(dst, pnm->at + first, count);
    } else if (max_value < 255) {
        for (size_t i = 0; i < count; i++)
            dst[i] = scale_value(pnm->at[first + i], max_value);
    } else {
        const uint8_t *at = pnm->at + 2 * first;
        for (size_t i = 0; i < count; i++)
            dst[i] = scale_value((unsigned)at[2 * i] << 8 | at[2 * i + 1], max_value);
    }
}

/* Rows of a text raster have no fixed place: parse from the top. */
static vt_status text_values(struct pnm *pnm, size_t count, uint8_t *dst)
{
    for (size_t i = 0; i < count; i++) {
        long value = next_number(&pnm->at, pnm->end, pnm->max_value);
        if (value < 0)
            return VT_FAIL(VT_E_FORMAT, "PNM: expected a number of 0..%d in the raster", pnm->max_value);
        if (dst)
            dst[i] = scale_value((unsigned)value, (unsigned)pnm->max_value);
    }
    return VT_OK;
}

static vt_status read_row(struct pnm *pnm, const struct image_rect *rect, int y, uint8_t *dst)
{
    size_t channels = (size_t)pnm->channels, width = (size_t)pnm->width, x = (size_t)rect->x;
    size_t count = (size_t)rect->width * channels;
    if (!pnm->text) {
        binary_values(pnm, ((size_t)y * width + x) * channels, count, dst);
        return VT_OK;
    }
    VT_TRY(text_values(pnm, x * channels, NULL));
    VT_TRY(text_values(pnm, count, dst));
    return text_values(pnm, (width - x) * channels - count, NULL);
}

vt_status pnm_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect, struct image *out)
{
    struct pnm pnm = {0};
    VT_TRY(parse_header(bytes, size, &pnm));
    struct image_rect all = {0, 0, pnm.width, pnm.height};
    rect = rect ? rect : &all;
    VT_TRY(image_check_rect(rect, pnm.width, pnm.height));
    VT_TRY(image_resize_storage(out, rect->width, rect->height, channels));
    if (pnm.text)
        VT_TRY(text_values(&pnm, (size_t)rect->y * (size_t)pnm.width * (size_t)pnm.channels, NULL));
    size_t row_bytes = (size_t)rect->width * (size_t)channels;
    uint8_t row[3 * IMAGE_MAX_SIDE];
    for (int i = 0; i < rect->height; i++) {
        uint8_t *dst = out->pixels + (size_t)i * row_bytes;
        VT_TRY(read_row(&pnm, rect, rect->y + i, pnm.channels == channels ? dst : row));
        if (pnm.channels != channels)
            image_convert_row(row, pnm.channels, dst, channels, (size_t)rect->width);
    }
    return VT_OK;
}
