/* PNG through libpng, from memory. Everything becomes 8-bit grey or RGB: palettes are expanded, 16 bit stripped to the
 * high byte, alpha dropped. Rows cannot be skipped: a region decodes all rows down to its last. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "image/codec.h"

enum { MAX_CHUNK_BYTES = 64 << 20, MAX_CHUNKS = 1000 };

struct reader {
    png_structp png;
    png_infop info;
    const uint8_t *at, *end;
    uint8_t *rows; /* one row, or the whole interlaced image */
    png_bytep *row_pointers;
    char text[128];
};

static void on_error(png_structp png, png_const_charp message)
{
    struct reader *reader = png_get_error_ptr(png);
    snprintf(reader->text, sizeof reader->text, "%s", message);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep data, size_t count)
{
    struct reader *reader = png_get_io_ptr(png);
    if ((size_t)(reader->end - reader->at) < count)
        png_error(png, "truncated");
    memcpy(data, reader->at, count);
    reader->at += count;
}

static vt_status reader_open(struct reader *reader, const uint8_t *bytes, size_t size)
{
    memset(reader, 0, sizeof *reader);
    reader->at = bytes;
    reader->end = bytes + size;
    reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning);
    reader->info = reader->png ? png_create_info_struct(reader->png) : NULL;
    if (!reader->info)
        return VT_FAIL(VT_E_MEMORY, "PNG: no memory for the decoder");
    png_set_read_fn(reader->png, reader, on_read);
    png_set_user_limits(reader->png, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(reader->png, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(reader->png, MAX_CHUNKS);
    return VT_OK;
}

static void reader_close(struct reader *reader)
{
    if (reader->png)
        png_destroy_read_struct(&reader->png, reader->info ? &reader->info : NULL, NULL);
    free(reader->rows);
    free(reader->row_pointers);
}

static vt_status read_header(struct reader *reader, struct image_info *info)
{
    png_read_info(reader->png, reader->info);
    info->codec = CODEC_PNG;
    info->width = (int)png_get_image_width(reader->png, reader->info);
    info->height = (int)png_get_image_height(reader->png, reader->info);
    int colour = png_get_color_type(reader->png, reader->info);
    info->channels = colour == PNG_COLOR_TYPE_PALETTE ? 3 : png_get_channels(reader->png, reader->info);
    return image_check_size("PNG", (uint64_t)info->width, (uint64_t)info->height);
}

vt_status png_probe(const uint8_t *bytes, size_t size, struct image_info *info)
{
    struct reader reader;
    vt_status status = reader_open(&reader, bytes, size);
    if (status != VT_OK) {
        reader_close(&reader);
        return status;
    }
    if (setjmp(png_jmpbuf(reader.png))) {
        reader_close(&reader);
        return VT_FAIL(VT_E_FORMAT, "PNG: %s", reader.text);
    }
    status = read_header(&reader, info);
    reader_close(&reader);
    return status;
}

static void set_transforms(struct reader *reader)
{
    png_set_expand(reader->png); /* palette to RGB, 1/2/4-bit grey to 8, tRNS to alpha */
    png_set_strip_16(reader->png);
    png_set_strip_alpha(reader->png);
}

static void write_row(const uint8_t *row, int stored, const struct image_rect *rect, int y, struct image *out)
{
    if (y < rect->y || y >= rect->y + rect->height)
        return;
    size_t row_bytes = (size_t)out->width * (size_t)out->channels;
    image_convert_row(row + (size_t)rect->x * (size_t)stored, stored, out->pixels + (size_t)(y - rect->y) * row_bytes,
                      out->channels, (size_t)rect->width);
}

static vt_status read_body(struct reader *reader, const struct image_info *info, const struct image_rect *rect,
                           struct image *out)
{
    set_transforms(reader);
    int passes = png_set_interlace_handling(reader->png);
    png_read_update_info(reader->png, reader->info);
    int stored = png_get_channels(reader->png, reader->info);
    size_t row_bytes = png_get_rowbytes(reader->png, reader->info), height = (size_t)info->height;
    if ((stored != 1 && stored != 3) || row_bytes != (size_t)info->width * (size_t)stored)
        return VT_FAIL(VT_E_UNSUPPORTED, "PNG: %d channels after expansion, expected 1 or 3", stored);
    reader->rows = malloc(passes > 1 ? row_bytes * height : row_bytes);
    if (!reader->rows)
        return VT_FAIL(VT_E_MEMORY, "PNG: no memory for %d x %d pixels", info->width, info->height);
    if (passes > 1) {
        reader->row_pointers = malloc(height * sizeof *reader->row_pointers);
        if (!reader->row_pointers)
            return VT_FAIL(VT_E_MEMORY, "PNG: no memory for %d rows", info->height);
        for (size_t y = 0; y < height; y++)
            reader->row_pointers[y] = reader->rows + y * row_bytes;
        png_read_image(reader->png, reader->row_pointers);
        for (size_t y = 0; y < height; y++)
            write_row(reader->row_pointers[y], stored, rect, (int)y, out);
        return VT_OK;
    }
    for (int y = 0; y < rect->y + rect->height; y++) {
        png_read_row(reader->png, reader->rows, NULL);
        write_row(reader->rows, stored, rect, y, out);
    }
    return VT_OK;
}

static vt_status decode_open(struct reader *reader, int channels, const struct image_rect *rect, struct image *out)
{
    struct image_info info = {0};
    VT_TRY(read_header(reader, &info));
    struct image_rect all = {0, 0, info.width, info.height};
    rect = rect ? rect : &all;
    VT_TRY(image_check_rect(rect, info.width, info.height));
    VT_TRY(image_resize_storage(out, rect->width, rect->height, channels));
    return read_body(reader, &info, rect, out);
}

/* The setjmp frame: nothing in it changes after the mark. */
static vt_status decode_guarded(struct reader *reader, int channels, const struct image_rect *rect, struct image *out)
{
    if (setjmp(png_jmpbuf(reader->png)))
        return VT_FAIL(VT_E_FORMAT, "PNG: %s", reader->text);
    return decode_open(reader, channels, rect, out);
}

vt_status png_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect, struct image *out)
{
    struct reader reader;
    vt_status status = reader_open(&reader, bytes, size);
    if (status == VT_OK)
        status = decode_guarded(&reader, channels, rect, out);
    reader_close(&reader);
    return status;
}

