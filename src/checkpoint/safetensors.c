#include "checkpoint/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/json.h"

enum { HEADER_MAX = 100 * 1000 * 1000, TENSORS_MAX = 100 * 1000, READ_BLOCK = 1 << 18 };

static const struct {
    const char *name;
    enum dtype dtype;
} dtype_words[] = {{"F32", DTYPE_F32}, {"BF16", DTYPE_BF16}, {"F16", DTYPE_F16}, {"F64", DTYPE_F64},
                   {"I64", DTYPE_I64}, {"I32", DTYPE_I32},   {"U8", DTYPE_U8},   {"BOOL", DTYPE_U8}};

static const char *dtype_word(enum dtype dtype)
{
    for (size_t i = 0; i < sizeof dtype_words / sizeof *dtype_words; i++)
        if (dtype_words[i].dtype == dtype)
            return dtype_words[i].name;
    VT_CHECKF(0, "dtype %d", (int)dtype);
    return "";
}

static vt_status parse_dtype(const char *where, const char *word, enum dtype *out)
{
    for (size_t i = 0; i < sizeof dtype_words / sizeof *dtype_words; i++)
        if (strcmp(dtype_words[i].name, word) == 0) {
            *out = dtype_words[i].dtype;
            return VT_OK;
        }
    return VT_FAIL(VT_E_UNSUPPORTED, "%s: dtype %.16s, expected F32, BF16, F16, F64, I64, I32, U8 or BOOL", where,
                   word);
}

static vt_status parse_shape(const char *where, const struct json *shape, struct safetensor *tensor)
{
    size_t rank = json_count(shape);
    if (rank > sizeof tensor->dim / sizeof *tensor->dim)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: %zu dimensions, at most %zu are read", where, rank,
                       sizeof tensor->dim / sizeof *tensor->dim);
    tensor->rank = (int)rank;
    tensor->count = 1;
    for (size_t i = 0; i < rank; i++) {
        VT_TRY(json_at_int(shape, where, i, &tensor->dim[i]));
        if (tensor->dim[i] < 0 || __builtin_mul_overflow(tensor->count, tensor->dim[i], &tensor->count))
            return VT_FAIL(VT_E_FORMAT, "%s: shape[%zu] is %lld: negative or too large", where, i,
                           (long long)tensor->dim[i]);
    }
    return VT_OK;
}

/* Offsets in the header count from its end, `data_begin`. */
static vt_status parse_extent(const char *where, const struct json *offsets, uint64_t data_begin, uint64_t file_bytes,
                              struct safetensor *tensor)
{
    int64_t begin, end, bytes;
    if (json_count(offsets) != 2)
        return VT_FAIL(VT_E_FORMAT, "%s: data_offsets has %zu numbers, expected 2", where, json_count(offsets));
    VT_TRY(json_at_int(offsets, where, 0, &begin));
    VT_TRY(json_at_int(offsets, where, 1, &end));
    if (begin < 0 || end < begin || (uint64_t)end > file_bytes - data_begin)
        return VT_FAIL(VT_E_FORMAT, "%s: data_offsets [%lld, %lld] are not inside the file's %llu bytes of data", where,
                       (long long)begin, (long long)end, (unsigned long long)(file_bytes - data_begin));
    if (__builtin_mul_overflow(tensor->count, (int64_t)dtype_bytes(tensor->dtype), &bytes) || bytes != end - begin)
        return VT_FAIL(VT_E_FORMAT, "%s: %lld bytes of data for %lld values of %s", where, (long long)(end - begin),
                       (long long)tensor->count, dtype_name(tensor->dtype));
    tensor->begin = data_begin + (uint64_t)begin;
    tensor->end = data_begin + (uint64_t)end;
    return VT_OK;
}

