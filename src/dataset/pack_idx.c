/* IDX files (the MNIST family): NAME-images-idx3-ubyte[.gz] with NAME-labels-idx1-ubyte[.gz] beside it. "train" in the
 * name makes the train split, "t10k" or "test" the val split. Images become P5 files: what decodes fastest. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zlib.h>

#include "base/file.h"
#include "dataset/pack_source.h"
#include "image/image.h"

enum { MAGIC_IMAGES = 0x803, MAGIC_LABELS = 0x801, PATH_BYTES = 4096, MAX_SIDE = 4096, MAX_ITEMS = 1 << 28, FILES = 2 };

struct idx_file {
    char name[256];       /* of the image file */
    int64_t count, first; /* items first..first+count-1 */
    int rows, columns;
    uint8_t *pixels, *labels;
};

struct idx {
    int file_count;
    struct idx_file files[FILES];
};

static const char *const FASHION_MNIST[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                            "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
/* xxh3 of the label bytes of Fashion-MNIST's training set: the files carry no names. */
static const uint64_t FASHION_MNIST_LABELS = 0x46e784b61aa2b893u;

static vt_status read_exactly(gzFile file, const char *path, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t want = size - done < (1u << 30) ? size - done : 1u << 30;
        int n = gzread(file, (char *)bytes + done, (unsigned)want);
        if (n <= 0) {
            int code;
            const char *why = gzerror(file, &code);
            return VT_FAIL(VT_E_FORMAT, "%s: %s after %zu bytes, expected %zu", path, n < 0 ? why : "ends", done, size);
        }
        done += (size_t)n;
    }
    return VT_OK;
}

