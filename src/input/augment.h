/* From image bytes to final u8 HWC pixels: crop, resize, flip. Pure: draws are keyed by (seed, stream position). */
#ifndef VT_INPUT_AUGMENT_H
#define VT_INPUT_AUGMENT_H

#include <stdint.h>

#include "base/status.h"
#include "dataset/dataset.h"
#include "image/image.h"

enum crop_kind {
    CROP_NONE,           /* resize straight to the square (squash); nothing at all when sizes agree */
    CROP_RANDOM_RESIZED, /* timm/torchvision RandomResizedCrop: area scale_min..scale_max, ratio 3/4..4/3 */
    CROP_PADDED, /* pad by `pad` (zeros, or reflect), then a random crop of the image's own size (resized before) */
    CROP_CENTRE  /* evaluation: short side to image_size / crop_fraction, centre crop */
};

struct augment_desc {
    enum crop_kind crop;
    float scale_min, scale_max;
    int pad;
    int pad_reflect;
    float crop_fraction;
    float flip; /* probability of a horizontal flip */
    enum filter filter;
    /* Mixup, CutMix and random erasing are not here: they belong to the op patchify (backend/ops.h, patchify_mix), and
     * nothing draws their arguments yet. */
};

enum { AUGMENT_TEXT_BYTES = 128 }; /* enough for any augment_format */

/* Parse `data.transform`: a big_vision-style line of steps, "rrc(0.08,1)|flip(0.5)", "pad_crop(4)|flip", "squash",
 * "centre(0.875)", optional "|bicubic" or "|bilinear" (default bicubic). Also "pad_crop(4,reflect)"; bare "rrc",
 * "flip", "centre" take (0.08,1), (0.5), (0.875). "auto" is not accepted here. VT_E_USAGE names the step. */
VT_MUST_CHECK vt_status augment_parse(const char *text, struct augment_desc *desc);
/* The line that parses to `desc`. */
void augment_format(const struct augment_desc *desc, char *text, size_t bytes);
/* VT_E_USAGE when desc cannot make pictures of this size (reflect padding not smaller than the picture). */
VT_MUST_CHECK vt_status augment_check(const struct augment_desc *desc, int image_size);

/* The draws of one sample, for tests and hashes: `source` is decoded and resized, as a picture of its own, to
 * resized_width x resized_height; the output square is cut from that at (left, top); what lies outside is padding. */
struct augment_draw {
    struct image_rect source;
    int resized_width, resized_height;
    int left, top;
    int flip;
};
/* width, height >= 1: the whole image. RandomResizedCrop try t takes uniforms 4t (area), 4t+1 (ratio) and integers 4t+2
 * (top), 4t+3 (left) of (seed, DRAW_CROP, position); the padded crop integers 0 (top) and 1 (left). */
void augment_draw(const struct augment_desc *desc, int width, int height, int image_size, uint64_t seed,
                  uint64_t position, struct augment_draw *draw);

struct augment_scratch; /* per thread */

struct augment_scratch *augment_scratch_new(void); /* NULL: out of memory */
void augment_scratch_free(struct augment_scratch **scratch);
/* Decode `bytes` and write image_size x image_size x channels pixels to out. decode_ms/augment_ms are added to.
 * Allocates nothing once the scratch has seen the largest picture. VT_E_FORMAT, VT_E_LIMIT, VT_E_UNSUPPORTED: a bad
 * sample; out is then unspecified. */
VT_MUST_CHECK vt_status augment_run(const struct augment_desc *desc, const struct augment_draw *draw,
                                    const uint8_t *bytes, size_t size, int image_size, int channels,
                                    struct augment_scratch *scratch, uint8_t *out, double *decode_ms,
                                    double *augment_ms);

#endif
