/* Pixels: u8, row-major HWC, channels 1 (grey) or 3 (RGB). All bytes given to the decoders are untrusted. */
#ifndef VT_IMAGE_IMAGE_H
#define VT_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum codec { CODEC_NONE = 0, CODEC_JPEG = 1, CODEC_PNG = 2, CODEC_PNM = 3 }; /* values are stored in the index */

enum { IMAGE_MAX_SIDE = 65500, IMAGE_MAX_PIXELS = 200 * 1000 * 1000 };

struct image {
    int width, height, channels;
    uint8_t *pixels; /* height*width*channels, owned: image_close frees; a reused image keeps its capacity */
    size_t capacity;
};

struct image_info {
    enum codec codec;
    int width, height, channels;       /* channels as stored: 1, 3, 4 (RGBA, CMYK); 2 = grey + alpha */
    int progressive, exif_orientation; /* 0 when unknown */
};

struct image_rect {
    int x, y, width, height;
};

void image_close(struct image *image);
/* Make room for width x height x channels; keeps the allocation when it is large enough. */
VT_MUST_CHECK vt_status image_resize_storage(struct image *image, int width, int height, int channels);

/* Codec by magic bytes; CODEC_NONE when unknown. */
enum codec image_codec(const uint8_t *bytes, size_t size);
const char *image_codec_extension(enum codec codec); /* "jpg", "png", "pgm" */
/* Header only: no pixel is decoded. */
VT_MUST_CHECK vt_status image_probe(const uint8_t *bytes, size_t size, struct image_info *info);
/* Whole image as `channels` (1 or 3): grey is replicated, RGB to grey by ITU-R 601 luma as PIL's "L"
 * ((19595 R + 38470 G + 7471 B + 0x8000) >> 16); alpha is dropped; CMYK (Adobe inverted) to RGB by r = k*c/255. EXIF
 * orientation is ignored. */
VT_MUST_CHECK vt_status image_decode(const uint8_t *bytes, size_t size, int channels, struct image *out);
/* Only `rect` of the image (inside its bounds); bit-equal to cropping the whole decode. JPEG skips what it can. */
VT_MUST_CHECK vt_status image_decode_region(const uint8_t *bytes, size_t size, int channels, struct image_rect rect,
                                            struct image *out);

/* As image_decode; *warnings counts what the decoder complained about and went on (always 0 but for JPEG). */
VT_MUST_CHECK vt_status image_decode_strict(const uint8_t *bytes, size_t size, int channels, struct image *out,
                                            int *warnings);

enum filter { FILTER_BILINEAR, FILTER_BICUBIC };
/* Antialiased separable resize of `box` (float, source pixels) of src to width x height: bit-equal to PIL's
 * Image.resize((w, h), filter, box=box): horizontal first, 8-bit in between, 22-bit coefficients, bicubic a = -0.5.
 * (Pillow 3.3 to 12; Pillow 13 runs the vertical pass first on some tall images, which rounds differently.)
 * dst must not alias src. Scratch memory is kept per thread. */
struct image_box {
    float left, top, right, bottom;
};
VT_MUST_CHECK vt_status image_resize(const struct image *src, struct image_box box, enum filter filter, int width,
                                     int height, struct image *dst);
void image_flip_horizontal(struct image *image);

/* Encoders, for pack, preview and tests. *bytes is malloc'ed; the caller frees. */
VT_MUST_CHECK vt_status image_encode_png(const struct image *image, uint8_t **bytes, size_t *size);
VT_MUST_CHECK vt_status image_encode_pnm(const struct image *image, uint8_t **bytes, size_t *size);
/* The header of a binary PNM (P5 or P6, 8 bit); returns its length. */
enum { IMAGE_PNM_HEADER_BYTES = 40 };
size_t image_pnm_header(int width, int height, int channels, char text[IMAGE_PNM_HEADER_BYTES]);
VT_MUST_CHECK vt_status image_encode_jpeg(const struct image *image, int quality, uint8_t **bytes, size_t *size);

#endif
