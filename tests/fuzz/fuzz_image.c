/* FUZZ_ROOMS: image
 * Any bytes to the decoders. What decodes must have the size the header said; a region must equal the crop; a resize
 * must run. Large images are passed over: they are slow, not interesting. */
#include "fuzz.h"

#include "image/image.h"

#include <stdlib.h>
#include <string.h>

enum { PIXELS_MAX = 1 << 18 };

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_region(const uint8_t *bytes, size_t size, const struct image *whole)
{
    struct image part = {0};
    struct image_rect rect = {bytes[size / 2] % whole->width, bytes[size / 3] % whole->height, 1, 1};
    rect.width += bytes[size - 1] % (whole->width - rect.x);
    rect.height += bytes[size - 2] % (whole->height - rect.y);
    if (image_decode_region(bytes, size, whole->channels, rect, &part) == VT_OK) {
        size_t row = (size_t)rect.width * (size_t)whole->channels;
        require(part.width == rect.width && part.height == rect.height);
        for (int y = 0; y < rect.height; y++)
            require(memcmp(part.pixels + (size_t)y * row,
                           whole->pixels +
                               ((size_t)(rect.y + y) * (size_t)whole->width + (size_t)rect.x) * (size_t)whole->channels,
                           row) == 0);
    }
    image_close(&part);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct image_info info;
    struct image whole = {0}, small = {0};
    if (size < 4 || image_probe(bytes, size, &info) != VT_OK || (int64_t)info.width * info.height > PIXELS_MAX)
        return 0;
    int channels = bytes[size - 1] & 1 ? 3 : 1, warnings;
    if (image_decode_strict(bytes, size, channels, &whole, &warnings) == VT_OK) {
        require(whole.width == info.width && whole.height == info.height && whole.channels == channels);
        if (warnings == 0) /* damaged data may come out differently when rows are skipped */
            check_region(bytes, size, &whole);
        struct image_box box = {0, 0, (float)whole.width, (float)whole.height};
        require(image_resize(&whole, box, FILTER_BICUBIC, 17, 13, &small) == VT_OK);
    }
    image_close(&whole);
    image_close(&small);
    return 0;
}