static vt_status parse_tensor(const char *path, const struct json_member *member, uint64_t data_begin,
                              uint64_t file_bytes, struct safetensor *tensor)
{
    char where[640];
    const char *word;
    const struct json *shape, *offsets;
    snprintf(where, sizeof where, "%s: tensor '%.80s'", path, member->key);
    if (strlen(member->key) >= sizeof tensor->name)
        return VT_FAIL(VT_E_LIMIT, "%s...: the name has more than %zu bytes", where, sizeof tensor->name - 1);
    strcpy(tensor->name, member->key);
    if (json_kind(member->value) != JSON_KIND_OBJECT)
        return VT_FAIL(VT_E_FORMAT, "%s: expected an object with dtype, shape and data_offsets", where);
    VT_TRY(json_get_string(member->value, where, "dtype", &word));
    VT_TRY(parse_dtype(where, word, &tensor->dtype));
    VT_TRY(json_get_array(member->value, where, "shape", &shape));
    VT_TRY(parse_shape(where, shape, tensor));
    VT_TRY(json_get_array(member->value, where, "data_offsets", &offsets));
    return parse_extent(where, offsets, data_begin, file_bytes, tensor);
}

static int by_begin(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; /* empty tensors before the one that starts at the same byte */
}

static int by_name(const void *a, const void *b)
{
    const struct safetensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* For safetensors_find; the tensors are in their final order. */
static vt_status sort_names(struct safetensors *file)
{
    file->by_name = calloc((size_t)file->count + 1, sizeof *file->by_name);
    if (!file->by_name)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for the names of %d tensors", file->path, file->count);
    for (int i = 0; i < file->count; i++)
        file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, by_name);
    return VT_OK;
}

static vt_status check_tiling(const char *path, const struct safetensors *file, uint64_t data_begin,
                              uint64_t file_bytes)
{
    uint64_t at = data_begin;
    for (int i = 0; i < file->count; i++) {
        if (file->tensors[i].begin != at)
            return VT_FAIL(
                VT_E_FORMAT, "%s: tensor '%.80s' starts at byte %llu, expected %llu: extents have a hole or overlap",
                path, file->tensors[i].name, (unsigned long long)file->tensors[i].begin, (unsigned long long)at);
        at = file->tensors[i].end;
    }
    if (at != file_bytes)
        return VT_FAIL(VT_E_FORMAT, "%s: the tensors end at byte %llu, the file has %llu", path, (unsigned long long)at,
                       (unsigned long long)file_bytes);
    return VT_OK;
}

vt_status safetensors_parse(const char *path, const uint8_t *header, size_t header_bytes, uint64_t file_bytes,
                            struct safetensors *file)
{
    vt_status status = VT_OK;
    struct json *root = NULL;
    uint64_t data_begin = 8 + (uint64_t)header_bytes;
    *file = (struct safetensors){.fd = -1};
    snprintf(file->path, sizeof file->path, "%s", path);
    if (header_bytes > HEADER_MAX || data_begin > file_bytes)
        return VT_FAIL(VT_E_FORMAT, "%s: a header of %zu bytes in a file of %llu", path, header_bytes,
                       (unsigned long long)file_bytes);
    if (header_bytes == 0 || header[0] != '{')
        return VT_FAIL(VT_E_FORMAT, "%s: not a safetensors file: the header does not begin with '{'", path);
    VT_TRY_OUT(json_parse((const char *)header, header_bytes, path, &root));
    size_t members = json_count(root);
    if (members > TENSORS_MAX) {
        status = VT_FAIL(VT_E_LIMIT, "%s: %zu tensors, at most %d are read", path, members, TENSORS_MAX);
        goto out;
    }
    file->tensors = calloc(members + 1, sizeof *file->tensors);
    if (!file->tensors) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for the table of %zu tensors", path, members);
        goto out;
    }
    for (struct json_member member = {0}; json_next(root, &member);) {
        if (strcmp(member.key, "__metadata__") == 0) {
            free(file->metadata_json);
            file->metadata_json = json_to_text(member.value);
            continue;
        }
        VT_TRY_OUT(parse_tensor(path, &member, data_begin, file_bytes, &file->tensors[file->count]));
        file->count++;
    }
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_begin);
    VT_TRY_OUT(check_tiling(path, file, data_begin, file_bytes));
    status = sort_names(file);
