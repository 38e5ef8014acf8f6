#include "input/augment.h"

#include "test.h"

#include "golden_draws.h"

enum { SIDE = 12 };

static struct augment_desc parse(const char *text)
{
    struct augment_desc desc;
    ASSERT_OK(augment_parse(text, &desc));
    return desc;
}

static void crops_match_the_published_formula(void)
{
    for (size_t i = 0; i < sizeof GOLDEN_CROPS / sizeof *GOLDEN_CROPS; i++) {
        const struct golden_crop *golden = &GOLDEN_CROPS[i];
        struct augment_desc desc = {
            .crop = CROP_RANDOM_RESIZED, .scale_min = golden->scale_min, .scale_max = 1, .flip = 0.5f};
        struct augment_draw draw;
        augment_draw(&desc, golden->width, golden->height, 224, golden->seed, golden->position, &draw);
        CU_ASSERT_EQUAL(draw.source.x, golden->x);
        CU_ASSERT_EQUAL(draw.source.y, golden->y);
        CU_ASSERT_EQUAL(draw.source.width, golden->w);
        CU_ASSERT_EQUAL(draw.source.height, golden->h);
        CU_ASSERT_EQUAL(draw.flip, golden->flip);
    }
}

static void centre_crops_match_the_published_formula(void)
{
    for (size_t i = 0; i < sizeof GOLDEN_CENTRES / sizeof *GOLDEN_CENTRES; i++) {
        const struct golden_centre *golden = &GOLDEN_CENTRES[i];
        struct augment_desc desc = {.crop = CROP_CENTRE, .crop_fraction = golden->fraction};
        struct augment_draw draw;
        augment_draw(&desc, golden->width, golden->height, golden->size, 1, 2, &draw);
        CU_ASSERT_EQUAL(draw.resized_width, golden->resized_width);
        CU_ASSERT_EQUAL(draw.resized_height, golden->resized_height);
        CU_ASSERT_EQUAL(draw.left, golden->left);
        CU_ASSERT_EQUAL(draw.top, golden->top);
    }
}

/* Mean area share, mean log ratio, flips and places of many crops of a square that almost never falls back. */
static void crops_are_spread_as_they_should(void)
{
    enum { COUNT = 20000, WIDTH = 1000 };
    struct augment_desc desc = parse("rrc(0.08,1)|flip(0.25)");
    double area = 0, log_ratio = 0, flips = 0, place = 0;
    int places = 0;
    for (uint64_t position = 0; position < COUNT; position++) {
        struct augment_draw draw;
        augment_draw(&desc, WIDTH, WIDTH, 224, 3, position, &draw);
        struct image_rect box = draw.source;
        CU_ASSERT_FATAL(box.x >= 0 && box.y >= 0 && box.x + box.width <= WIDTH && box.y + box.height <= WIDTH);
        double share = (double)box.width * box.height / ((double)WIDTH * WIDTH);
        double ratio = (double)box.width / box.height;
        CU_ASSERT_FATAL(share > 0.079 && share <= 1 && ratio > 0.74 && ratio < 1.35);
        area += share;
        log_ratio += log(ratio);
        flips += draw.flip;
        if (box.width < WIDTH) {
            place += (double)box.x / (WIDTH - box.width);
            places++;
        }
    }
    CU_ASSERT_DOUBLE_EQUAL(area / COUNT, 0.4775, 0.008); /* not 0.54: large crops of extreme ratio do not fit */
    CU_ASSERT_DOUBLE_EQUAL(log_ratio / COUNT, 0, 0.01);
    CU_ASSERT_DOUBLE_EQUAL(flips / COUNT, 0.25, 0.0125);
    CU_ASSERT_DOUBLE_EQUAL(place / places, 0.5, 0.01);
}

static void padded_crops_take_every_place(void)
{
    struct augment_desc desc = parse("pad_crop(2)");
    int seen[5][5] = {{0}};
    for (uint64_t position = 0; position < 2500; position++) {
        struct augment_draw draw;
        augment_draw(&desc, 28, 28, 28, 9, position, &draw);
        CU_ASSERT_FATAL(abs(draw.left) <= 2 && abs(draw.top) <= 2);
        CU_ASSERT_EQUAL(draw.flip, 0);
        seen[draw.top + 2][draw.left + 2]++;
    }
    for (int i = 0; i < 25; i++)
        CU_ASSERT(seen[i / 5][i % 5] > 50 && seen[i / 5][i % 5] < 150); /* expected 100, 5 standard deviations */
}

static struct image make_picture(int width, int height, int channels)
{
    struct image picture = {0};
    ASSERT_OK(image_resize_storage(&picture, width, height, channels));
    for (int i = 0; i < width * height * channels; i++)
        picture.pixels[i] = (uint8_t)(i * 37 + i / 7 * 11);
    return picture;
}

/* Run one transform on a picture, through the lossless PNM codec. */
static vt_status run_on(const struct image *picture, const struct augment_desc *desc, const struct augment_draw *draw,
                        int image_size, uint8_t *out)
{
    uint8_t *bytes;
    size_t size;
    ASSERT_OK(image_encode_pnm(picture, &bytes, &size));
    struct augment_scratch *scratch = augment_scratch_new();
    double decode_ms = 0, augment_ms = 0;
    vt_status status =
        augment_run(desc, draw, bytes, size, image_size, picture->channels, scratch, out, &decode_ms, &augment_ms);
    CU_ASSERT(status != VT_OK || (decode_ms > 0 && augment_ms > 0));
    augment_scratch_free(&scratch);
    free(bytes);
    return status;
}

