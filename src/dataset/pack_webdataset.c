/* WebDataset tars (KEY.jpg|jpeg|png|ppm|pgm + KEY.cls) become a dataset without a copy: they stay where they are,
 * read-only; only manifest and indexes are written. Splits by file name: "val", "valid", "test" in it, or train. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/file.h"
#include "base/log.h"
#include "dataset/pack_write.h"
#include "dataset/tar.h"

enum { PATH_BYTES = 4096, HASH_CHUNK = 1 << 20, MAX_CLASS = 1 << 24 };

/* The members of one key. */
struct group {
    char key[TAR_NAME_BYTES];
    int64_t offset, bytes; /* of the image; bytes = 0: none */
    int32_t label;         /* -1 = no .cls */
};

struct walk {
    struct tar_reader reader;
    struct tar_member ahead; /* the next group's first member */
    bool has_ahead;
};

static int is_image(const char *extension)
{
    static const char *const known[] = {"jpg", "jpeg", "png", "ppm", "pgm", "pnm"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcasecmp(extension, known[i]) == 0)
            return 1;
    return 0;
}

/* KEY ends at the first dot of the base name; returns the extension. */
static const char *split_name(char *name)
{
    char *dot = strchr((char *)path_base(name), '.');
    if (!dot)
        return "";
    *dot = 0;
    return dot + 1;
}

static vt_status read_label(struct walk *walk, const struct tar_member *member, int32_t *label)
{
    char text[24] = "", *end;
    size_t size = member->bytes < (int64_t)sizeof text ? (size_t)member->bytes : sizeof text - 1;
    if (pread(walk->reader.fd, text, size, member->offset) != (ssize_t)size)
        return VT_FAIL(VT_E_IO, "%s: offset %lld: cannot read %s", walk->reader.name, (long long)member->offset,
                       member->name);
    long value = strtol(text, &end, 10);
    while (isspace((unsigned char)*end))
        end++;
    if (end == text || *end || value < 0 || value >= MAX_CLASS)
        return VT_FAIL(VT_E_FORMAT, "%s: %s.cls: \"%s\", expected a class number", walk->reader.name, member->name,
                       text);
    *label = (int32_t)value;
    return VT_OK;
}

static vt_status next_group(struct walk *walk, struct group *group, bool *found)
{
    *group = (struct group){.label = -1};
    *found = false;
    while (true) {
        struct tar_member member;
        bool more = true;
        if (walk->has_ahead)
            member = walk->ahead;
        else
            VT_TRY(tar_next(&walk->reader, &member, &more));
        walk->has_ahead = false;
        if (!more)
            return VT_OK;
        struct tar_member whole = member;
        const char *extension = split_name(member.name);
        if (*found && strcmp(member.name, group->key) != 0) {
            walk->ahead = whole;
            walk->has_ahead = true;
            return VT_OK;
        }
        *found = true;
        memcpy(group->key, member.name, sizeof group->key);
        if (is_image(extension) && group->bytes == 0) {
            group->offset = member.offset;
            group->bytes = member.bytes;
        } else if (strcmp(extension, "cls") == 0) {
            VT_TRY(read_label(walk, &member, &group->label));
        }
    }
}

static vt_status open_walk(const char *path, struct walk *walk)
{
    memset(walk, 0, sizeof *walk);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    vt_status status = tar_reader_init_file(&walk->reader, path, fd);
    if (status != VT_OK)
        close(fd);
    return status;
}

/* First pass: headers and .cls only. Counts samples and finds the largest class. */
static vt_status count_tar(const char *path, int64_t *samples, int32_t *max_label)
{
    struct walk walk;
    struct group group;
    bool found = true;
    vt_status status = open_walk(path, &walk);
    if (status != VT_OK)
        return status;
    while (true) {
        VT_TRY_OUT(next_group(&walk, &group, &found));
        if (!found)
            break;
        if (group.bytes == 0)
            continue;
        if (group.label < 0)
            status = VT_FAIL(VT_E_FORMAT, "%s: %s has an image but no .cls", path, group.key);
        VT_TRY_OUT(status);
        *max_label = group.label > *max_label ? group.label : *max_label;
        ++*samples;
    }
out:
    close(walk.reader.fd);
    return status;
}

static const char *split_of(const char *name)
{
    return strstr(name, "val") ? "val" : strstr(name, "test") ? "test" : "train";
}

