/* The only file that knows libjpeg (libjpeg-turbo's API: region decode by crop_scanline and skip_scanlines). Untrusted
 * input: errors come back by longjmp, sizes, scans and memory are capped. Decoding is the slow integer DCT with fancy
 * upsampling and no block smoothing: one result for the same bytes, with or without a region. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/codec.h"

enum { MAX_SCANS = 128, ROWS_PER_READ = 16, MAX_MEMORY = 1 << 30, ORIENTATION_TAG = 0x0112 };

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    int warnings;
    const char *limit; /* set when a cap, not the data, stopped it */
};

static void on_error(j_common_ptr common)
{
    longjmp(((struct decoder *)common->client_data)->escape, 1);
}

static void on_message(j_common_ptr common, int level)
{
    struct decoder *decoder = common->client_data;
    if (level >= 0)
        return; /* trace */
    decoder->warnings++;
    /* libjpeg fills the rest of a truncated file with grey and goes on; for us the file is damaged. */
    if (common->err->msg_code == JWRN_JPEG_EOF)
        longjmp(decoder->escape, 1);
}

static void on_progress(j_common_ptr common)
{
    struct decoder *decoder = common->client_data;
    if (common->is_decompressor && ((j_decompress_ptr)common)->input_scan_number > MAX_SCANS) {
        decoder->limit = "too many scans";
        longjmp(decoder->escape, 1);
    }
}

static vt_status fail(struct decoder *decoder)
{
    char text[JMSG_LENGTH_MAX];
    if (decoder->limit)
        return VT_FAIL(VT_E_LIMIT, "JPEG: %s (limit %d)", decoder->limit, MAX_SCANS);
    (*decoder->errors.format_message)((j_common_ptr)&decoder->jpeg, text);
    return VT_FAIL(VT_E_FORMAT, "JPEG: %s", text);
}

/* After setjmp: create and read the header, size caps included. */
static vt_status start(struct decoder *decoder, const uint8_t *bytes, size_t size, int save_exif)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = decoder;
    jpeg->progress = &decoder->progress;
    jpeg->mem->max_memory_to_use = MAX_MEMORY;
    if (save_exif)
        jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_mem_src(jpeg, bytes, size);
    jpeg_read_header(jpeg, TRUE);
    return image_check_size("JPEG", jpeg->image_width, jpeg->image_height);
}

static void prepare(struct decoder *decoder)
{
    memset(decoder, 0, sizeof *decoder);
    decoder->jpeg.err = jpeg_std_error(&decoder->errors);
    decoder->jpeg.client_data = decoder;
    decoder->errors.error_exit = on_error;
    decoder->errors.emit_message = on_message;
    decoder->progress.progress_monitor = on_progress;
}

static unsigned read_u16(const uint8_t *at, int big)
{
    return big ? at[0] << 8u | at[1] : at[1] << 8u | at[0];
}
static uint32_t read_u32(const uint8_t *at, int big)
{
    uint32_t a = read_u16(at, big), b = read_u16(at + 2, big);
    return big ? a << 16 | b : b << 16 | a;
}

/* Orientation of an EXIF block ("Exif\0\0", then a TIFF header and one directory), or 0. */
static int exif_orientation(const uint8_t *data, size_t size)
{
    if (size < 14 || memcmp(data, "Exif\0\0", 6) != 0)
        return 0;
    const uint8_t *tiff = data + 6;
    size_t bytes = size - 6;
    int big = tiff[0] == 'M';
    size_t directory = read_u32(tiff + 4, big);
    if (directory > bytes || bytes - directory < 2)
        return 0;
    unsigned entries = read_u16(tiff + directory, big);
    for (unsigned i = 0; i < entries; i++) {
        size_t at = directory + 2 + 12 * (size_t)i;
        if (at + 12 > bytes)
            return 0;
        if (read_u16(tiff + at, big) == ORIENTATION_TAG) {
            unsigned value = read_u16(tiff + at + 8, big);
            return value <= 8 ? (int)value : 0;
        }
    }
    return 0;
}

