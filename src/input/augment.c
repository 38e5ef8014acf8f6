#include "input/augment.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/philox.h"
#include "base/stage.h"

static const double RATIO_MIN = 3.0 / 4.0, RATIO_MAX = 4.0 / 3.0;
enum { CROP_TRIES = 10 };

/* A config value such as 0.08 is kept as a float; the published formulas use the double of the same decimal. */
static double decimal(float value)
{
    return rint((double)value * 1e6) / 1e6;
}

struct augment_scratch {
    struct image decoded, resized;
};

/* torchvision.transforms.RandomResizedCrop.get_params, draw by draw; Python's round() is half-to-even, as rint(). */
static struct image_rect random_resized_crop(const struct augment_desc *desc, int width, int height, uint64_t seed,
                                             uint64_t position)
{
    const double area = (double)width * height, log_min = log(RATIO_MIN), log_max = log(RATIO_MAX);
    const double scale_min = decimal(desc->scale_min), scale_max = decimal(desc->scale_max);
    for (uint32_t try = 0; try < 4 * CROP_TRIES; try += 4) {
        double share = draw_uniform53(seed, DRAW_CROP, position, try);
        double target = area * (scale_min + (scale_max - scale_min) * share);
        double ratio = exp(log_min + (log_max - log_min) * draw_uniform53(seed, DRAW_CROP, position, try + 1));
        int w = (int)rint(sqrt(target * ratio)), h = (int)rint(sqrt(target / ratio));
        if (w < 1 || w > width || h < 1 || h > height)
            continue;
        return (struct image_rect){
            .y = (int)draw_below(seed, DRAW_CROP, position, try + 2, (uint64_t)(height - h) + 1),
            .x = (int)draw_below(seed, DRAW_CROP, position, try + 3, (uint64_t)(width - w) + 1),
            .width = w,
            .height = h,
        };
    }
    int w = width, h = height;
    if ((double)width / height < RATIO_MIN)
        h = (int)rint(width / RATIO_MIN);
    else if ((double)width / height > RATIO_MAX)
        w = (int)rint(height * RATIO_MAX);
    return (struct image_rect){.x = (width - w) / 2, .y = (height - h) / 2, .width = w, .height = h};
}

/* timm's evaluation: torchvision Resize(floor(size / fraction)) of the short side (the long one is truncated), then
 * CenterCrop, which rounds half to even. */
static void centre_crop(const struct augment_desc *desc, int width, int height, int image_size,
                        struct augment_draw *draw)
{
    int64_t short_side = (int64_t)floor(image_size / decimal(desc->crop_fraction));
    int64_t long_side = short_side * (width > height ? width : height) / (width > height ? height : width);
    draw->resized_width = (int)(width > height ? long_side : short_side);
    draw->resized_height = (int)(width > height ? short_side : long_side);
    draw->left = (int)rint((draw->resized_width - image_size) / 2.0);
    draw->top = (int)rint((draw->resized_height - image_size) / 2.0);
}

void augment_draw(const struct augment_desc *desc, int width, int height, int image_size, uint64_t seed,
                  uint64_t position, struct augment_draw *draw)
{
    VT_CHECK(width > 0 && height > 0 && image_size > 0);
    *draw = (struct augment_draw){
        .source = {.width = width, .height = height}, .resized_width = image_size, .resized_height = image_size};
    switch (desc->crop) {
    case CROP_NONE:
        break;
    case CROP_RANDOM_RESIZED:
        draw->source = random_resized_crop(desc, width, height, seed, position);
        break;
    case CROP_PADDED: {
        uint64_t places = 2 * (uint64_t)desc->pad + 1;
        draw->top = (int)draw_below(seed, DRAW_CROP, position, 0, places) - desc->pad;
        draw->left = (int)draw_below(seed, DRAW_CROP, position, 1, places) - desc->pad;
        break;
    }
    case CROP_CENTRE:
        centre_crop(desc, width, height, image_size, draw);
        break;
    }
    draw->flip = desc->flip > 0 && draw_uniform(seed, DRAW_FLIP, position, 0) < desc->flip;
}

struct augment_scratch *augment_scratch_new(void)
{
    return calloc(1, sizeof(struct augment_scratch));
}

void augment_scratch_free(struct augment_scratch **scratch)
{
    if (!*scratch)
        return;
    image_close(&(*scratch)->decoded);
    image_close(&(*scratch)->resized);
    free(*scratch);
    *scratch = NULL;
}

/* Row or column `i` of the picture, reflected at the edges without repeating them; -1 = zero padding. */
static int padded_index(int i, int size, bool reflect)
{
    if (i >= 0 && i < size)
        return i;
    if (!reflect)
        return -1;
    return i < 0 ? -i : 2 * (size - 1) - i;
}

