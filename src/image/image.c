#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "image/codec.h"

void image_close(struct image *image)
{
    if (!image)
        return;
    free(image->pixels);
    memset(image, 0, sizeof *image);
}

vt_status image_resize_storage(struct image *image, int width, int height, int channels)
{
    VT_CHECK(width > 0 && height > 0 && channels >= 1 && channels <= 4);
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    if (bytes > image->capacity) {
        uint8_t *pixels = malloc(bytes);
        if (!pixels)
            return VT_FAIL(VT_E_MEMORY, "no memory for an image of %d x %d x %d", width, height, channels);
        free(image->pixels);
        image->pixels = pixels;
        image->capacity = bytes;
    }
    image->width = width;
    image->height = height;
    image->channels = channels;
    return VT_OK;
}

enum codec image_codec(const uint8_t *bytes, size_t size)
{
    static const uint8_t png_magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
        return CODEC_JPEG;
    if (size >= 8 && !memcmp(bytes, png_magic, 8))
        return CODEC_PNG;
    if (size >= 3 && bytes[0] == 'P' && strchr("2356", bytes[1]) && bytes[1] && strchr(" \t\r\n#", bytes[2]) &&
        bytes[2])
        return CODEC_PNM;
    return CODEC_NONE;
}

const char *image_codec_extension(enum codec codec)
{
    switch (codec) {
    case CODEC_JPEG:
        return "jpg";
    case CODEC_PNG:
        return "png";
    case CODEC_PNM:
        return "pgm";
    case CODEC_NONE:
        break;
    }
    return "bin";
}

static vt_status fail_unknown(const uint8_t *bytes, size_t size)
{
    if (size < 4)
        return VT_FAIL(VT_E_FORMAT, "not an image: %zu bytes", size);
    return VT_FAIL(VT_E_FORMAT,
                   "not an image: starts with %02x %02x %02x %02x, expected JPEG, PNG or PNM (P2 P3 P5 P6)", bytes[0],
                   bytes[1], bytes[2], bytes[3]);
}

vt_status image_check_size(const char *what, uint64_t width, uint64_t height)
{
    if (width == 0 || height == 0)
        return VT_FAIL(VT_E_FORMAT, "%s: empty image of %llu x %llu", what, (unsigned long long)width,
                       (unsigned long long)height);
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return VT_FAIL(VT_E_LIMIT, "%s: %llu x %llu pixels are more than the limit of %d per side, %d in all", what,
                       (unsigned long long)width, (unsigned long long)height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
    return VT_OK;
}

vt_status image_check_rect(const struct image_rect *rect, int width, int height)
{
    if (rect->width < 1 || rect->height < 1 || rect->x < 0 || rect->y < 0 || rect->x > width - rect->width ||
        rect->y > height - rect->height)
        return VT_FAIL(VT_E_USAGE, "region %d,%d %d x %d is not inside the image of %d x %d", rect->x, rect->y,
                       rect->width, rect->height, width, height);
    return VT_OK;
}

void image_convert_row(const uint8_t *src, int from, uint8_t *dst, int to, size_t count)
{
    if (from == to) {
        memcpy(dst, src, count * (size_t)from);
    } else if (from == 1) {
        for (size_t i = 0; i < count; i++)
            dst[3 * i] = dst[3 * i + 1] = dst[3 * i + 2] = src[i];
    } else {
        for (size_t i = 0; i < count; i++)
            dst[i] =
                (uint8_t)((19595u * src[3 * i] + 38470u * src[3 * i + 1] + 7471u * src[3 * i + 2] + 0x8000u) >> 16);
    }
}

vt_status image_probe(const uint8_t *bytes, size_t size, struct image_info *info)
{
    memset(info, 0, sizeof *info);
    switch (image_codec(bytes, size)) {
    case CODEC_JPEG:
        return jpeg_probe(bytes, size, info);
    case CODEC_PNG:
        return png_probe(bytes, size, info);
    case CODEC_PNM:
        return pnm_probe(bytes, size, info);
    case CODEC_NONE:
        break;
    }
    return fail_unknown(bytes, size);
}

static vt_status decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect,
                        struct image *out, int *warnings)
{
    VT_CHECK(channels == 1 || channels == 3);
    switch (image_codec(bytes, size)) {
    case CODEC_JPEG:
        return jpeg_decode(bytes, size, channels, rect, out, warnings);
    case CODEC_PNG:
        return png_decode(bytes, size, channels, rect, out);
    case CODEC_PNM:
        return pnm_decode(bytes, size, channels, rect, out);
    case CODEC_NONE:
        break;
    }
    return fail_unknown(bytes, size);
}

vt_status image_decode(const uint8_t *bytes, size_t size, int channels, struct image *out)
{
    return decode(bytes, size, channels, NULL, out, NULL);
}

vt_status image_decode_region(const uint8_t *bytes, size_t size, int channels, struct image_rect rect,
                              struct image *out)
{
    return decode(bytes, size, channels, &rect, out, NULL);
}

vt_status image_decode_strict(const uint8_t *bytes, size_t size, int channels, struct image *out, int *warnings)
{
    *warnings = 0;
    return decode(bytes, size, channels, NULL, out, warnings);
}

void image_flip_horizontal(struct image *image)
{
    size_t channels = (size_t)image->channels, row_bytes = (size_t)image->width * channels;
    for (int y = 0; y < image->height; y++) {
        uint8_t *left = image->pixels + (size_t)y * row_bytes, *right = left + row_bytes - channels;
        for (; left < right; left += channels, right -= channels)
            for (size_t c = 0; c < channels; c++) {
                uint8_t kept = left[c];
                left[c] = right[c];
                right[c] = kept;
            }
    }
}
