/* The binary versions of CIFAR-10 (data_batch_N.bin, test_batch.bin) and CIFAR-100 (train.bin, test.bin; fine labels).
 * The test file makes the val split. Planes become P6 files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "dataset/pack_source.h"
#include "image/image.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, PATH_BYTES = 4096, MAX_FILE = 1 << 30, MOST_FILES = 8 };

struct cifar_file {
    char name[64];
    char *bytes;
    int64_t first, count;
};

struct cifar {
    int label_bytes; /* 1, or 2 for CIFAR-100: coarse, fine */
    int file_count;
    struct cifar_file files[MOST_FILES];
};

static const char *record_of(const struct cifar *cifar, int64_t item, const struct cifar_file **file)
{
    int f = 0;
    while (f + 1 < cifar->file_count && item >= cifar->files[f + 1].first)
        f++;
    *file = &cifar->files[f];
    return cifar->files[f].bytes + (item - cifar->files[f].first) * (cifar->label_bytes + PIXELS);
}

static vt_status read_item(struct pack_source *source, int64_t item, uint8_t **buffer, size_t *capacity, size_t *size)
{
    const struct cifar *cifar = source->state;
    const struct cifar_file *file;
    const char *planes = record_of(cifar, item, &file) + cifar->label_bytes;
    VT_TRY(pack_reserve(buffer, capacity, PIXELS + IMAGE_PNM_HEADER_BYTES));
    size_t header = image_pnm_header(SIDE, SIDE, 3, (char *)*buffer);
    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++)
            (*buffer)[header + (size_t)(3 * i + c)] = (uint8_t)planes[c * PLANE + i];
    *size = header + PIXELS;
    return VT_OK;
}

static void item_key(const struct pack_source *source, int64_t item, char *text, size_t bytes)
{
    const struct cifar_file *file;
    record_of(source->state, item, &file);
    snprintf(text, bytes, "%s:%lld", file->name, (long long)(item - file->first));
}

static int64_t item_bytes(const struct pack_source *source, int64_t item)
{
    (void)source;
    (void)item;
    return PIXELS;
}

static void close_cifar(struct pack_source *source)
{
    struct cifar *cifar = source->state;
    for (int f = 0; cifar && f < cifar->file_count; f++)
        free(cifar->files[f].bytes);
    free(cifar);
}

/* Reads DIR/name into the split when it is there. */
static vt_status add_file(const char *folder, const char *name, const char *split, struct pack_source *source)
{
    struct cifar *cifar = source->state;
    char path[PATH_BYTES];
    size_t size, record = (size_t)cifar->label_bytes + PIXELS;
    VT_TRY(path_join(path, sizeof path, folder, name));
    if (!file_exists(path))
        return VT_OK;
    struct cifar_file *file = &cifar->files[cifar->file_count];
    file->first = cifar->file_count ? file[-1].first + file[-1].count : 0;
    snprintf(file->name, sizeof file->name, "%s", name);
    VT_TRY(file_read(path, MAX_FILE, &file->bytes, &size));
    cifar->file_count++;
    file->count = (int64_t)(size / record);
    if (size == 0 || size % record != 0)
        return VT_FAIL(VT_E_FORMAT, "%s: %zu bytes, expected a multiple of %zu (label and 32 x 32 x 3 pixels)", path,
                       size, record);
    struct pack_items *items = pack_split(source, split);
    for (int64_t i = 0; i < file->count; i++) {
        int32_t label = (uint8_t)file->bytes[(size_t)i * record + (size_t)cifar->label_bytes - 1];
        if (label >= source->class_count)
            return VT_FAIL(VT_E_FORMAT, "%s: record %lld: label %d, expected below %d", path, (long long)i, (int)label,
                           source->class_count);
        VT_TRY(pack_items_append(items, file->first + i, label));
    }
    return VT_OK;
}

/* One name per line; digits where the file or a line is missing. */
static vt_status read_names(const char *folder, const char *name, int classes, struct pack_source *source)
{
    char path[PATH_BYTES], *text = NULL, digits[16], *rest = NULL;
    size_t size;
    VT_TRY(path_join(path, sizeof path, folder, name));
    if (file_exists(path))
        VT_TRY(file_read(path, MAX_FILE, &text, &size));
    char *line = text ? strtok_r(text, "\r\n", &rest) : NULL;
    vt_status status = VT_OK;
    for (int c = 0; c < classes && status == VT_OK; c++) {
        snprintf(digits, sizeof digits, "%d", c);
        status = pack_add_class(source, line ? line : digits);
        line = line ? strtok_r(NULL, "\r\n", &rest) : NULL;
    }
    free(text);
    return status;
}

vt_status pack_cifar_open(const struct pack_desc *desc, struct pack_source *source)
{
    static const char *const ten[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                      "data_batch_5.bin"};
    char path[PATH_BYTES];
    struct cifar *cifar = source->state = calloc(1, sizeof *cifar);
    if (!cifar)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory", desc->source);
    source->kind = "cifar";
    source->cheap_pixels = 1;
    source->read = read_item;
    source->key = item_key;
    source->bytes = item_bytes;
    source->close = close_cifar;
    VT_TRY(path_join(path, sizeof path, desc->source, "train.bin"));
    int hundred = file_exists(path);
    cifar->label_bytes = hundred ? 2 : 1;
    VT_TRY(read_names(desc->source, hundred ? "fine_label_names.txt" : "batches.meta.txt", hundred ? 100 : 10, source));
    if (hundred)
        VT_TRY(add_file(desc->source, "train.bin", "train", source));
    for (int f = 0; !hundred && f < 5; f++)
        VT_TRY(add_file(desc->source, ten[f], "train", source));
    VT_TRY(add_file(desc->source, hundred ? "test.bin" : "test_batch.bin", "val", source));
    if (cifar->file_count == 0)
        return VT_FAIL(VT_E_USAGE, "%s: no data_batch_1.bin or train.bin in it (the binary version of CIFAR)",
                       desc->source);
    return VT_OK;
}
