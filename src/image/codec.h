/* Inside image/: what each codec file gives to image.c. Pixels come out as stored (1 or 3 channels after the codec's
 * own conversion: palette to RGB, CMYK to RGB, alpha dropped, 16 bit to 8); image.c turns them into what the caller
 * asked. */
#ifndef VT_IMAGE_CODEC_H
#define VT_IMAGE_CODEC_H

#include "image/image.h"

/* Refuse sizes above the caps; `what` names the codec. */
VT_MUST_CHECK vt_status image_check_size(const char *what, uint64_t width, uint64_t height);
/* One row: `from` channels (1 or 3) at src to `to` channels at dst; `count` pixels. dst may not alias src. */
void image_convert_row(const uint8_t *src, int from, uint8_t *dst, int to, size_t count);

VT_MUST_CHECK vt_status jpeg_probe(const uint8_t *bytes, size_t size, struct image_info *info);
/* rect is inside the image, or NULL for all of it. *warnings (may be NULL) counts libjpeg's complaints. */
VT_MUST_CHECK vt_status jpeg_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect,
                                    struct image *out, int *warnings);
VT_MUST_CHECK vt_status png_probe(const uint8_t *bytes, size_t size, struct image_info *info);
VT_MUST_CHECK vt_status png_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect,
                                   struct image *out);
VT_MUST_CHECK vt_status pnm_probe(const uint8_t *bytes, size_t size, struct image_info *info);
VT_MUST_CHECK vt_status pnm_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect,
                                   struct image *out);
/* rect inside width x height and not empty. */
VT_MUST_CHECK vt_status image_check_rect(const struct image_rect *rect, int width, int height);

#endif