vt_status jpeg_probe(const uint8_t *bytes, size_t size, struct image_info *info)
{
    struct decoder decoder;
    prepare(&decoder);
    if (setjmp(decoder.escape)) {
        vt_status status = fail(&decoder);
        jpeg_destroy_decompress(&decoder.jpeg);
        return status;
    }
    vt_status status = start(&decoder, bytes, size, 1);
    if (status == VT_OK) {
        info->codec = CODEC_JPEG;
        info->width = (int)decoder.jpeg.image_width;
        info->height = (int)decoder.jpeg.image_height;
        info->channels = decoder.jpeg.num_components;
        info->progressive = jpeg_has_multiple_scans(&decoder.jpeg) && decoder.jpeg.progressive_mode;
        for (jpeg_saved_marker_ptr marker = decoder.jpeg.marker_list; marker; marker = marker->next)
            if (!info->exif_orientation)
                info->exif_orientation = exif_orientation(marker->data, marker->data_length);
    }
    jpeg_destroy_decompress(&decoder.jpeg);
    return status;
}

/* Skipping rows and cropping columns are exact, with a margin of one pixel, where upsampling looks at most one pixel to
 * each side: grey, 4:4:4, 4:2:2 and 4:2:0. Rare layouts are decoded whole. */
static int region_is_exact(const struct jpeg_decompress_struct *jpeg)
{
    if (jpeg->num_components == 1)
        return 1;
    const jpeg_component_info *component = jpeg->comp_info;
    int h = component[0].h_samp_factor, v = component[0].v_samp_factor;
    if (!((h == 1 && v == 1) || (h == 2 && v == 1) || (h == 2 && v == 2)))
        return 0;
    for (int i = 1; i < jpeg->num_components; i++) {
        int full = component[i].h_samp_factor == h && component[i].v_samp_factor == v;
        int reduced = component[i].h_samp_factor == 1 && component[i].v_samp_factor == 1;
        if (!full && !reduced)
            return 0;
    }
    return 1;
}

/* Adobe stores CMYK inverted: 255 = no ink. r = k c / 255, rounded to nearest. */
static void cmyk_to_rgb(const uint8_t *src, int inverted, uint8_t *dst, size_t count)
{
    unsigned flip = inverted ? 0 : 255;
    for (size_t i = 0; i < count; i++) {
        unsigned k = src[4 * i + 3] ^ flip;
        for (size_t c = 0; c < 3; c++) {
            unsigned product = (src[4 * i + c] ^ flip) * k + 128;
            dst[3 * i + c] = (uint8_t)((product + (product >> 8)) >> 8);
        }
    }
}

/* Turn one decoded row (from pixel `skip` on) into the caller's channels. */
static void finish_row(const struct jpeg_decompress_struct *jpeg, uint8_t *row, size_t skip, uint8_t *dst, int channels,
                       size_t count)
{
    int stored = jpeg->output_components;
    uint8_t *src = row + skip * (size_t)stored;
    if (stored == 4) {
        cmyk_to_rgb(src, jpeg->saw_Adobe_marker, src, count); /* in place: writes stay behind reads */
        stored = 3;
    }
    image_convert_row(src, stored, dst, channels, count);
}

/* Ask for the region's columns and one more on each side, since upsampling looks there. And for 16 at least: below 2
 * chroma columns libjpeg falls back to plain upsampling. Returns the first column that rows will have. */
static size_t crop_columns(struct jpeg_decompress_struct *jpeg, struct image_rect rect)
{
    enum { LEAST = 16 };
    JDIMENSION first = rect.x > 0 ? (JDIMENSION)rect.x - 1 : 0, end = (JDIMENSION)(rect.x + rect.width) + 1;
    if (end < first + LEAST)
        end = first + LEAST;
    if (end > jpeg->output_width)
        end = jpeg->output_width;
    if (end < first + LEAST)
        first = end > LEAST ? end - LEAST : 0;
    JDIMENSION width = end - first;
    jpeg_crop_scanline(jpeg, &first, &width);
    return first;
}

