/* The resize against Pillow's own output (tests/golden/pil_resize.py), and the fast kernels against the plain ones. */
#include "test.h"

#include "base/philox.h"
#include "image/image.h"
#include "image/resize.h"

static void fill(struct image *image, const char *kind, uint32_t seed)
{
    size_t count = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    uint32_t x = seed;
    for (size_t i = 0; i < count; i++) {
        x = 1664525u * x + 1013904223u;
        image->pixels[i] = strcmp(kind, "noise") == 0 ? (uint8_t)(x >> 24) : (uint8_t)(i * seed / 7);
    }
}

static uint64_t fnv(const struct image *image)
{
    uint64_t hash = 0xcbf29ce484222325u;
    size_t count = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ image->pixels[i]) * 0x100000001b3u;
    return hash;
}

static void check_goldens(int scalar)
{
    FILE *file = fopen(VT_SOURCE_DIR "/tests/golden/pil_resize.txt", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char line[256], kind[16], filter[16];
    unsigned seed, bad = 0, cases = 0;
    int w, h, c, ow, oh;
    struct image_box box;
    unsigned long long want;
    struct image src = {0}, dst = {0};
    resize_force_scalar(scalar);
    while (fgets(line, sizeof line, file)) {
        CU_ASSERT_EQUAL_FATAL(sscanf(line, "%15s %u %d %d %d | %f %f %f %f | %15s | %d %d | %llx", kind, &seed, &w, &h,
                                     &c, &box.left, &box.top, &box.right, &box.bottom, filter, &ow, &oh, &want),
                              13);
        ASSERT_OK(image_resize_storage(&src, w, h, c));
        fill(&src, kind, seed);
        ASSERT_OK(
            image_resize(&src, box, strcmp(filter, "bicubic") == 0 ? FILTER_BICUBIC : FILTER_BILINEAR, ow, oh, &dst));
        cases++;
        if (fnv(&dst) != want && bad++ < 5)
            fprintf(stderr, "differs: %s", line);
    }
    resize_force_scalar(0);
    fclose(file);
    image_close(&src);
    image_close(&dst);
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT(cases > 150);
}

static void equals_pillow_scalar(void)
{
    check_goldens(1);
}
static void equals_pillow_fast(void)
{
    check_goldens(0);
}

/* Random sizes and boxes: the vector kernels give the scalar bits. */
static void fast_equals_scalar(void)
{
    struct image src = {0}, fast = {0}, plain = {0};
    int different = 0;
    for (uint32_t n = 0; n < 400; n++) {
        int w = 1 + (int)draw_below(1, 99, n, 0, 150), h = 1 + (int)draw_below(1, 99, n, 1, 150);
        int channels = n % 2 ? 3 : 1, ow = 1 + (int)draw_below(1, 99, n, 2, 100),
            oh = 1 + (int)draw_below(1, 99, n, 3, 100);
        float left = draw_uniform(1, 98, n, 0) * (float)w * 0.5f, top = draw_uniform(1, 98, n, 1) * (float)h * 0.5f;
        struct image_box box = {left, top, left + 0.01f + draw_uniform(1, 98, n, 2) * ((float)w - left - 0.01f),
                                top + 0.01f + draw_uniform(1, 98, n, 3) * ((float)h - top - 0.01f)};
        if (n % 3 == 0)
            box = (struct image_box){0, 0, (float)w, (float)h};
        enum filter filter = n % 5 < 2 ? FILTER_BICUBIC : FILTER_BILINEAR;
        ASSERT_OK(image_resize_storage(&src, w, h, channels));
        fill(&src, n % 7 ? "noise" : "smooth", n);
        resize_force_scalar(1);
        ASSERT_OK(image_resize(&src, box, filter, ow, oh, &plain));
        resize_force_scalar(0);
        ASSERT_OK(image_resize(&src, box, filter, ow, oh, &fast));
        different += memcmp(plain.pixels, fast.pixels, (size_t)ow * (size_t)oh * (size_t)channels) != 0;
    }
    CU_ASSERT_EQUAL(different, 0);
    image_close(&src);
    image_close(&fast);
    image_close(&plain);
}

static void refuses_bad_boxes(void)
{
    struct image src = {0}, dst = {0};
    ASSERT_OK(image_resize_storage(&src, 10, 10, 3));
    memset(src.pixels, 0, 300);
    ASSERT_FAILS(image_resize(&src, (struct image_box){0, 0, 11, 10}, FILTER_BILINEAR, 4, 4, &dst), VT_E_USAGE,
                 "not inside");
    ASSERT_FAILS(image_resize(&src, (struct image_box){5, 0, 5, 10}, FILTER_BILINEAR, 4, 4, &dst), VT_E_USAGE,
                 "not inside");
    ASSERT_FAILS(image_resize(&src, (struct image_box){NAN, 0, 5, 10}, FILTER_BILINEAR, 4, 4, &dst), VT_E_USAGE,
                 "not inside");
    ASSERT_FAILS(image_resize(&src, (struct image_box){0, 0, 5, 10}, FILTER_BILINEAR, 0, 4, &dst), VT_E_USAGE,
                 "expected 1..");
    image_close(&src);
    image_close(&dst);
}

static const struct test_case cases[] = {
    {"scalar kernels equal Pillow bit for bit", equals_pillow_scalar},
    {"fast kernels equal Pillow bit for bit", equals_pillow_fast},
    {"fast kernels equal the scalar ones", fast_equals_scalar},
    {"bad boxes are refused", refuses_bad_boxes},
};
TEST_MAIN("resize", cases)
