#include "input/contact.h"

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "input/font.h"
#include "slots.h"

enum { SIDE = 28 };

static struct slots make_slot(int rows, int channels)
{
    struct slots slots = slots_new(1, 8, 2, SIDE, channels);
    struct slot *slot = &slots.slot[0];
    slot->rows = rows;
    for (int row = 0; row < 8; row++) {
        memset(slot->images + (size_t)row * slots.row_bytes, 100 + row, slots.row_bytes);
        slot->position[row] = 1000 + (uint64_t)row;
        slot->label_id[2 * row] = row;
        slot->label_weight[2 * row] = 1;
        slot->label_id[2 * row + 1] = -1;
        slot->label_weight[2 * row + 1] = 0;
    }
    return slots;
}

static void captions_say_the_labels(void)
{
    struct slots slots = make_slot(8, 1);
    struct slot *slot = &slots.slot[0];
    char text[32];
    contact_caption(slot, 3, NULL, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "3");
    slot->label_weight[6] = 0.75f;
    slot->label_id[7] = 12;
    slot->label_weight[7] = 0.25f;
    contact_caption(slot, 3, NULL, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "3 0.75, 12 0.25");
    contact_caption(slot, 3, NULL, text, 6);
    CU_ASSERT_STRING_EQUAL(text, "3 0.7");
    slot->label_weight[6] = slot->label_weight[7] = 0;
    contact_caption(slot, 3, NULL, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "unlabelled");
    slots_free(&slots);
}

static int count_of(const struct image *image, uint8_t value)
{
    int count = 0;
    for (int i = 0; i < image->width * image->height * image->channels; i++)
        count += image->pixels[i] == value;
    return count;
}

static void every_valid_row_is_on_the_sheet(void)
{
    for (int channels = 1; channels <= 3; channels += 2) {
        struct slots slots = make_slot(5, channels);
        struct contact_desc desc = {.image_size = SIDE, .channels = channels};
        struct image sheet = {0};
        ASSERT_OK(contact_sheet(&slots.slot[0], &desc, &sheet));
        CU_ASSERT_EQUAL(sheet.width, 4 + 3 * (84 + 4)); /* 5 pictures: 3 columns, 2 lines; 28 pixels enlarged to 84 */
        CU_ASSERT_EQUAL(sheet.height, 4 + 2 * (84 + 10 + 4));
        CU_ASSERT_EQUAL(sheet.channels, channels);
        for (int row = 0; row < 8; row++)
            CU_ASSERT_EQUAL(count_of(&sheet, (uint8_t)(100 + row)), row < 5 ? 84 * 84 * channels : 0);
        CU_ASSERT_EQUAL(sheet.pixels[(4 * sheet.width + 4) * channels], 100);
        desc.columns = 1;
        ASSERT_OK(contact_sheet(&slots.slot[0], &desc, &sheet));
        CU_ASSERT_EQUAL(sheet.width, 4 + 84 + 4);
        slots.slot[0].rows = 0;
        ASSERT_OK(contact_sheet(&slots.slot[0], &desc, &sheet));
        image_close(&sheet);
        slots_free(&slots);
    }
}

static void a_sheet_too_large_is_refused(void)
{
    struct slots slots = make_slot(8, 1);
    struct contact_desc desc = {.image_size = 20000, .channels = 1, .columns = 8};
    struct image sheet = {0};
    ASSERT_FAILS(contact_sheet(&slots.slot[0], &desc, &sheet), VT_E_LIMIT, "expected at most 65500 a side");
    slots_free(&slots);
}

static void letters_are_letters(void)
{
    struct image image = {0};
    ASSERT_OK(image_resize_storage(&image, 20, 7, 1));
    memset(image.pixels, 0, 140);
    font_draw(&image, 0, 0, 20, "T\x80L!", 255); /* 4 letters need 23 pixels: the last one is left out */
    const char *rows[7] = {"#####  ###  #       ", "  #   #   # #       ", "  #       # #       ",
                           "  #      #  #       ", "  #     #   #       ", "  #         #       ",
                           "  #     #   #####   "};
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 20; x++)
            CU_ASSERT_EQUAL(image.pixels[y * 20 + x], rows[y][x] == '#' ? 255 : 0);
    image_close(&image);
}

static void raw_pixels_are_exact(void)
{
    for (int channels = 1; channels <= 3; channels += 2) {
        struct slots slots = make_slot(3, channels);
        struct contact_desc desc = {.image_size = SIDE, .channels = channels};
        char dir[] = "/tmp/vitrail-contact-XXXXXX", path[64];
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
        for (size_t i = 0; i < slots.row_bytes; i++)
            slots.slot[0].images[slots.row_bytes + i] = (uint8_t)(i * 7);
        ASSERT_OK(contact_dump(&slots.slot[0], &desc, dir));
        for (int row = 0; row < 4; row++) {
            snprintf(path, sizeof path, "%s/%012d.%s", dir, 1000 + row, channels == 1 ? "pgm" : "ppm");
            CU_ASSERT_EQUAL(file_exists(path), row < 3);
            if (row == 1) {
                char *bytes;
                size_t size;
                struct image image = {0};
                ASSERT_OK(file_read(path, 1 << 20, &bytes, &size));
                ASSERT_OK(image_decode((const uint8_t *)bytes, size, channels, &image));
                CU_ASSERT_EQUAL(memcmp(image.pixels, slots.slot[0].images + slots.row_bytes, slots.row_bytes), 0);
                image_close(&image);
                free(bytes);
            }
            unlink(path);
        }
        rmdir(dir);
        ASSERT_FAILS(contact_dump(&slots.slot[0], &desc, dir), VT_E_IO, dir);
        slots_free(&slots);
    }
}

static const struct test_case CASES[] = {
    {"captions", captions_say_the_labels},
    {"contact sheet", every_valid_row_is_on_the_sheet},
    {"contact sheet too large", a_sheet_too_large_is_refused},
    {"font", letters_are_letters},
    {"raw dump", raw_pixels_are_exact},
};
TEST_MAIN("input/contact", CASES)