static void read_rows(struct decoder *decoder, struct image_rect rect, int channels, struct image *out)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    size_t left = 0;
    if (rect.width != (int)jpeg->output_width && region_is_exact(jpeg)) {
        left = crop_columns(jpeg, rect);
    }
    size_t skip = (size_t)rect.x - left, count = (size_t)rect.width, row_bytes = count * (size_t)channels;
    JDIMENSION first_row = (JDIMENSION)rect.y, end_row = first_row + (JDIMENSION)rect.height;
    int straight =
        jpeg->output_components == channels && count == jpeg->output_width; /* rows are the caller's as they come */
    JSAMPROW targets[ROWS_PER_READ];
    JSAMPARRAY rows = (*jpeg->mem->alloc_sarray)(
        (j_common_ptr)jpeg, JPOOL_IMAGE, jpeg->output_width * (JDIMENSION)jpeg->output_components, ROWS_PER_READ);
    if (first_row > 0 && region_is_exact(jpeg))
        jpeg_skip_scanlines(jpeg, first_row);
    while (jpeg->output_scanline < end_row) {
        JDIMENSION y = jpeg->output_scanline, want = end_row - y < ROWS_PER_READ ? end_row - y : ROWS_PER_READ;
        int direct = straight && y >= first_row;
        for (JDIMENSION i = 0; direct && i < want; i++)
            targets[i] = out->pixels + (size_t)(y + i - first_row) * row_bytes;
        JDIMENSION got = jpeg_read_scanlines(jpeg, direct ? targets : rows, want);
        for (JDIMENSION i = 0; !direct && i < got; i++)
            if (y + i >= first_row)
                finish_row(jpeg, rows[i], skip, out->pixels + (size_t)(y + i - first_row) * row_bytes, channels, count);
    }
}

static vt_status decode_body(struct decoder *decoder, int channels, const struct image_rect *rect, struct image *out)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    struct image_rect all = {0, 0, (int)jpeg->image_width, (int)jpeg->image_height};
    if (rect)
        VT_TRY(image_check_rect(rect, all.width, all.height));
    if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4)
        return VT_FAIL(VT_E_UNSUPPORTED, "JPEG: %d components, expected 1, 3 or 4", jpeg->num_components);
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE : jpeg->num_components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg->do_block_smoothing = FALSE;
    VT_TRY(image_resize_storage(out, rect ? rect->width : all.width, rect ? rect->height : all.height, channels));
    jpeg_start_decompress(jpeg);
    read_rows(decoder, rect ? *rect : all, channels, out);
    jpeg_abort_decompress(jpeg);
    return VT_OK;
}

vt_status jpeg_decode(const uint8_t *bytes, size_t size, int channels, const struct image_rect *rect, struct image *out,
                      int *warnings)
{
    struct decoder decoder;
    prepare(&decoder);
    if (setjmp(decoder.escape)) {
        vt_status status = fail(&decoder);
        jpeg_destroy_decompress(&decoder.jpeg);
        return status;
    }
    vt_status status = start(&decoder, bytes, size, 0);
    if (status == VT_OK)
        status = decode_body(&decoder, channels, rect, out);
    if (warnings)
        *warnings = decoder.warnings;
    jpeg_destroy_decompress(&decoder.jpeg);
    return status;
}

/* *bytes and *size are libjpeg's own growing buffer; freed here on failure. */
vt_status image_encode_jpeg(const struct image *image, int quality, uint8_t **bytes, size_t *size)
{
    struct jpeg_compress_struct jpeg;
    struct decoder keeper;
    prepare(&keeper);
    memset(&jpeg, 0, sizeof jpeg);
    jpeg.err = &keeper.errors;
    jpeg.client_data = &keeper;
    unsigned char *volatile buffer = NULL;
    unsigned char *grown = NULL;
    unsigned long grown_size = 0;
    if (setjmp(keeper.escape)) {
        char text[JMSG_LENGTH_MAX];
        (*keeper.errors.format_message)((j_common_ptr)&jpeg, text);
        jpeg_destroy_compress(&jpeg);
        free(buffer);
        return VT_FAIL(VT_E_FORMAT, "JPEG encoder: %s", text);
    }
    jpeg_create_compress(&jpeg);
    jpeg.client_data = &keeper;
    jpeg_mem_dest(&jpeg, &grown, &grown_size);
    jpeg.image_width = (JDIMENSION)image->width;
    jpeg.image_height = (JDIMENSION)image->height;
    jpeg.input_components = image->channels;
    jpeg.in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    jpeg.dct_method = JDCT_ISLOW;
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = image->pixels + (size_t)jpeg.next_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    buffer = grown;
    *bytes = buffer;
    *size = grown_size;
    return VT_OK;
}
