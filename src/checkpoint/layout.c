#include "checkpoint/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tensor/shape.h"

static bool is_first_of_name(const struct checkpoint_file *files, int index)
{
    for (int i = 0; i < index; i++)
        if (strcmp(files[i].name, files[index].name) == 0)
            return false;
    return true;
}

static int rows_of_name(const struct checkpoint_file *files, int file_count, const char *name)
{
    int rows = 0;
    for (int i = 0; i < file_count; i++)
        if (strcmp(files[i].name, name) == 0)
            rows += files[i].table->count;
    return rows;
}

static void tensor_from_row(const char *prefix, const struct param *row, struct safetensor *tensor)
{
    *tensor = (struct safetensor){.dtype = DTYPE_F32, .rank = row->rank, .count = row->count};
    int length = snprintf(tensor->name, sizeof tensor->name, "%s%s", prefix ? prefix : "", row->name);
    VT_CHECK(length > 0 && length < (int)sizeof tensor->name);
    memcpy(tensor->dim, row->dim, sizeof row->dim);
}

static void plan_file(const struct checkpoint_file *files, int file_count, const struct checkpoint_file *first,
                      const char *config, struct layout *layout)
{
    const char *const metadata[] = {"format", "pt", SAFETENSORS_CONFIG, config};
    const char *name = first->name;
    bool weights = !first->prefix || !first->prefix[0];
    int rows = rows_of_name(files, file_count, name), n = 0;
    struct safetensor *tensors = calloc((size_t)rows + 1, sizeof *tensors);
    size_t header_bytes;
    layout->pieces = calloc((size_t)rows + 1, sizeof *layout->pieces);
    VT_CHECK(tensors && layout->pieces);
    VT_CHECK(strlen(name) < sizeof layout->name && !strchr(name, '/'));
    strcpy(layout->name, name);
    for (int i = 0; i < file_count; i++)
        for (int row = 0; strcmp(files[i].name, name) == 0 && row < files[i].table->count; row++) {
            tensor_from_row(files[i].prefix, &files[i].table->rows[row], &tensors[n]);
            layout->pieces[++n].bytes = (char *)(files[i].values + files[i].table->rows[row].offset);
        }
    safetensors_layout(tensors, n, metadata, weights && config ? 2 : 1, &layout->header, &header_bytes);
    layout->pieces[0] = (struct layout_piece){.begin = 0, .end = header_bytes, .bytes = layout->header};
    for (int i = 0; i < n; i++) {
        layout->pieces[i + 1].begin = tensors[i].begin;
        layout->pieces[i + 1].end = tensors[i].end;
    }
    layout->count = n + 1;
    layout->bytes = layout->pieces[n].end;
    free(tensors);
}

vt_status layout_for_writing(const struct checkpoint_file *files, int file_count, const char *config,
                             struct layout **layouts, int *count)
{
    *layouts = calloc((size_t)file_count + 1, sizeof **layouts);
    *count = 0;
    if (!*layouts)
        return VT_FAIL(VT_E_MEMORY, "checkpoint: no memory for the file table");
    for (int i = 0; i < file_count; i++)
        if (is_first_of_name(files, i))
            plan_file(files, file_count, &files[i], config, &(*layouts)[(*count)++]);
    return VT_OK;
}

static vt_status check_tensor(const struct safetensors *source, const struct safetensor *found,
                              const struct safetensor *wanted)
{
    if (!found)
        return VT_FAIL(VT_E_FORMAT, "%s: no tensor '%s', which the model has", source->path, wanted->name);
    if (found->rank != wanted->rank ||
        memcmp(found->dim, wanted->dim, (size_t)wanted->rank * sizeof *wanted->dim) != 0) {
        char is[SHAPE_TEXT_BYTES], expected[SHAPE_TEXT_BYTES];
        return VT_FAIL(VT_E_FORMAT, "%s: tensor '%s' has shape %s, the model's has %s", source->path, wanted->name,
                       shape_text(found->dim, found->rank, is, sizeof is),
                       shape_text(wanted->dim, wanted->rank, expected, sizeof expected));
    }
    if (found->dtype != DTYPE_F32)
        return VT_FAIL(VT_E_FORMAT, "%s: tensor '%s' is %s, expected fp32", source->path, wanted->name,
                       dtype_name(found->dtype));
    return VT_OK;
}

static vt_status adopt_file(const struct safetensors *source, const struct checkpoint_file *file, struct layout *layout)
{
    for (int row = 0; row < file->table->count; row++) {
        struct safetensor wanted;
        tensor_from_row(file->prefix, &file->table->rows[row], &wanted);
        const struct safetensor *found = safetensors_find(source, wanted.name);
        VT_TRY(check_tensor(source, found, &wanted));
        layout->pieces[1 + (found - source->tensors)].bytes = (char *)(file->values + file->table->rows[row].offset);
    }
    return VT_OK;
}

vt_status layout_for_reading(const struct safetensors *source, const struct checkpoint_file *files, int file_count,
                             const char *name, struct layout *layout)
{
    *layout = (struct layout){.count = source->count + 1};
    VT_CHECK(strlen(name) < sizeof layout->name);
    strcpy(layout->name, name);
    layout->pieces = calloc((size_t)layout->count, sizeof *layout->pieces);
    if (!layout->pieces)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for a table of %d tensors", source->path, source->count);
    for (int i = 0; i < source->count; i++) {
        layout->pieces[i + 1].begin = source->tensors[i].begin;
        layout->pieces[i + 1].end = source->tensors[i].end;
        layout->bytes = source->tensors[i].end;
    }
    layout->pieces[0].end = source->count ? source->tensors[0].begin : 0;
    for (int i = 0; i < file_count; i++)
        if (strcmp(files[i].name, name) == 0)
            VT_TRY(adopt_file(source, &files[i], layout));
    for (int i = 0; i < source->count; i++)
        if (!layout->pieces[i + 1].bytes)
            return VT_FAIL(VT_E_FORMAT, "%s: tensor '%s' is none of the model's", source->path,
                           source->tensors[i].name);
    return VT_OK;
}

void layout_close(struct layout *layout)
{
    free(layout->pieces);
    free(layout->header);
    *layout = (struct layout){0};
}

void layouts_close(struct layout **layouts, int count)
{
    for (int i = 0; *layouts && i < count; i++)
        layout_close(&(*layouts)[i]);
    free(*layouts);
    *layouts = NULL;
}

/* Index of the first piece that ends behind byte `at`. */
static int find_piece(const struct layout *layout, uint64_t at)
{
    int low = 0, high = layout->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (layout->pieces[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void layout_gather(const struct layout *layout, uint64_t at, size_t size, char *out)
{
    VT_CHECK(at + size <= layout->bytes);
    for (int i = find_piece(layout, at); size; i++) {
        const struct layout_piece *piece = &layout->pieces[i];
        size_t n = piece->end - at < size ? (size_t)(piece->end - at) : size;
        memcpy(out, piece->bytes + (at - piece->begin), n);
        at += n, out += n, size -= n;
    }
}

void layout_scatter(const struct layout *layout, uint64_t at, size_t size, const char *in)
{
    VT_CHECK(at + size <= layout->bytes);
    for (int i = find_piece(layout, at); size; i++) {
        const struct layout_piece *piece = &layout->pieces[i];
        size_t n = piece->end - at < size ? (size_t)(piece->end - at) : size;
        if (piece->bytes)
            memcpy(piece->bytes + (at - piece->begin), in, n);
        at += n, in += n, size -= n;
    }
}
