/* PNM writing. The JPEG and PNG encoders live beside their decoders: one file per vendor library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "image/image.h"

size_t image_pnm_header(int width, int height, int channels, char text[IMAGE_PNM_HEADER_BYTES])
{
    int n = snprintf(text, IMAGE_PNM_HEADER_BYTES, "P%c\n%d %d\n255\n", channels == 1 ? '5' : '6', width, height);
    VT_CHECK(n > 0 && n < IMAGE_PNM_HEADER_BYTES);
    return (size_t)n;
}

vt_status image_encode_pnm(const struct image *image, uint8_t **bytes, size_t *size)
{
    VT_CHECK(image->channels == 1 || image->channels == 3);
    char header[IMAGE_PNM_HEADER_BYTES];
    size_t header_bytes = image_pnm_header(image->width, image->height, image->channels, header);
    size_t pixels = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    uint8_t *out = malloc(header_bytes + pixels);
    if (!out)
        return VT_FAIL(VT_E_MEMORY, "PNM encoder: no memory for %d x %d pixels", image->width, image->height);
    memcpy(out, header, header_bytes);
    memcpy(out + header_bytes, image->pixels, pixels);
    *bytes = out;
    *size = header_bytes + pixels;
    return VT_OK;
}
