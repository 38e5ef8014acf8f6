/* A decoded region equals the crop of the whole decode, bit for bit: every JPEG layout made here, and real photos when
 * VT_TEST_PHOTOS names a folder of them. */
#include "test.h"

#include <dirent.h>

#include <jpeglib.h>

#include "base/file.h"
#include "base/philox.h"
#include "image/image.h"

struct layout {
    const char *name;
    J_COLOR_SPACE in, stored;
    int components, h, v; /* sampling of the first component; the others 1 x 1 */
    int progressive, restart;
};

static const struct layout LAYOUTS[] = {
    {"4:4:4", JCS_RGB, JCS_YCbCr, 3, 1, 1, 0, 0},
    {"4:2:2", JCS_RGB, JCS_YCbCr, 3, 2, 1, 0, 0},
    {"4:2:0", JCS_RGB, JCS_YCbCr, 3, 2, 2, 0, 0},
    {"4:4:0", JCS_RGB, JCS_YCbCr, 3, 1, 2, 0, 0},
    {"4:1:1", JCS_RGB, JCS_YCbCr, 3, 4, 1, 0, 0},
    {"grey", JCS_GRAYSCALE, JCS_GRAYSCALE, 1, 1, 1, 0, 0},
    {"grey 2x2", JCS_GRAYSCALE, JCS_GRAYSCALE, 1, 2, 2, 0, 0},
    {"RGB", JCS_RGB, JCS_RGB, 3, 1, 1, 0, 0},
    {"CMYK", JCS_CMYK, JCS_CMYK, 4, 1, 1, 0, 0},
    {"YCCK", JCS_CMYK, JCS_YCCK, 4, 2, 2, 0, 0},
    {"progressive 4:2:0", JCS_RGB, JCS_YCbCr, 3, 2, 2, 1, 0},
    {"progressive 4:4:4", JCS_RGB, JCS_YCbCr, 3, 1, 1, 1, 0},
    {"restart 4:2:0", JCS_RGB, JCS_YCbCr, 3, 2, 2, 0, 3},
    {"progressive grey", JCS_GRAYSCALE, JCS_GRAYSCALE, 1, 1, 1, 1, 0},
};
enum { LAYOUT_COUNT = sizeof LAYOUTS / sizeof *LAYOUTS };