static uint32_t big_endian(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Reads an IDX file of u8 with `dims` dimensions; *data is malloc'ed. */
static vt_status read_idx(const char *path, uint32_t magic, int dims, uint32_t *sizes, uint8_t **data)
{
    uint8_t header[16];
    *data = NULL;
    gzFile file = gzopen(path, "rb"); /* reads plain files too */
    if (!file)
        return VT_FAIL(VT_E_IO, "%s: cannot open", path);
    vt_status status;
    VT_TRY_OUT(read_exactly(file, path, header, 4 + 4 * (size_t)dims));
    if (big_endian(header) != magic)
        status = VT_FAIL(VT_E_FORMAT, "%s: starts with %08x, expected %08x (IDX of bytes, %d dimensions)", path,
                         big_endian(header), magic, dims);
    VT_TRY_OUT(status);
    size_t total = 1;
    for (int i = 0; i < dims; i++) {
        sizes[i] = big_endian(header + 4 + 4 * i);
        if (sizes[i] < 1 || sizes[i] > (i == 0 ? MAX_ITEMS : MAX_SIDE))
            status = VT_FAIL(VT_E_FORMAT, "%s: dimension %d is %u", path, i, sizes[i]);
        VT_TRY_OUT(status);
        total *= sizes[i];
    }
    *data = malloc(total);
    if (!*data)
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu bytes", path, total);
    VT_TRY_OUT(status);
    VT_TRY_OUT(read_exactly(file, path, *data, total));
    uint8_t extra;
    if (gzread(file, &extra, 1) != 0)
        status = VT_FAIL(VT_E_FORMAT, "%s: more bytes than its header says (%zu)", path, total);
out:
    gzclose(file);
    return status;
}

static vt_status read_pair(const char *folder, const char *image_name, struct idx_file *file)
{
    char path[PATH_BYTES], label_name[256];
    const char *at = strstr(image_name, "images");
    snprintf(file->name, sizeof file->name, "%s", image_name);
    VT_TRY(path_join(path, sizeof path, folder, image_name));
    uint32_t sizes[3] = {0}, label_sizes[1] = {0};
    VT_TRY(read_idx(path, MAGIC_IMAGES, 3, sizes, &file->pixels));
    const char *type = strstr(at, "idx3");
    snprintf(label_name, sizeof label_name, "%.*slabels%.*sidx1%s", (int)(at - image_name), image_name,
             (int)(type - at - 6), at + 6, type + 4);
    VT_TRY(path_join(path, sizeof path, folder, label_name));
    VT_TRY(read_idx(path, MAGIC_LABELS, 1, label_sizes, &file->labels));
    if (label_sizes[0] != sizes[0])
        return VT_FAIL(VT_E_FORMAT, "%s: %u labels, %s has %u images", path, label_sizes[0], image_name, sizes[0]);
    file->count = sizes[0];
    file->rows = (int)sizes[1];
    file->columns = (int)sizes[2];
    return VT_OK;
}

static const struct idx_file *file_of(const struct idx *idx, int64_t *item)
{
    int f = 0;
    while (f + 1 < idx->file_count && *item >= idx->files[f + 1].first)
        f++;
    *item -= idx->files[f].first;
    return &idx->files[f];
}

static vt_status read_item(struct pack_source *source, int64_t item, uint8_t **buffer, size_t *capacity, size_t *size)
{
    const struct idx_file *file = file_of(source->state, &item);
    size_t pixels = (size_t)file->rows * (size_t)file->columns;
    VT_TRY(pack_reserve(buffer, capacity, pixels + IMAGE_PNM_HEADER_BYTES));
    size_t header = image_pnm_header(file->columns, file->rows, 1, (char *)*buffer);
    memcpy(*buffer + header, file->pixels + (size_t)item * pixels, pixels);
    *size = header + pixels;
    return VT_OK;
}

static void item_key(const struct pack_source *source, int64_t item, char *text, size_t bytes)
{
    const struct idx_file *file = file_of(source->state, &item);
    snprintf(text, bytes, "%s:%lld", file->name, (long long)item);
}

static int64_t item_bytes(const struct pack_source *source, int64_t item)
{
    const struct idx_file *file = file_of(source->state, &item);
    return (int64_t)file->rows * file->columns;
}

static void close_idx(struct pack_source *source)
{
    struct idx *idx = source->state;
    for (int f = 0; idx && f < FILES; f++) {
        free(idx->files[f].pixels);
        free(idx->files[f].labels);
    }
    free(idx);
}

static vt_status add_split(struct pack_source *source, const char *split, const struct idx_file *file, int *max_label)
{
    struct pack_items *items = pack_split(source, split);
    for (int64_t i = 0; i < file->count; i++) {
        VT_TRY(pack_items_append(items, file->first + i, file->labels[i]));
        *max_label = file->labels[i] > *max_label ? file->labels[i] : *max_label;
    }
    return VT_OK;
}

static vt_status name_classes(struct pack_source *source, const struct idx *idx, int max_label)
{
    int fashion = max_label == 9 && idx->file_count > 0 &&
                  XXH3_64bits(idx->files[0].labels, (size_t)idx->files[0].count) == FASHION_MNIST_LABELS;
    for (int c = 0; c <= max_label; c++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%d", c);
        VT_TRY(pack_add_class(source, fashion ? FASHION_MNIST[c] : digits));
    }
    return VT_OK;
}

/* The image file whose name has one of these words; "" when there is none. */
static void find_images(const char *folder, const char *word, const char *other_word, char name[256])
{
    DIR *dir = opendir(folder);
    name[0] = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *images = strstr(entry->d_name, "images");
        if (images && strstr(images, "idx3") && (strstr(entry->d_name, word) || strstr(entry->d_name, other_word)) &&
            (!name[0] || strcmp(entry->d_name, name) < 0))
            snprintf(name, 256, "%s", entry->d_name);
    }
    if (dir)
        closedir(dir);
}

vt_status pack_idx_open(const struct pack_desc *desc, struct pack_source *source)
{
    static const char *const split_names[FILES] = {"train", "val"}, *const words[FILES][2] = {{"train", "train"},
                                                                                              {"t10k", "test"}};
    struct idx *idx = source->state = calloc(1, sizeof *idx);
    if (!idx)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory", desc->source);
    source->kind = "idx";
    source->cheap_pixels = 1;
    source->read = read_item;
    source->key = item_key;
    source->bytes = item_bytes;
    source->close = close_idx;
    int max_label = -1;
    int64_t first = 0;
    for (int f = 0; f < FILES; f++) {
        char name[256];
        find_images(desc->source, words[f][0], words[f][1], name);
        if (!name[0])
            continue;
        struct idx_file *file = &idx->files[idx->file_count++];
        file->first = first;
        VT_TRY(read_pair(desc->source, name, file));
        first += file->count;
        VT_TRY(add_split(source, split_names[f], file, &max_label));
    }
    if (idx->file_count == 0)
        return VT_FAIL(VT_E_USAGE, "%s: no train-images-idx3-ubyte[.gz] or t10k-images-idx3-ubyte[.gz] in it",
                       desc->source);
    return name_classes(source, idx, max_label);
}