/* The pixel a transform of a SIDE x SIDE picture must give, without the code under test. */
static uint8_t expected_pixel(const struct image *picture, const struct augment_desc *desc,
                              const struct augment_draw *draw, int x, int y, int c)
{
    int column = (draw->flip ? SIDE - 1 - x : x) + draw->left, row = y + draw->top;
    if (desc->pad_reflect) {
        column = column < 0 ? -column : column >= SIDE ? 2 * SIDE - 2 - column : column;
        row = row < 0 ? -row : row >= SIDE ? 2 * SIDE - 2 - row : row;
    }
    if (column < 0 || column >= SIDE || row < 0 || row >= SIDE)
        return 0;
    return picture->pixels[(row * SIDE + column) * picture->channels + c];
}

static void padded_crops_and_flips_move_pixels(void)
{
    const char *lines[] = {"pad_crop(3)|flip", "pad_crop(3,reflect)|flip", "pad_crop(15)", "squash|flip", "rrc(1,1)"};
    for (int channels = 1; channels <= 3; channels += 2) {
        struct image picture = make_picture(SIDE, SIDE, channels);
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            struct augment_desc desc = parse(lines[i]);
            for (uint64_t position = 0; position < 40; position++) {
                uint8_t out[SIDE * SIDE * 3];
                struct augment_draw draw;
                augment_draw(&desc, SIDE, SIDE, SIDE, 5, position, &draw);
                if (draw.source.width != SIDE || draw.source.height != SIDE)
                    continue;
                ASSERT_OK(run_on(&picture, &desc, &draw, SIDE, out));
                int wrong = 0;
                for (int at = 0; at < SIDE * SIDE * channels; at++)
                    wrong += out[at] != expected_pixel(&picture, &desc, &draw, at / channels % SIDE,
                                                       at / channels / SIDE, at % channels);
                CU_ASSERT_EQUAL(wrong, 0);
            }
        }
        image_close(&picture);
    }
}

/* Crop first, then resize the crop: the filter sees nothing outside. */
static void a_crop_is_a_picture_of_its_own(void)
{
    struct image picture = make_picture(50, 40, 3), crop = {0}, resized = {0};
    struct augment_desc desc = parse("rrc(0.2,0.5)");
    for (uint64_t position = 0; position < 20; position++) {
        uint8_t out[SIDE * SIDE * 3];
        struct augment_draw draw;
        augment_draw(&desc, 50, 40, SIDE, 5, position, &draw);
        ASSERT_OK(run_on(&picture, &desc, &draw, SIDE, out));
        struct image_rect box = draw.source;
        ASSERT_OK(image_resize_storage(&crop, box.width, box.height, 3));
        for (int y = 0; y < box.height; y++)
            memcpy(crop.pixels + y * box.width * 3, picture.pixels + ((box.y + y) * 50 + box.x) * 3,
                   (size_t)box.width * 3);
        ASSERT_OK(image_resize(&crop, (struct image_box){0, 0, (float)box.width, (float)box.height}, FILTER_BICUBIC,
                               SIDE, SIDE, &resized));
        CU_ASSERT_EQUAL(memcmp(out, resized.pixels, sizeof out), 0);
    }
    image_close(&picture);
    image_close(&crop);
    image_close(&resized);
}

static void the_centre_is_cut_from_the_resized_picture(void)
{
    struct image picture = make_picture(50, 40, 3), resized = {0};
    struct augment_desc desc = parse("centre(0.8)|bilinear");
    struct augment_draw draw;
    uint8_t out[SIDE * SIDE * 3];
    augment_draw(&desc, 50, 40, SIDE, 5, 0, &draw);
    ASSERT_OK(run_on(&picture, &desc, &draw, SIDE, out));
    ASSERT_OK(image_resize(&picture, (struct image_box){0, 0, 50, 40}, FILTER_BILINEAR, 18, 15, &resized));
    for (int y = 0; y < SIDE; y++) /* (18 - 12) / 2 = 3; (15 - 12) / 2 = 1.5 rounds to 2, the even one */
        CU_ASSERT_EQUAL(memcmp(out + y * SIDE * 3, resized.pixels + ((y + 2) * 18 + 3) * 3, SIDE * 3), 0);
    image_close(&picture);
    image_close(&resized);
}

static void another_size_than_the_index_says_is_refused(void)
{
    struct image picture = make_picture(20, 10, 1);
    const char *lines[] = {"squash", "centre", "pad_crop(1)"};
    for (int i = 0; i < 3; i++) {
        uint8_t out[SIDE * SIDE];
        struct augment_desc desc = parse(lines[i]);
        struct augment_draw draw;
        augment_draw(&desc, SIDE, SIDE, SIDE, 5, 0, &draw);
        ASSERT_FAILS(run_on(&picture, &desc, &draw, SIDE, out), VT_E_FORMAT, "image is 20 x 10, expected 12 x 12");
    }
    image_close(&picture);
}

static const struct test_case CASES[] = {
    {"RandomResizedCrop draws, golden", crops_match_the_published_formula},
    {"Resize + CenterCrop, golden", centre_crops_match_the_published_formula},
    {"distribution of crops", crops_are_spread_as_they_should},
    {"padded crops take every place", padded_crops_take_every_place},
    {"padding and flip, pixel by pixel", padded_crops_and_flips_move_pixels},
    {"crop, then resize the crop", a_crop_is_a_picture_of_its_own},
    {"centre crop pixels", the_centre_is_cut_from_the_resized_picture},
    {"wrong size in the index", another_size_than_the_index_says_is_refused},
};
TEST_MAIN("input/augment", CASES)