static int is_tar(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".tar") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static vt_status add_tar(struct pack_source *source, const char *folder, const char *name, int32_t *max_label)
{
    char joined[PATH_BYTES], *path;
    struct pack_items *items = pack_split(source, split_of(name));
    VT_TRY(path_join(joined, sizeof joined, folder, name));
    char **tars = realloc(items->tars, ((size_t)items->tar_count + 1) * sizeof *tars);
    if (tars)
        items->tars = tars;
    path = tars ? realpath(joined, NULL) : NULL;
    if (!path)
        return VT_FAIL(VT_E_IO, "%s: %s", joined, strerror(errno));
    items->tars[items->tar_count++] = path;
    return count_tar(path, &items->count, max_label);
}

vt_status pack_webdataset_open(const struct pack_desc *desc, struct pack_source *source)
{
    struct dirent **entries;
    int32_t max_label = -1;
    source->kind = "webdataset";
    if (desc->val)
        return VT_FAIL(VT_E_USAGE,
                       "val \"%s\": webdataset tars stay as they are; name their val tars so, or use train[:90%%]",
                       desc->val);
    int count = scandir(desc->source, &entries, is_tar, by_bytes);
    if (count < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot list the folder: %s", desc->source, strerror(errno));
    vt_status status = count > 0 ? VT_OK : VT_FAIL(VT_E_USAGE, "%s: no .tar in it", desc->source);
    for (int i = 0; i < count; i++) {
        if (status == VT_OK)
            status = add_tar(source, desc->source, entries[i]->d_name, &max_label);
        free(entries[i]);
    }
    free(entries);
    for (int32_t c = 0; c <= max_label && status == VT_OK; c++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%d", c);
        status = pack_add_class(source, digits);
    }
    return status;
}

static vt_status hash_tar(const struct walk *walk, uint64_t *hash)
{
    uint8_t *chunk = malloc(HASH_CHUNK);
    XXH3_state_t *state = XXH3_createState();
    ssize_t n = chunk && state ? 1 : -1;
    if (n > 0)
        XXH3_64bits_reset(state);
    for (int64_t at = 0; n > 0 && (n = pread(walk->reader.fd, chunk, HASH_CHUNK, at)) > 0; at += n)
        XXH3_64bits_update(state, chunk, (size_t)n);
    if (n == 0)
        *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    free(chunk);
    return n == 0 ? VT_OK : VT_FAIL(VT_E_IO, "%s: read: %s", walk->reader.name, strerror(errno));
}

static vt_status index_group(struct pack_splitter *s, const struct walk *walk, const struct group *group,
                             int64_t number, int64_t count)
{
    struct image_info info;
    const struct pack_item item = {number, group->label};
    size_t size = (size_t)group->bytes;
    if (pack_check_bytes(group->bytes) != VT_OK) /* the header's claim: nothing is allocated for it */
        return pack_splitter_drop(s, group->key, 0);
    VT_TRY(pack_reserve(&s->buffer, &s->capacity, size));
    if (pread(walk->reader.fd, s->buffer, size, group->offset) != (ssize_t)size)
        return VT_FAIL(VT_E_IO, "%s: offset %lld: cannot read %zu bytes", walk->reader.name, (long long)group->offset,
                       size);
    vt_status status = pack_splitter_examine(s, size, pack_splitter_wants_pixels(s, number, count), &info);
    if (status == VT_E_MEMORY)
        return status;
    if (status != VT_OK)
        return pack_splitter_drop(s, group->key, size);
    return pack_splitter_add(s, &item, &info, size, group->offset, group->key);
}

static vt_status index_tar(struct pack_splitter *s, const char *path, int64_t *number, int64_t count)
{
    struct walk walk;
    struct group group;
    bool found = true;
    uint64_t hash = 0;
    vt_status status = open_walk(path, &walk);
    if (status != VT_OK)
        return status;
    while (true) {
        VT_TRY_OUT(next_group(&walk, &group, &found));
        if (!found)
            break;
        if (group.bytes > 0)
            VT_TRY_OUT(index_group(s, &walk, &group, (*number)++, count));
    }
    VT_TRY_OUT(hash_tar(&walk, &hash));
    if (s->index.samples == 0)
        status = VT_FAIL(VT_E_FORMAT, "%s: no readable sample in it", path);
    VT_TRY_OUT(status);
    status = pack_splitter_close_shard(s, walk.reader.bytes, hash);
out:
    close(walk.reader.fd);
    return status;
}

vt_status pack_index_split(struct pack_write *write, const struct pack_items *items, struct manifest_split *split)
{
    struct pack_splitter splitter = {.write = write, .split = split};
    int64_t number = 0;
    vt_status status = pack_splitter_begin(&splitter, items);
    split->paths = items->tars; /* borrowed from the source */
    for (int i = 0; i < items->tar_count && status == VT_OK; i++) {
        status = index_tar(&splitter, items->tars[i], &number, items->count);
        log_info("indexed %s", items->tars[i]);
    }
    return pack_splitter_end(&splitter, status, items->count);
}
