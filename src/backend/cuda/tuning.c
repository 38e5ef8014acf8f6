#include "backend/cuda/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"

struct entry {
    char *device, *libraries, *key, *value;
    bool put; /* made here, not imported */
};

struct tuning {
    char device[TUNING_WORD_BYTES], libraries[TUNING_WORD_BYTES]; /* of this process */
    struct entry *entries;
    int count, capacity;
};

static void write_word(char word[TUNING_WORD_BYTES], const char *text)
{
    size_t i = 0;
    for (; text[i] && i < TUNING_WORD_BYTES - 1; i++)
        word[i] = text[i] > ' ' && text[i] < 0x7f ? text[i] : '_';
    word[i] = '\0';
}

vt_status tuning_open(const char *device, const char *libraries, struct tuning **out)
{
    struct tuning *tuning = calloc(1, sizeof *tuning);
    if (!tuning)
        return VT_FAIL(VT_E_MEMORY, "no memory for the tuning table");
    write_word(tuning->device, device);
    write_word(tuning->libraries, libraries);
    *out = tuning;
    return VT_OK;
}

void tuning_close(struct tuning **tuning)
{
    if (!*tuning)
        return;
    for (int i = 0; i < (*tuning)->count; i++) {
        struct entry *entry = &(*tuning)->entries[i];
        free(entry->device);
        free(entry->libraries);
        free(entry->key);
        free(entry->value);
    }
    free((*tuning)->entries);
    free(*tuning);
    *tuning = NULL;
}

static bool is_at(const struct entry *entry, const char *device, const char *libraries)
{
    return strcmp(entry->libraries, libraries) == 0 && strcmp(entry->device, device) == 0;
}

static struct entry *lookup(const struct tuning *tuning, const char *device, const char *libraries, const char *key)
{
    for (int i = 0; i < tuning->count; i++)
        if (strcmp(tuning->entries[i].key, key) == 0 && is_at(&tuning->entries[i], device, libraries))
            return &tuning->entries[i];
    return NULL;
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    VT_CHECKF(copy != NULL, "no memory for a tuning entry");
    return copy;
}

static void enter(struct tuning *tuning, const struct tuning_row *row, bool put)
{
    struct entry *entry = lookup(tuning, row->device, row->libraries, row->key);
    if (entry && strcmp(entry->value, row->value) == 0)
        return;
    if (entry) {
        free(entry->value);
        entry->value = copy_of(row->value);
        entry->put = put;
        return;
    }
    if (tuning->count == tuning->capacity) {
        tuning->capacity = tuning->capacity ? 2 * tuning->capacity : 32;
        tuning->entries = realloc(tuning->entries, (size_t)tuning->capacity * sizeof *tuning->entries);
        VT_CHECKF(tuning->entries != NULL, "no memory for %d tuning entries", tuning->capacity);
    }
    tuning->entries[tuning->count++] =
        (struct entry){copy_of(row->device), copy_of(row->libraries), copy_of(row->key), copy_of(row->value), put};
}

const char *tuning_find(const struct tuning *tuning, const char *key)
{
    VT_CHECKF(tuning_is_word(key), "tuning key '%s'", key);
    const struct entry *entry = lookup(tuning, tuning->device, tuning->libraries, key);
    return entry ? entry->value : NULL;
}

void tuning_put(struct tuning *tuning, const char *key, const char *value)
{
    const struct tuning_row row = {tuning->device, tuning->libraries, key, value};
    VT_CHECKF(tuning_is_word(key), "tuning key '%s'", key);
    VT_CHECKF(tuning_is_word(value), "tuning value '%s' of %s", value, key);
    enter(tuning, &row, true);
}

vt_status tuning_import(struct tuning *tuning, const void *bytes, size_t size)
{
    struct tuning_rows rows;
    VT_TRY(tuning_decode(bytes, size, &rows));
    for (int i = 0; i < rows.count; i++)
        enter(tuning, &rows.rows[i], false);
    tuning_rows_close(&rows);
    return VT_OK;
}

bool tuning_outdated(const struct tuning *tuning, char libraries[TUNING_WORD_BYTES])
{
    const char *found = NULL;
    for (int i = 0; i < tuning->count; i++) {
        const struct entry *entry = &tuning->entries[i];
        if (is_at(entry, tuning->device, tuning->libraries))
            return false;
        if (strcmp(entry->device, tuning->device) == 0)
            found = entry->libraries;
    }
    if (found)
        snprintf(libraries, TUNING_WORD_BYTES, "%s", found);
    return found != NULL;
}

static int by_place_and_key(const void *left, const void *right)
{
    const struct tuning_row *a = left, *b = right;
    int order = strcmp(a->device, b->device);
    if (order == 0)
        order = strcmp(a->libraries, b->libraries);
    return order ? order : strcmp(a->key, b->key);
}

vt_status tuning_export(const struct tuning *tuning, uint8_t **bytes, size_t *size)
{
    struct tuning_row *rows = calloc((size_t)tuning->count + 1, sizeof *rows);
    if (!rows)
        return VT_FAIL(VT_E_MEMORY, "no memory for the tuning table");
    for (int i = 0; i < tuning->count; i++) {
        const struct entry *entry = &tuning->entries[i];
        rows[i] = (struct tuning_row){entry->device, entry->libraries, entry->key, entry->value};
    }
    qsort(rows, (size_t)tuning->count, sizeof *rows, by_place_and_key);
    vt_status status = tuning_encode(rows, tuning->count, bytes, size);
    free(rows);
    return status;
}

/* ---- kept from program to program ---- */

static const char *kept_path(void)
{
    const char *path = getenv("VT_CUDA_TUNE_FILE");
    return path && *path ? path : NULL;
}

static vt_status read_kept(struct tuning *tuning, const char *path)
{
    char *bytes = NULL;
    size_t size;
    if (!file_exists(path))
        return VT_OK;
    vt_status status = file_read(path, TUNING_FILE_MAX_BYTES, &bytes, &size);
    if (status == VT_OK && (status = tuning_import(tuning, bytes, size)) != VT_OK)
        status = status_prefix(status, "%s", path);
    free(bytes);
    return status;
}

vt_status tuning_kept_load(struct tuning *tuning)
{
    const char *path = kept_path();
    vt_status status = path ? read_kept(tuning, path) : VT_OK;
    return status == VT_OK ? VT_OK : status_prefix(status, "VT_CUDA_TUNE_FILE");
}

/* What was put here over what the file has by now. */
static vt_status write_kept(const struct tuning *tuning, const char *path)
{
    struct tuning *kept = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    vt_status status;
    VT_TRY_OUT(tuning_open(tuning->device, tuning->libraries, &kept));
    VT_TRY_OUT(read_kept(kept, path));
    for (int i = 0; i < tuning->count; i++)
        if (tuning->entries[i].put)
            tuning_put(kept, tuning->entries[i].key, tuning->entries[i].value);
    VT_TRY_OUT(tuning_export(kept, &bytes, &size));
    VT_TRY_OUT(file_write_atomic(path, bytes, size));
out:
    tuning_close(&kept);
    free(bytes);
    return status;
}

void tuning_kept_save(const struct tuning *tuning)
{
    const char *path = kept_path();
    bool changed = false;
    for (int i = 0; tuning && i < tuning->count; i++)
        changed = changed || tuning->entries[i].put;
    if (path && changed && write_kept(tuning, path) != VT_OK)
        log_warn("tuning     VT_CUDA_TUNE_FILE is not written: %s", status_message());
}
