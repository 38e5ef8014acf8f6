/* make_jpegs DIR COUNT: an image folder of JPEGs as large as ImageNet's (500 x 375, some 100 KB), in ten classes, for timing the
 * whole way from shards to the device. What is on them does not matter; that they are no easier to decode does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/philox.h"
#include "image/image.h"

enum { WIDTH = 500, HEIGHT = 375, CLASSES = 10, QUALITY = 92, GRAIN_BITS = 5 };

/* Soft waves, an edge, and grain. */
static void paint(struct image *image, int number)
{
    double phase = number * 0.7, tilt = 0.2 + 0.05 * (number % 7);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            bool inside = hypot(x - 250 - 9 * (number % 11), y - 190) < 60 + 5 * (number % 13);
            uint32_t grain = (uint32_t)draw_below(3, 99, (uint64_t)number, (uint32_t)(y * WIDTH + x), 1u << 3 * GRAIN_BITS);
            for (int c = 0; c < 3; c++) {
                double wave = sin(0.021 * x * (1 + c * 0.3) + phase) * cos(0.033 * y + tilt * x * 0.05) * 70;
                double value = 128 + wave + (inside ? 45 : 0) + (double)(grain >> c * GRAIN_BITS & ((1 << GRAIN_BITS) - 1)) - 16;
                image->pixels[(y * WIDTH + x) * 3 + c] = (uint8_t)fmin(255, fmax(0, value));
            }
        }
}

static vt_status write_one(const char *dir, struct image *image, int number)
{
    char folder[3000], path[3200];
    uint8_t *bytes = NULL;
    size_t size;
    snprintf(folder, sizeof folder, "%.2900s/class-%d", dir, number % CLASSES);
    VT_TRY(file_make_dirs(folder));
    snprintf(path, sizeof path, "%s/%06d.jpg", folder, number);
    paint(image, number);
    VT_TRY(image_encode_jpeg(image, QUALITY, &bytes, &size));
    vt_status status = file_write_atomic(path, bytes, size);
    free(bytes);
    return status;
}

int main(int argc, char **argv)
{
    struct image image = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: %s DIR COUNT\n", argv[0]);
        return 2;
    }
    vt_status status = image_resize_storage(&image, WIDTH, HEIGHT, 3);
    for (int i = 0; i < atoi(argv[2]) && status == VT_OK; i++)
        status = write_one(argv[1], &image, i);
    if (status != VT_OK)
        fprintf(stderr, "%s\n", status_message());
    image_close(&image);
    return status != VT_OK;
}
