/* Decoders against Pillow (tests/golden/pil_decode.py): exact for PNG and PNM, within 2 levels for JPEG (another
 * libjpeg may round differently). Encoders by round trip. Bad bytes by their message. */
#include "test.h"

#include "base/file.h"
#include "image/image.h"

enum { W = 37, H = 26 };

static const struct {
    const char *name, *extension;
    enum codec codec;
    int channels, tolerance, progressive, orientation;
} FILES[] = {
    {"jpeg_444", "jpg", CODEC_JPEG, 3, 2, 0, 0},        {"jpeg_422", "jpg", CODEC_JPEG, 3, 2, 0, 0},
    {"jpeg_420", "jpg", CODEC_JPEG, 3, 2, 0, 0},        {"jpeg_progressive", "jpg", CODEC_JPEG, 3, 2, 1, 0},
    {"jpeg_grey", "jpg", CODEC_JPEG, 1, 2, 0, 0},       {"jpeg_cmyk", "jpg", CODEC_JPEG, 4, 2, 0, 0},
    {"jpeg_exif6", "jpg", CODEC_JPEG, 3, 2, 0, 6},      {"png_rgb", "png", CODEC_PNG, 3, 0, 0, 0},
    {"png_grey", "png", CODEC_PNG, 1, 0, 0, 0},         {"png_rgba", "png", CODEC_PNG, 4, 0, 0, 0},
    {"png_la", "png", CODEC_PNG, 2, 0, 0, 0},           {"png_palette", "png", CODEC_PNG, 3, 0, 0, 0},
    {"png_palette_trns", "png", CODEC_PNG, 3, 0, 0, 0}, {"png_1bit", "png", CODEC_PNG, 1, 0, 0, 0},
    {"pnm_p6", "ppm", CODEC_PNM, 3, 0, 0, 0},           {"pnm_p5", "pgm", CODEC_PNM, 1, 0, 0, 0},
};
enum { FILE_COUNT = sizeof FILES / sizeof *FILES };

static void load(const char *name, const char *extension, char **bytes, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, VT_SOURCE_DIR "/tests/golden/decode/%s.%s", name, extension);
    ASSERT_OK(file_read(path, 1 << 20, bytes, size));
}

static int worst(const uint8_t *a, const uint8_t *b, size_t count)
{
    int most = 0;
    for (size_t i = 0; i < count; i++) {
        int d = abs(a[i] - b[i]);
        most = d > most ? d : most;
    }
    return most;
}

static void equals_pillow(void)
{
    struct image image = {0};
    for (int f = 0; f < FILE_COUNT; f++)
        for (int channels = 1; channels <= 3; channels += 2) {
            char *bytes, *want;
            size_t size, want_size;
            load(FILES[f].name, FILES[f].extension, &bytes, &size);
            load(FILES[f].name, channels == 1 ? "grey" : "rgb", &want, &want_size);
            ASSERT_OK(image_decode((uint8_t *)bytes, size, channels, &image));
            CU_ASSERT(image.width == W && image.height == H && image.channels == channels);
            CU_ASSERT_EQUAL_FATAL(want_size, (size_t)(W * H * channels));
            int difference = worst(image.pixels, (uint8_t *)want, want_size);
            if (difference > FILES[f].tolerance)
                fprintf(stderr, "%s, %d channels: differs by %d\n", FILES[f].name, channels, difference);
            CU_ASSERT(difference <= FILES[f].tolerance);
            free(bytes);
            free(want);
        }
    image_close(&image);
}

static void probes(void)
{
    for (int f = 0; f < FILE_COUNT; f++) {
        char *bytes;
        size_t size;
        struct image_info info;
        load(FILES[f].name, FILES[f].extension, &bytes, &size);
        CU_ASSERT_EQUAL(image_codec((uint8_t *)bytes, size), FILES[f].codec);
        ASSERT_OK(image_probe((uint8_t *)bytes, size, &info));
        CU_ASSERT(info.codec == FILES[f].codec && info.width == W && info.height == H);
        CU_ASSERT_EQUAL(info.channels, FILES[f].channels);
        CU_ASSERT_EQUAL(info.progressive, FILES[f].progressive);
        CU_ASSERT_EQUAL(info.exif_orientation, FILES[f].orientation);
        free(bytes);
    }
}

static void regions_of_all_codecs(void)
{
    static const struct image_rect rects[] = {
        {0, 0, W, H}, {0, 0, 1, 1}, {W - 1, H - 1, 1, 1}, {5, 7, 20, 11}, {16, 8, 16, 16}};
    struct image whole = {0}, part = {0};
    for (int f = 0; f < FILE_COUNT; f++) {
        char *bytes;
        size_t size;
        load(FILES[f].name, FILES[f].extension, &bytes, &size);
        ASSERT_OK(image_decode((uint8_t *)bytes, size, 3, &whole));
        for (size_t r = 0; r < sizeof rects / sizeof *rects; r++) {
            ASSERT_OK(image_decode_region((uint8_t *)bytes, size, 3, rects[r], &part));
            for (int y = 0; y < rects[r].height; y++)
                CU_ASSERT_EQUAL(memcmp(part.pixels + y * rects[r].width * 3,
                                       whole.pixels + ((rects[r].y + y) * W + rects[r].x) * 3,
                                       (size_t)rects[r].width * 3),
                                0);
        }
        ASSERT_FAILS(image_decode_region((uint8_t *)bytes, size, 3, (struct image_rect){30, 0, 8, 1}, &part),
                     VT_E_USAGE, "not inside");
        free(bytes);
    }
    image_close(&whole);
    image_close(&part);
}