static void make_jpeg(const struct layout *layout, int width, int height, uint64_t seed, unsigned char **bytes,
                      unsigned long *size)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    *bytes = NULL;
    jpeg_mem_dest(&jpeg, bytes, size);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = layout->components;
    jpeg.in_color_space = layout->in;
    jpeg_set_defaults(&jpeg);
    jpeg_set_colorspace(&jpeg, layout->stored);
    jpeg_set_quality(&jpeg, 92, TRUE);
    jpeg.comp_info[0].h_samp_factor = layout->h;
    jpeg.comp_info[0].v_samp_factor = layout->v;
    if (layout->stored == JCS_YCCK) {
        jpeg.comp_info[3].h_samp_factor = layout->h;
        jpeg.comp_info[3].v_samp_factor = layout->v;
    }
    jpeg.restart_in_rows = layout->restart;
    if (layout->progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    unsigned char *row = malloc((size_t)(width * layout->components));
    for (int y = 0; y < height; y++) {
        for (int i = 0; i < width * layout->components; i++)
            row[i] =
                (unsigned char)(draw_u32(seed, 77, (uint64_t)y, (uint32_t)i) >> 26 << 2 ^ (unsigned)(i * 3 + y * 5));
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
}

/* Random rectangles; every corner and edge case now and then. Returns how many differ. */
static int check_regions(const uint8_t *bytes, size_t size, int channels, const struct image *whole, uint64_t seed,
                         int rects)
{
    struct image part = {0};
    int different = 0;
    for (int n = 0; n < rects; n++) {
        struct image_rect rect;
        rect.width = 1 + (int)draw_below(seed, 1, (uint64_t)n, 0, (uint64_t)whole->width);
        rect.height = 1 + (int)draw_below(seed, 1, (uint64_t)n, 1, (uint64_t)whole->height);
        if (n % 3 == 0) /* narrow ones: libjpeg changes its upsampling below 2 chroma columns */
            rect.width = 1 + n % 17 < whole->width ? 1 + n % 17 : whole->width;
        rect.x = (int)draw_below(seed, 1, (uint64_t)n, 2, (uint64_t)(whole->width - rect.width + 1));
        rect.y = (int)draw_below(seed, 1, (uint64_t)n, 3, (uint64_t)(whole->height - rect.height + 1));
        if (n % 5 == 0)
            rect.x = whole->width - rect.width, rect.y = whole->height - rect.height;
        ASSERT_OK(image_decode_region(bytes, size, channels, rect, &part));
        size_t row = (size_t)(rect.width * channels);
        for (int y = 0; y < rect.height; y++)
            if (memcmp(part.pixels + (size_t)y * row,
                       whole->pixels +
                           ((size_t)(rect.y + y) * (size_t)whole->width + (size_t)rect.x) * (size_t)channels,
                       row)) {
                if (different < 3)
                    fprintf(stderr, "region %d,%d %dx%d of %dx%d differs in row %d\n", rect.x, rect.y, rect.width,
                            rect.height, whole->width, whole->height, y);
                different++;
                break;
            }
    }
    image_close(&part);
    return different;
}

static void every_layout(void)
{
    static const int sizes[][2] = {{1, 1},   {1, 40},  {40, 1},   {7, 9},    {16, 16},
                                   {33, 47}, {64, 48}, {127, 95}, {200, 131}};
    struct image whole = {0};
    for (int l = 0; l < LAYOUT_COUNT; l++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            unsigned char *bytes;
            unsigned long size;
            make_jpeg(&LAYOUTS[l], sizes[s][0], sizes[s][1], (uint64_t)l * 100 + s, &bytes, &size);
            for (int channels = 1; channels <= 3; channels += 2) {
                ASSERT_OK(image_decode(bytes, size, channels, &whole));
                int different = check_regions(bytes, size, channels, &whole, s, 60);
                if (different)
                    fprintf(stderr, "%s %dx%d: %d regions differ\n", LAYOUTS[l].name, sizes[s][0], sizes[s][1],
                            different);
                CU_ASSERT_EQUAL(different, 0);
            }
            free(bytes);
        }
    image_close(&whole);
}

static void photos(void)
{
    const char *folder = getenv("VT_TEST_PHOTOS");
    DIR *dir = folder ? opendir(folder) : NULL;
    if (!dir) {
        printf("SKIPPED (VT_TEST_PHOTOS names no folder of JPEG photos) ");
        return;
    }
    struct image whole = {0};
    int files = 0, different = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[1024], *bytes;
        size_t size;
        if (!strstr(entry->d_name, ".JPEG") && !strstr(entry->d_name, ".jpg"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        ASSERT_OK(file_read(path, 100 << 20, &bytes, &size));
        ASSERT_OK(image_decode((uint8_t *)bytes, size, 3, &whole));
        different += check_regions((uint8_t *)bytes, size, 3, &whole, (uint64_t)files, 6);
        files++;
        free(bytes);
    }
    closedir(dir);
    printf("(%d photos) ", files);
    CU_ASSERT(files > 0);
    CU_ASSERT_EQUAL(different, 0);
    image_close(&whole);
}

/* One scan per coefficient and component: valid, and made to be slow. */
static void too_many_scans(void)
{
    enum { SCANS = 1 + 3 * 63 };
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg_scan_info scans[SCANS] = {{.comps_in_scan = 3, .component_index = {0, 1, 2}}};
    unsigned char *bytes = NULL, row[16 * 3] = {0}, *rows[1] = {row};
    unsigned long size = 0;
    for (int i = 1; i < SCANS; i++)
        scans[i] = (jpeg_scan_info){
            .comps_in_scan = 1, .component_index = {(i - 1) / 63}, .Ss = 1 + (i - 1) % 63, .Se = 1 + (i - 1) % 63};
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &size);
    jpeg.image_width = jpeg.image_height = 16;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg.scan_info = scans;
    jpeg.num_scans = SCANS;
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < 16; y++)
        jpeg_write_scanlines(&jpeg, rows, 1);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    struct image image = {0};
    ASSERT_FAILS(image_decode(bytes, size, 3, &image), VT_E_LIMIT, "JPEG: too many scans (limit 128)");
    free(bytes);
    image_close(&image);
}

static const struct test_case cases[] = {
    {"too many scans", too_many_scans},
    {"every layout and size", every_layout},
    {"photos", photos},
};
TEST_MAIN("region", cases)