struct writer {
    uint8_t *bytes;
    size_t size, capacity;
};

static void on_write(png_structp png, png_bytep data, size_t count)
{
    struct writer *writer = png_get_io_ptr(png);
    if (writer->capacity - writer->size < count) {
        size_t capacity = 2 * writer->capacity + count + 4096;
        uint8_t *bytes = realloc(writer->bytes, capacity);
        if (!bytes)
            png_error(png, "no memory");
        writer->bytes = bytes;
        writer->capacity = capacity;
    }
    memcpy(writer->bytes + writer->size, data, count);
    writer->size += count;
}

static void on_flush(png_structp png)
{
    (void)png;
}

vt_status image_encode_png(const struct image *image, uint8_t **bytes, size_t *size)
{
    struct reader keeper = {0};
    struct writer writer = {0};
    keeper.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &keeper, on_error, on_warning);
    keeper.info = keeper.png ? png_create_info_struct(keeper.png) : NULL;
    if (!keeper.info || setjmp(png_jmpbuf(keeper.png))) {
        if (keeper.png)
            png_destroy_write_struct(&keeper.png, keeper.info ? &keeper.info : NULL);
        free(writer.bytes);
        return VT_FAIL(VT_E_MEMORY, "PNG encoder: %s", keeper.text[0] ? keeper.text : "no memory");
    }
    png_set_write_fn(keeper.png, &writer, on_write, on_flush);
    png_set_IHDR(keeper.png, keeper.info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(keeper.png, keeper.info);
    size_t row_bytes = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++)
        png_write_row(keeper.png, image->pixels + (size_t)y * row_bytes);
    png_write_end(keeper.png, keeper.info);
    png_destroy_write_struct(&keeper.png, &keeper.info);
    *bytes = writer.bytes;
    *size = writer.size;
    return VT_OK;
}
