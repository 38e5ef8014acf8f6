#include "input/contact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "input/font.h"

enum {
    CELL_LEAST = 84, /* pixels of a picture's side on the sheet, at least: room for a caption of 14 letters */
    MARGIN = 4,
    CAPTION = FONT_HEIGHT + 3,
    PAPER = 24,
    INK = 235
};

struct grid {
    int scale, side, columns, lines, rows;
};

static struct grid plan_grid(const struct slot *slot, const struct contact_desc *desc)
{
    struct grid grid = {.rows = slot->rows, .scale = (CELL_LEAST + desc->image_size - 1) / desc->image_size};
    grid.side = grid.scale * desc->image_size;
    grid.columns = desc->columns;
    while (grid.columns * grid.columns < grid.rows && desc->columns == 0)
        grid.columns++;
    if (grid.columns < 1)
        grid.columns = 1;
    grid.lines = (grid.rows + grid.columns - 1) / grid.columns;
    if (grid.lines < 1)
        grid.lines = 1;
    return grid;
}

static void draw_picture(const uint8_t *pixels, int size, int channels, int scale, int x, int y, struct image *sheet)
{
    for (int row = 0; row < size * scale; row++) {
        uint8_t *out = sheet->pixels + ((size_t)(y + row) * (size_t)sheet->width + (size_t)x) * (size_t)channels;
        const uint8_t *in = pixels + (size_t)(row / scale) * (size_t)size * (size_t)channels;
        for (int column = 0; column < size * scale; column++)
            memcpy(out + column * channels, in + column / scale * channels, (size_t)channels);
    }
}

static const uint8_t *row_pixels(const struct slot *slot, const struct contact_desc *desc, int row)
{
    return slot->images + (size_t)row * (size_t)desc->image_size * (size_t)desc->image_size * (size_t)desc->channels;
}

vt_status contact_sheet(const struct slot *slot, const struct contact_desc *desc, struct image *sheet)
{
    struct grid grid = plan_grid(slot, desc);
    int64_t width = MARGIN + (int64_t)grid.columns * (grid.side + MARGIN);
    int64_t height = MARGIN + (int64_t)grid.lines * (grid.side + CAPTION + MARGIN);
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return VT_FAIL(VT_E_LIMIT,
                       "a contact sheet of %d pictures would be %lld x %lld pixels, expected at most %d a side",
                       grid.rows, (long long)width, (long long)height, IMAGE_MAX_SIDE);
    VT_TRY(image_resize_storage(sheet, (int)width, (int)height, desc->channels));
    memset(sheet->pixels, PAPER, (size_t)width * (size_t)height * (size_t)desc->channels);
    for (int row = 0; row < grid.rows; row++) {
        char caption[256];
        int x = MARGIN + row % grid.columns * (grid.side + MARGIN);
        int y = MARGIN + row / grid.columns * (grid.side + CAPTION + MARGIN);
        draw_picture(row_pixels(slot, desc, row), desc->image_size, desc->channels, grid.scale, x, y, sheet);
        contact_caption(slot, row, desc->dataset, caption, sizeof caption);
        font_draw(sheet, x, y + grid.side + 2, grid.side, caption, INK);
    }
    return VT_OK;
}

void contact_caption(const struct slot *slot, int row, const struct dataset *dataset, char *text, size_t bytes)
{
    size_t used = 0;
    snprintf(text, bytes, "unlabelled");
    for (int i = row * slot->labels_per_row; i < (row + 1) * slot->labels_per_row; i++) {
        if (slot->label_weight[i] == 0 || slot->label_id[i] < 0 || used >= bytes)
            continue;
        char number[16], weight[16] = "";
        const char *name = number;
        snprintf(number, sizeof number, "%d", slot->label_id[i]);
        if (dataset && slot->label_id[i] < dataset_class_count(dataset) &&
            dataset_class_name(dataset, slot->label_id[i])[0] != '\0')
            name = dataset_class_name(dataset, slot->label_id[i]);
        if (slot->label_weight[i] != 1)
            snprintf(weight, sizeof weight, " %.2f", (double)slot->label_weight[i]);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s%s", used > 0 ? ", " : "", name, weight);
    }
}

vt_status contact_dump(const struct slot *slot, const struct contact_desc *desc, const char *dir)
{
    for (int row = 0; row < slot->rows; row++) {
        char path[4096];
        uint8_t *bytes;
        size_t size;
        struct image picture = {.width = desc->image_size, .height = desc->image_size, .channels = desc->channels};
        picture.pixels = (uint8_t *)row_pixels(slot, desc, row); /* borrowed; the encoder only reads */
        snprintf(path, sizeof path, "%s/%012llu.%s", dir, (unsigned long long)slot->position[row],
                 desc->channels == 1 ? "pgm" : "ppm");
        VT_TRY(image_encode_pnm(&picture, &bytes, &size));
        vt_status status = file_write_atomic(path, bytes, size);
        free(bytes);
        VT_TRY(status);
    }
    return VT_OK;
}