static void pnm_text_and_depths(void)
{
    static const struct {
        const char *text;
        size_t size;
        uint8_t pixels[6];
        int channels, count;
    } cases[] = {
        {"P2 # comment\n2 3\n255\n0 1 2\n# more\n253 254 255", 46, {0, 1, 2, 253, 254, 255}, 1, 6},
        {"P3\n2 1\n15\n0 15 7  8 1 3\n", 25, {0, 255, 119, 136, 17, 51}, 3, 6},
        {"P5\n3 1\n1\n\0\1\1", 12, {0, 255, 255}, 1, 3},
        {"P5 2 1 65535 \0\0\xff\xff", 17, {0, 255}, 1, 2},
        {"P5\n2 1\n1000\n\x01\xf4\x03\xe8", 16, {128, 255}, 1, 2}, /* 500/1000 rounds up */
    };
    struct image image = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ASSERT_OK(image_decode((const uint8_t *)cases[i].text, cases[i].size, cases[i].channels, &image));
        CU_ASSERT_EQUAL(memcmp(image.pixels, cases[i].pixels, (size_t)cases[i].count), 0);
    }
    image_close(&image);
}

static void encoders_round_trip(void)
{
    struct image image = {0}, back = {0};
    uint8_t *bytes;
    size_t size;
    for (int channels = 1; channels <= 3; channels += 2) {
        ASSERT_OK(image_resize_storage(&image, 23, 11, channels));
        for (int i = 0; i < 23 * 11 * channels; i++)
            image.pixels[i] = (uint8_t)(i * 5 / channels);
        ASSERT_OK(image_encode_png(&image, &bytes, &size));
        ASSERT_OK(image_decode(bytes, size, channels, &back));
        CU_ASSERT_EQUAL(memcmp(image.pixels, back.pixels, (size_t)(23 * 11 * channels)), 0);
        free(bytes);
        ASSERT_OK(image_encode_pnm(&image, &bytes, &size));
        ASSERT_OK(image_decode(bytes, size, channels, &back));
        CU_ASSERT_EQUAL(memcmp(image.pixels, back.pixels, (size_t)(23 * 11 * channels)), 0);
        free(bytes);
        memset(image.pixels, 77, (size_t)(23 * 11 * channels));
        ASSERT_OK(image_encode_jpeg(&image, 95, &bytes, &size));
        ASSERT_OK(image_decode(bytes, size, channels, &back));
        CU_ASSERT(back.width == 23 && back.height == 11 &&
                  worst(image.pixels, back.pixels, (size_t)(23 * 11 * channels)) <= 2);
        free(bytes);
    }
    image_close(&image);
    image_close(&back);
}

static void flips(void)
{
    struct image image = {0};
    ASSERT_OK(image_resize_storage(&image, 3, 2, 3));
    for (int i = 0; i < 18; i++)
        image.pixels[i] = (uint8_t)i;
    image_flip_horizontal(&image);
    static const uint8_t want[18] = {6, 7, 8, 3, 4, 5, 0, 1, 2, 15, 16, 17, 12, 13, 14, 9, 10, 11};
    CU_ASSERT_EQUAL(memcmp(image.pixels, want, 18), 0);
    image_close(&image);
}

static void bad_bytes_by_message(void)
{
    struct image image = {0};
    struct image_info info;
    char *bytes;
    size_t size;
    ASSERT_FAILS(image_decode((const uint8_t *)"", 0, 3, &image), VT_E_FORMAT, "not an image: 0 bytes");
    ASSERT_FAILS(image_decode((const uint8_t *)"GIF89a....", 10, 3, &image), VT_E_FORMAT,
                 "starts with 47 49 46 38, expected JPEG");
    ASSERT_FAILS(image_decode((const uint8_t *)"P5 4 4 255 abc", 14, 1, &image), VT_E_FORMAT, "PNM: truncated");
    ASSERT_FAILS(image_decode((const uint8_t *)"P5 x", 4, 1, &image), VT_E_FORMAT, "PNM: damaged header");
    ASSERT_FAILS(image_probe((const uint8_t *)"P5 65000 65000 255 \n", 20, &info), VT_E_LIMIT, "more than the limit");
    load("jpeg_420", "jpg", &bytes, &size);
    ASSERT_FAILS(image_decode((uint8_t *)bytes, size / 2, 3, &image), VT_E_FORMAT, "JPEG: Premature end of JPEG file");
    ASSERT_FAILS(image_probe((uint8_t *)bytes, 20, &info), VT_E_FORMAT, "JPEG: ");
    /* The size in the frame header (SOF0): 65500 x 65500. */
    for (size_t i = 0; i + 9 < size; i++)
        if ((uint8_t)bytes[i] == 0xff && (uint8_t)bytes[i + 1] == 0xc0) {
            memcpy(bytes + i + 5, "\xff\xdc\xff\xdc", 4);
            break;
        }
    ASSERT_FAILS(image_decode((uint8_t *)bytes, size, 3, &image), VT_E_LIMIT, "65500 x 65500");
    free(bytes);
    load("png_rgb", "png", &bytes, &size);
    ASSERT_FAILS(image_decode((uint8_t *)bytes, size / 2, 3, &image), VT_E_FORMAT, "PNG: truncated");
    bytes[size / 2] ^= 1;
    ASSERT_FAILS(image_decode((uint8_t *)bytes, size, 3, &image), VT_E_FORMAT, "PNG: ");
    free(bytes);
    image_close(&image);
}

static const struct test_case cases[] = {
    {"pixels equal Pillow's", equals_pillow},
    {"headers are read", probes},
    {"regions of every codec equal the crop", regions_of_all_codecs},
    {"PNM text, comments and depths", pnm_text_and_depths},
    {"encoders round trip", encoders_round_trip},
    {"flip", flips},
    {"bad bytes fail with a clear message", bad_bytes_by_message},
};
TEST_MAIN("decode", cases)