out:
    json_free(&root);
    if (status != VT_OK)
        safetensors_close(file);
    return status;
}

static vt_status read_exactly(int fd, const char *path, void *bytes, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)bytes + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return VT_FAIL(VT_E_IO, "%s: cannot read at byte %llu: %s", path, (unsigned long long)(at + done),
                           strerror(errno));
        if (n == 0)
            return VT_FAIL(VT_E_FORMAT, "%s: ends at byte %llu, expected %llu", path, (unsigned long long)(at + done),
                           (unsigned long long)(at + size));
        done += (size_t)n;
    }
    return VT_OK;
}

static vt_status read_header(int fd, const char *path, uint8_t **header, uint64_t *header_bytes, uint64_t *file_bytes)
{
    struct stat info;
    uint8_t word[8];
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return VT_FAIL(VT_E_IO, "%s: not a regular file", path);
    *file_bytes = (uint64_t)info.st_size;
    if (*file_bytes < sizeof word)
        return VT_FAIL(VT_E_FORMAT, "%s: %llu bytes: not a safetensors file", path, (unsigned long long)*file_bytes);
    VT_TRY(read_exactly(fd, path, word, sizeof word, 0));
    *header_bytes = 0;
    for (int i = 0; i < 8; i++)
        *header_bytes |= (uint64_t)word[i] << (8 * i);
    if (*header_bytes > HEADER_MAX || *header_bytes > *file_bytes - sizeof word)
        return VT_FAIL(VT_E_FORMAT,
                       "%s: the header claims %llu bytes in a file of %llu (at most %d): not a safetensors file", path,
                       (unsigned long long)*header_bytes, (unsigned long long)*file_bytes, HEADER_MAX);
    *header = malloc((size_t)*header_bytes + 1);
    if (!*header)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for a header of %llu bytes", path,
                       (unsigned long long)*header_bytes);
    return read_exactly(fd, path, *header, (size_t)*header_bytes, sizeof word);
}

vt_status safetensors_open(const char *path, struct safetensors *file)
{
    vt_status status = VT_OK;
    uint8_t *header = NULL;
    uint64_t header_bytes = 0, file_bytes = 0;
    *file = (struct safetensors){.fd = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        *file = (struct safetensors){0};
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    VT_TRY_OUT(read_header(fd, path, &header, &header_bytes, &file_bytes));
    VT_TRY_OUT(safetensors_parse(path, header, (size_t)header_bytes, file_bytes, file));
    file->fd = fd;
out:
    free(header);
    if (status != VT_OK)
        close(fd);
    return status;
}

/* Accepts a zeroed struct: fd 0 counts as "none" only when there is no table. */
void safetensors_close(struct safetensors *file)
{
    if (file->tensors && file->fd >= 0)
        close(file->fd);
    free(file->tensors);
    free(file->by_name);
    free(file->metadata_json);
    *file = (struct safetensors){.fd = -1};
}

vt_status safetensors_metadata(const struct safetensors *file, const char *key, char **value)
{
    struct json *root = NULL;
    *value = NULL;
    if (!file->metadata_json)
        return VT_OK;
    VT_TRY(json_parse(file->metadata_json, strlen(file->metadata_json), file->path, &root));
    const struct json *found = json_find(root, key);
    vt_status status = VT_OK;
    if (found && json_kind(found) == JSON_KIND_STRING && !(*value = strdup(json_string_of(found))))
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for its metadata", file->path);
    json_free(&root);
    return status;
}

const struct safetensor *safetensors_find(const struct safetensors *file, const char *name)
{
    int low = 0, high = file->count;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(file->by_name[middle]->name, name);
        if (order == 0)
            return file->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff, word;
    float value;
    if (exponent == 0) { /* zero and subnormals: mantissa * 2^-24 */
        value = (float)mantissa * 0x1p-24f;
        return sign ? -value : value;
    }
    word = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13;
    memcpy(&value, &word, sizeof value);
    return value;
}

static void widen(const uint8_t *bytes, enum dtype dtype, int64_t count, float *values)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        double wide;
        if (dtype == DTYPE_F64) {
            memcpy(&wide, bytes + 8 * i, sizeof wide);
            values[i] = (float)wide;
        } else {
            memcpy(&half, bytes + 2 * i, sizeof half);
            values[i] = dtype == DTYPE_BF16 ? bf16_to_float(half) : half_to_float(half);
        }
    }
}

