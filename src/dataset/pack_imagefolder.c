/* Folders of images, one per class: SRC/CLASS/..., or SRC/{train,val,test}/CLASS/... . Names are taken in byte order,
 * so the same tree gives the same items on any file system. Files of other types are passed over and counted. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "dataset/pack_source.h"

enum { PATH_BYTES = 4096, MAX_DEPTH = 16, MAX_FILE_BYTES = 1 << 30 };

struct folder {
    char *root;
    char *names; /* paths below root, NUL-terminated, one after the other */
    size_t names_bytes, names_capacity;
    size_t *start; /* of each item's name */
    int64_t count, capacity, other_files;
};

static int is_image(const char *name)
{
    static const char *const extensions[] = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pnm"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof extensions / sizeof *extensions; i++)
        if (strcasecmp(dot, extensions[i]) == 0)
            return 1;
    return 0;
}

static vt_status add_file(struct folder *folder, const char *path)
{
    size_t bytes = strlen(path) + 1;
    if (folder->count == folder->capacity) {
        int64_t capacity = folder->capacity ? 2 * folder->capacity : 4096;
        size_t *start = realloc(folder->start, (size_t)capacity * sizeof *start);
        if (!start)
            return VT_FAIL(VT_E_MEMORY, "%s: no memory for %lld files", folder->root, (long long)capacity);
        folder->start = start;
        folder->capacity = capacity;
    }
    if (folder->names_capacity - folder->names_bytes < bytes) {
        size_t capacity = 2 * folder->names_capacity + bytes + 65536;
        char *names = realloc(folder->names, capacity);
        if (!names)
            return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu bytes of names", folder->root, capacity);
        folder->names = names;
        folder->names_capacity = capacity;
    }
    memcpy(folder->names + folder->names_bytes, path, bytes);
    folder->start[folder->count++] = folder->names_bytes;
    folder->names_bytes += bytes;
    return VT_OK;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static vt_status list_dir(const char *path, struct dirent ***entries, int *count)
{
    *count = scandir(path, entries, visible, by_bytes);
    if (*count < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot list the folder: %s", path, strerror(errno));
    return VT_OK;
}

static void free_list(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
}

/* All images below root/path, depth first, into `items` with this label. */
static vt_status walk(struct folder *folder, const char *path, int depth, int32_t label, struct pack_items *items)
{
    char full[PATH_BYTES], below[PATH_BYTES];
    struct dirent **entries;
    int count;
    VT_TRY(path_join(full, sizeof full, folder->root, path));
    if (depth > MAX_DEPTH)
        return VT_FAIL(VT_E_LIMIT, "%s: folders nested deeper than %d", full, MAX_DEPTH);
    VT_TRY(list_dir(full, &entries, &count));
    vt_status status = VT_OK;
    for (int i = 0; i < count && status == VT_OK; i++) {
        status = path_join(below, sizeof below, path, entries[i]->d_name);
        if (status == VT_OK)
            status = path_join(full, sizeof full, folder->root, below);
        if (status != VT_OK)
            break;
        if (is_image(below) && strchr(below, '\n') == NULL) {
            status = pack_items_append(items, folder->count, label);
            if (status == VT_OK)
                status = add_file(folder, below);
        } else if (file_is_dir(full)) {
            status = walk(folder, below, depth + 1, label, items);
        } else {
            folder->other_files++;
        }
    }
    free_list(entries, count);
    return status;
}

static int class_of(const struct pack_source *source, const char *name)
{
    int low = 0, high = source->class_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2, order = strcmp(source->class_names[middle], name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Class folders of root/path: `visit` for each. */
static vt_status each_class(struct pack_source *source, const char *path,
                            vt_status (*visit)(struct pack_source *, const char *path, const char *name, void *),
                            void *context)
{
    struct folder *folder = source->state;
    char full[PATH_BYTES];
    struct dirent **entries;
    int count;
    VT_TRY(path_join(full, sizeof full, folder->root, path));
    VT_TRY(list_dir(full, &entries, &count));
    vt_status status = VT_OK;
    for (int i = 0; i < count && status == VT_OK; i++) {
        char below[PATH_BYTES];
        status = path_join(below, sizeof below, path, entries[i]->d_name);
        if (status == VT_OK)
            status = path_join(full, sizeof full, folder->root, below);
        if (status == VT_OK && file_is_dir(full))
            status = visit(source, below, entries[i]->d_name, context);
        else
            folder->other_files++;
    }
    free_list(entries, count);
    return status;
}

static vt_status note_class(struct pack_source *source, const char *path, const char *name, void *context)
{
    (void)path;
    (void)context;
    return pack_add_class(source, name);
}

static vt_status list_class(struct pack_source *source, const char *path, const char *name, void *context)
{
    return walk(source->state, path, 0, class_of(source, name), context);
}

/* Class ids follow the sorted names of all splits together. */
static void sort_classes(struct pack_source *source)
{
    int kept = 0;
    qsort(source->class_names, (size_t)source->class_count, sizeof *source->class_names, by_name);
    for (int i = 0; i < source->class_count; i++) {
        if (kept > 0 && strcmp(source->class_names[kept - 1], source->class_names[i]) == 0)
            free(source->class_names[i]);
        else
            source->class_names[kept++] = source->class_names[i];
    }
    source->class_count = kept;
}

static vt_status read_item(struct pack_source *source, int64_t item, uint8_t **buffer, size_t *capacity, size_t *size)
{
    const struct folder *folder = source->state;
    char path[PATH_BYTES];
    struct stat info;
    VT_TRY(path_join(path, sizeof path, folder->root, folder->names + folder->start[item]));
    FILE *file = fopen(path, "rb");
    if (!file)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    vt_status status = VT_OK;
    if (fstat(fileno(file), &info) != 0 || info.st_size > MAX_FILE_BYTES)
        status = VT_FAIL(VT_E_LIMIT, "%s: an image file of more than %d bytes", path, MAX_FILE_BYTES);
    else
        status = pack_reserve(buffer, capacity, (size_t)info.st_size + 1);
    if (status == VT_OK) {
        *size = fread(*buffer, 1, (size_t)info.st_size, file);
        if (ferror(file))
            status = VT_FAIL(VT_E_IO, "%s: read: %s", path, strerror(errno));
    }
    fclose(file);
    return status;
}

static void item_key(const struct pack_source *source, int64_t item, char *text, size_t bytes)
{
    const struct folder *folder = source->state;
    snprintf(text, bytes, "%s", folder->names + folder->start[item]);
}

static int64_t item_bytes(const struct pack_source *source, int64_t item)
{
    const struct folder *folder = source->state;
    char path[PATH_BYTES];
    int64_t bytes = 0;
    if (path_join(path, sizeof path, folder->root, folder->names + folder->start[item]) != VT_OK ||
        file_size(path, &bytes) != VT_OK)
        return 0;
    return bytes;
}

static void close_folder(struct pack_source *source)
{
    struct folder *folder = source->state;
    if (!folder)
        return;
    free(folder->root);
    free(folder->names);
    free(folder->start);
    free(folder);
}

/* Which of train, val (or validation) and test are there; one unnamed "train" when none is. */
static int find_splits(const char *root, const char *paths[PACK_MAX_SPLITS], const char *names[PACK_MAX_SPLITS])
{
    static const char *const known[][2] = {{"train", "train"}, {"val", "val"}, {"validation", "val"}, {"test", "test"}};
    int count = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char path[PATH_BYTES];
        if (path_join(path, sizeof path, root, known[i][0]) == VT_OK && file_is_dir(path) &&
            !(count > 0 && strcmp(names[count - 1], known[i][1]) == 0)) {
            paths[count] = known[i][0];
            names[count++] = known[i][1];
        }
    }
    if (count > 0 && strcmp(names[0], "train") == 0)
        return count;
    paths[0] = "";
    names[0] = "train";
    return 1;
}

vt_status pack_imagefolder_open(const struct pack_desc *desc, struct pack_source *source)
{
    struct folder *folder = source->state = calloc(1, sizeof *folder);
    if (!folder || !(folder->root = strdup(desc->source)))
        return VT_FAIL(VT_E_MEMORY, "%s: no memory", desc->source);
    source->kind = "imagefolder";
    source->read = read_item;
    source->key = item_key;
    source->bytes = item_bytes;
    source->close = close_folder;
    const char *paths[PACK_MAX_SPLITS], *names[PACK_MAX_SPLITS];
    int splits = find_splits(desc->source, paths, names);
    for (int s = 0; s < splits; s++)
        VT_TRY(each_class(source, paths[s], note_class, NULL));
    sort_classes(source);
    folder->other_files = 0;
    for (int s = 0; s < splits; s++)
        VT_TRY(each_class(source, paths[s], list_class, pack_split(source, names[s])));
    if (folder->count == 0)
        return VT_FAIL(VT_E_USAGE, "%s: no images in class folders (expected SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg)",
                       desc->source);
    if (folder->other_files > 0)
        log_info("%s: %lld files that are not .jpg .jpeg .png .ppm .pgm .pnm were passed over", desc->source,
                 (long long)folder->other_files);
    return VT_OK;
}