static void pad_pixels(const uint8_t *source, int width, int left, bool reflect, int channels, int begin, int end,
                       uint8_t *out)
{
    for (int x = begin; x < end; x++) {
        int from = padded_index(left + x, width, reflect);
        for (int c = 0; c < channels; c++)
            out[x * channels + c] = from < 0 ? 0 : source[from * channels + c];
    }
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

static void copy_row(const uint8_t *source, int width, int left, bool reflect, int image_size, int channels,
                     uint8_t *out)
{
    int begin = clamp(-left, 0, image_size), end = clamp(width - left, begin, image_size);
    pad_pixels(source, width, left, reflect, channels, 0, begin, out);
    if (end > begin)
        memcpy(out + begin * channels, source + (left + begin) * channels, (size_t)(end - begin) * (size_t)channels);
    pad_pixels(source, width, left, reflect, channels, end, image_size, out);
}

/* The output square of `picture` at (left, top). */
static void cut_square(const struct image *picture, int left, int top, bool reflect, int image_size, uint8_t *out)
{
    size_t row_bytes = (size_t)image_size * (size_t)picture->channels;
    size_t stride = (size_t)picture->width * (size_t)picture->channels;
    bool whole_rows = left >= 0 && left + image_size <= picture->width;
    for (int y = 0; y < image_size; y++, out += row_bytes) {
        int from = padded_index(top + y, picture->height, reflect);
        const uint8_t *row = picture->pixels + (size_t)(from < 0 ? 0 : from) * stride;
        if (from < 0)
            memset(out, 0, row_bytes);
        else if (whole_rows)
            memcpy(out, row + (size_t)left * (size_t)picture->channels, row_bytes);
        else
            copy_row(row, picture->width, left, reflect, image_size, picture->channels, out);
    }
}

/* The last stage of a sample may write its picture straight into the slot: an image over the slot's memory, which
 * image_resize_storage keeps because it is exactly large enough. */
static struct image image_over(uint8_t *pixels, int image_size, int channels)
{
    return (struct image){.pixels = pixels, .capacity = (size_t)image_size * (size_t)image_size * (size_t)channels};
}

static vt_status decode_source(const struct augment_draw *draw, const uint8_t *bytes, size_t size, int channels,
                               bool part, struct image *out)
{
    if (part)
        return image_decode_region(bytes, size, channels, draw->source, out);
    VT_TRY(image_decode(bytes, size, channels, out));
    if (out->width != draw->source.width || out->height != draw->source.height)
        return VT_FAIL(VT_E_FORMAT, "image is %d x %d, expected %d x %d", out->width, out->height, draw->source.width,
                       draw->source.height);
    return VT_OK;
}

vt_status augment_run(const struct augment_desc *desc, const struct augment_draw *draw, const uint8_t *bytes,
                      size_t size, int image_size, int channels, struct augment_scratch *scratch, uint8_t *out,
                      double *decode_ms, double *augment_ms)
{
    const struct image_rect *source = &draw->source;
    bool resize = source->width != draw->resized_width || source->height != draw->resized_height;
    bool cut =
        draw->left != 0 || draw->top != 0 || draw->resized_width != image_size || draw->resized_height != image_size;
    struct image last = image_over(out, image_size, channels);
    struct image *decoded = &scratch->decoded, *resized = cut ? &scratch->resized : &last;

    VT_CHECK(!desc->pad_reflect || desc->pad < image_size);
    int64_t start_ns = clock_ns();
    enum stage before = stage_enter(STAGE_DECODE);
    vt_status status = decode_source(draw, bytes, size, channels, desc->crop == CROP_RANDOM_RESIZED, decoded);
    int64_t decoded_ns = clock_ns();
    *decode_ms += (double)(decoded_ns - start_ns) * 1e-6;
    stage_enter(STAGE_AUGMENT);
    if (status == VT_OK && resize) {
        struct image_box whole = {.right = (float)source->width, .bottom = (float)source->height};
        status = image_resize(decoded, whole, desc->filter, draw->resized_width, draw->resized_height, resized);
    }
    if (status == VT_OK && (cut || !resize))
        cut_square(resize ? resized : decoded, draw->left, draw->top, desc->pad_reflect, image_size, out);
    VT_CHECK(last.pixels == out);
    if (status == VT_OK && draw->flip) {
        last.width = last.height = image_size;
        last.channels = channels;
        image_flip_horizontal(&last);
    }
    *augment_ms += (double)(clock_ns() - decoded_ns) * 1e-6;
    stage_enter(before);
    return status;
}