vt_status safetensors_read_f32(const struct safetensors *file, const struct safetensor *tensor, float *values)
{
    static _Thread_local uint8_t block[READ_BLOCK];
    if (tensor->dtype == DTYPE_F32)
        return read_exactly(file->fd, file->path, values, (size_t)tensor->count * sizeof *values, tensor->begin);
    if (tensor->dtype != DTYPE_F16 && tensor->dtype != DTYPE_BF16 && tensor->dtype != DTYPE_F64)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: tensor '%.80s' has dtype %s, expected a floating one", file->path,
                       tensor->name, dtype_name(tensor->dtype));
    int64_t element = (int64_t)dtype_bytes(tensor->dtype), step = READ_BLOCK / element;
    for (int64_t at = 0; at < tensor->count; at += step) {
        int64_t n = tensor->count - at < step ? tensor->count - at : step;
        VT_TRY(
            read_exactly(file->fd, file->path, block, (size_t)(n * element), tensor->begin + (uint64_t)(at * element)));
        widen(block, tensor->dtype, n, values + at);
    }
    return VT_OK;
}

static struct json *tensor_json(const struct safetensor *tensor, uint64_t begin, uint64_t end)
{
    struct json *entry = json_new_object(), *shape = json_new_array(), *offsets = json_new_array();
    for (int i = 0; i < tensor->rank; i++)
        json_add_int(shape, tensor->dim[i]);
    json_add_int(offsets, (int64_t)begin);
    json_add_int(offsets, (int64_t)end);
    json_set_string(entry, "dtype", dtype_word(tensor->dtype));
    json_set(entry, "shape", shape);
    json_set(entry, "data_offsets", offsets);
    return entry;
}

void safetensors_layout(struct safetensor *tensors, int count, const char *const *keys_values, int pairs, char **header,
                        size_t *header_bytes)
{
    struct json *root = json_new_object();
    if (pairs) {
        struct json *metadata = json_new_object();
        for (int i = 0; i < pairs; i++)
            json_set_string(metadata, keys_values[2 * i], keys_values[2 * i + 1]);
        json_set(root, "__metadata__", metadata);
    }
    uint64_t at = 0;
    for (int i = 0; i < count; i++) {
        tensors[i].count = 1;
        for (int d = 0; d < tensors[i].rank; d++)
            tensors[i].count *= tensors[i].dim[d];
        tensors[i].begin = at;
        at += (uint64_t)tensors[i].count * dtype_bytes(tensors[i].dtype);
        tensors[i].end = at;
        json_set(root, tensors[i].name, tensor_json(&tensors[i], tensors[i].begin, at));
    }
    char *text = json_to_text(root);
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    json_free(&root);
    *header_bytes = 8 + padded;
    *header = malloc(*header_bytes);
    VT_CHECK(*header);
    for (int i = 0; i < 8; i++)
        (*header)[i] = (char)((uint64_t)padded >> (8 * i));
    memcpy(*header + 8, text, length);
    memset(*header + 8 + length, ' ', padded - length);
    free(text);
    for (int i = 0; i < count; i++) {
        tensors[i].begin += *header_bytes;
        tensors[i].end += *header_bytes;
    }
}
