#include "dataset/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "dataset/manifest.h"
#include "dataset/shard_index.h"
#include "dataset/tar.h"
#include "image/image.h"

enum { PATH_BYTES = 4096, MAX_BYTES = 1 << 30, CLASSES_SHOWN = 20, DROPPED_SHOWN = 20 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool inspect_is_dataset(const char *path)
{
    char manifest[PATH_BYTES];
    if (strcmp(path_base(path), MANIFEST_FILE) == 0 || ends_with(path, ".idx") || ends_with(path, ".tar"))
        return true;
    return path_join(manifest, sizeof manifest, path, MANIFEST_FILE) == VT_OK && file_exists(manifest);
}

static void set_hash(struct json *object, const char *key, uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    json_set_string(object, key, text);
}

static vt_status print_json(struct json *json, FILE *out)
{
    char *text = json_to_pretty_text(json);
    int failed = fputs(text, out) < 0;
    free(text);
    json_free(&json);
    return failed ? VT_FAIL(VT_E_IO, "cannot write: %s", strerror(errno)) : VT_OK;
}

/* ---- manifest ---- */

static struct json *stats_json(const struct manifest_stats *stats)
{
    struct json *json = json_new_object(), *mean = json_new_array(), *std = json_new_array();
    for (int c = 0; c < stats->channels && stats->pixels; c++) {
        json_add_double(mean, stats->mean[c]);
        json_add_double(std, stats->std[c]);
    }
    json_set_int(json, "channels", stats->channels);
    json_set(json, "mean", mean);
    json_set(json, "std", std);
    json_set_int(json, "pixels", (int64_t)stats->pixels);
    json_set_int(json, "common_width", stats->common_width);
    json_set_int(json, "common_height", stats->common_height);
    json_set_int(json, "max_width", stats->max_width);
    json_set_int(json, "max_height", stats->max_height);
    json_set_double(json, "mean_bytes", stats->mean_bytes);
    json_set_int(json, "max_bytes", stats->max_bytes);
    json_set_int(json, "progressive", stats->progressive);
    json_set_int(json, "grey", stats->grey);
    json_set_int(json, "cmyk", stats->cmyk);
    json_set_int(json, "exif_rotated", stats->exif_rotated);
    return json;
}

static struct json *split_json(const struct manifest_split *split)
{
    struct json *json = json_new_object(), *shards = json_new_array(), *dropped = json_new_array();
    json_set_string(json, "name", split->name);
    json_set_int(json, "samples", split->samples);
    json_set_int(json, "bytes", split->bytes);
    set_hash(json, "fingerprint", split->fingerprint);
    json_set_bool(json, "preshuffled", split->preshuffled);
    json_set_int(json, "block_samples", split->block_samples);
    if (split->stats.known)
        json_set(json, "stats", stats_json(&split->stats));
    for (int i = 0; i < split->shard_count; i++) {
        struct json *shard = json_new_object();
        char path[PATH_BYTES];
        if (manifest_split_path(split, i, path, sizeof path) == VT_OK)
            json_set_string(shard, "path", path);
        json_set_int(shard, "samples", split->shards[i].samples);
        json_set_int(shard, "bytes", split->shards[i].bytes);
        set_hash(shard, "xxh3", split->shards[i].xxh3);
        set_hash(shard, "index_xxh3", split->shards[i].index_xxh3);
        json_add(shards, shard);
    }
    json_set(json, "shards", shards);
    for (int i = 0; i < split->dropped_count; i++) {
        const struct manifest_dropped *d = &split->dropped[i];
        struct json *entry = json_new_object();
        json_set_string(entry, "key", d->key);
        json_set_string(entry, "reason", d->reason);
        if (!d->not_packed)
            json_set_int(entry, "sample", d->sample);
        json_add(dropped, entry);
    }
    json_set(json, "dropped", dropped);
    return json;
}

static struct json *manifest_json(const struct manifest *manifest, const char *damage)
{
    struct json *json = json_new_object(), *classes = json_new_array(), *splits = json_new_array(),
                *from = json_new_object();
    json_set_string(json, "kind", "dataset");
    json_set_string(json, "name", manifest->name);
    if (damage[0])
        json_set_string(json, "damage", damage);
    for (int i = 0; i < manifest->class_count; i++) {
        struct json *entry = json_new_object();
        json_set_string(entry, "name", manifest->classes[i].name);
        if (manifest->classes[i].wnid[0])
            json_set_string(entry, "wnid", manifest->classes[i].wnid);
        json_set_int(entry, "train", manifest->classes[i].train_samples);
        json_set_int(entry, "val", manifest->classes[i].val_samples);
        json_add(classes, entry);
    }
    for (int i = 0; i < manifest->split_count; i++)
        json_add(splits, split_json(&manifest->splits[i]));
    json_set(json, "classes", classes);
    json_set(json, "splits", splits);
    json_set_string(from, "source", manifest->provenance.source_uri);
    json_set_string(from, "tool", manifest->provenance.tool);
    json_set_string(from, "command", manifest->provenance.command);
    json_set_string(from, "step", manifest->provenance.step);
    set_hash(from, "source_xxh3", manifest->provenance.source_xxh3);
    json_set(json, "provenance", from);
    return json;
}

static void split_text(const struct manifest_split *split, FILE *out)
{
    const struct manifest_stats *s = &split->stats;
    char bytes[32];
    text_format_bytes((double)split->bytes, bytes, sizeof bytes);
    fprintf(out, "split %s: %lld sample%s, %d shard%s, %s, %s, fingerprint %016llx\n", split->name,
            (long long)split->samples, text_s(split->samples), split->shard_count, text_s(split->shard_count), bytes, split->preshuffled ? "shuffled" : "in source order",
            (unsigned long long)split->fingerprint);
    if (s->known) {
        fprintf(out, "  %s, ", s->channels == 1 ? "grey" : "colour");
        if (s->common_width)
            fprintf(out, "all %d x %d", s->common_width, s->common_height);
        else
            fprintf(out, "up to %d x %d", s->max_width, s->max_height);
        fprintf(out,
                ", %.0f bytes on average, %lld at most; %lld grey, %lld progressive, %lld CMYK, %lld rotated by EXIF\n",
                s->mean_bytes, (long long)s->max_bytes, (long long)s->grey, (long long)s->progressive,
                (long long)s->cmyk, (long long)s->exif_rotated);
        if (s->pixels) {
            fprintf(out, "  mean");
            for (int c = 0; c < s->channels; c++)
                fprintf(out, " %.4f", s->mean[c]);
            fprintf(out, ", std");
            for (int c = 0; c < s->channels; c++)
                fprintf(out, " %.4f", s->std[c]);
            fprintf(out, " (over %llu pixels)\n", (unsigned long long)s->pixels);
        }
    }
    for (int i = 0; i < split->dropped_count && i < DROPPED_SHOWN; i++)
        fprintf(out, "  %s: %s: %s\n", split->dropped[i].not_packed ? "not packed" : "bad", split->dropped[i].key,
                split->dropped[i].reason);
    if (split->dropped_count > DROPPED_SHOWN)
        fprintf(out, "  and %d more (--json lists them)\n", split->dropped_count - DROPPED_SHOWN);
}

static void manifest_text(const struct manifest *manifest, const char *damage, FILE *out)
{
    if (damage[0])
        fprintf(out, "DAMAGED: %s\n", damage);
    fprintf(out, "dataset %s: %d class%s, %d split%s\n", manifest->name, manifest->class_count,
            manifest->class_count == 1 ? "" : "es", manifest->split_count, text_s(manifest->split_count));
    for (int i = 0; i < manifest->split_count; i++)
        split_text(&manifest->splits[i], out);
    for (int i = 0; i < manifest->class_count && i < CLASSES_SHOWN; i++)
        fprintf(out, "class %d: %s (train %lld, val %lld)\n", i, manifest->classes[i].name,
                (long long)manifest->classes[i].train_samples, (long long)manifest->classes[i].val_samples);
    if (manifest->class_count > CLASSES_SHOWN)
        fprintf(out, "and %d more classes (--json lists them)\n", manifest->class_count - CLASSES_SHOWN);
    fprintf(out, "from %s by %s: %s\n", manifest->provenance.source_uri, manifest->provenance.tool,
            manifest->provenance.step);
}

/* A manifest that fails its hash is shown all the same, with the damage said first. */
static vt_status inspect_manifest(const struct inspect_desc *desc, const char *dir, FILE *out)
{
    struct manifest manifest;
    char damage[VT_MESSAGE_BYTES] = "", path[PATH_BYTES], *bytes;
    size_t size;
    vt_status status = manifest_load(dir, &manifest);
    if (status != VT_OK) {
        snprintf(damage, sizeof damage, "%s", status_message());
        VT_TRY(path_join(path, sizeof path, dir, MANIFEST_FILE));
        if (!file_exists(path))
            return status;
        VT_TRY(file_read(path, MAX_BYTES, &bytes, &size));
        status = manifest_parse((uint8_t *)bytes, size, path, &manifest);
        free(bytes);
        if (status != VT_OK)
            return VT_FAIL(status, "%s", damage);
    }
    if (desc->json)
        status = print_json(manifest_json(&manifest, damage), out);
    else
        manifest_text(&manifest, damage, out);
    manifest_free(&manifest);
    return status;
}

/* ---- index ---- */

static struct json *index_json(const struct shard_index *index)
{
    struct json *json = json_new_object(), *rows = json_new_array();
    size_t label = 0;
    json_set_string(json, "kind", "index");
    json_set_int(json, "samples", (int64_t)index->samples);
    json_set_int(json, "shard_bytes", index->shard_bytes);
    set_hash(json, "shard_xxh3", index->shard_xxh3);
    for (size_t i = 0; i < index->samples; i++) {
        struct json *row = json_new_object(), *labels = json_new_array();
        char key[1024], crc[16];
        shard_index_key(index, i, key, sizeof key);
        snprintf(crc, sizeof crc, "%08x", index->crc32c[i]);
        json_set_string(row, "key", key);
        json_set_int(row, "offset", (int64_t)index->offset[i]);
        json_set_int(row, "bytes", index->bytes[i]);
        json_set_int(row, "width", index->width[i]);
        json_set_int(row, "height", index->height[i]);
        json_set_string(row, "codec", image_codec_extension((enum codec)index->codec[i]));
        json_set_int(row, "flags", index->flags[i]);
        json_set_string(row, "crc32c", crc);
        for (size_t end = label + (index->label_count ? index->label_count[i] : 1); label < end; label++)
            json_add_int(labels, index->labels[label]);
        json_set(row, "labels", labels);
        json_add(rows, row);
    }
    json_set(json, "rows", rows);
    return json;
}

static void index_text(const struct shard_index *index, FILE *out)
{
    size_t label = 0;
    fprintf(out, "index of %zu samples, shard of %lld bytes, xxh3 %016llx\n", index->samples,
            (long long)index->shard_bytes, (unsigned long long)index->shard_xxh3);
    fprintf(out, "sample\toffset\tbytes\tsize\tcodec\tflags\tcrc32c\tlabels\tkey\n");
    for (size_t i = 0; i < index->samples; i++) {
        char key[1024];
        shard_index_key(index, i, key, sizeof key);
        fprintf(out, "%zu\t%llu\t%u\t%ux%u\t%s\t%u\t%08x\t", i, (unsigned long long)index->offset[i], index->bytes[i],
                index->width[i], index->height[i], image_codec_extension((enum codec)index->codec[i]), index->flags[i],
                index->crc32c[i]);
        for (size_t end = label + (index->label_count ? index->label_count[i] : 1); label < end; label++)
            fprintf(out, "%u ", index->labels[label]);
        fprintf(out, "\t%s\n", key);
    }
}

static vt_status inspect_index(const struct inspect_desc *desc, FILE *out)
{
    char *bytes;
    size_t size;
    struct shard_index index;
    VT_TRY(file_read(desc->path, MAX_BYTES, &bytes, &size));
    vt_status status = shard_index_parse((uint8_t *)bytes, size, UINT32_MAX, desc->path, &index);
    free(bytes);
    VT_TRY(status);
    if (desc->json)
        status = print_json(index_json(&index), out);
    else
        index_text(&index, out);
    shard_index_free(&index);
    return status;
}

/* ---- shard ---- */

static vt_status list_members(struct tar_reader *reader, struct json *members, FILE *out)
{
    struct tar_member member;
    bool found = true;
    while (true) {
        VT_TRY(tar_next(reader, &member, &found));
        if (!found)
            return VT_OK;
        if (!members) {
            fprintf(out, "%lld\t%lld\t%s\n", (long long)member.offset, (long long)member.bytes, member.name);
            continue;
        }
        struct json *entry = json_new_object();
        json_set_string(entry, "name", member.name);
        json_set_int(entry, "offset", member.offset);
        json_set_int(entry, "bytes", member.bytes);
        json_add(members, entry);
    }
}

static vt_status inspect_tar(const struct inspect_desc *desc, FILE *out)
{
    struct tar_reader reader;
    int fd = open(desc->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", desc->path, strerror(errno));
    vt_status status = tar_reader_init_file(&reader, desc->path, fd);
    struct json *json = desc->json ? json_new_object() : NULL, *members = desc->json ? json_new_array() : NULL;
    if (!json && status == VT_OK)
        fprintf(out, "shard of %lld bytes\noffset\tbytes\tname\n", (long long)reader.bytes);
    if (status == VT_OK)
        status = list_members(&reader, members, out);
    close(fd);
    if (json) {
        json_set_string(json, "kind", "shard");
        if (status != VT_OK)
            json_set_string(json, "damage", status_message());
        json_set(json, "members", members);
        vt_status printed = print_json(json, out);
        return status == VT_OK ? printed : status;
    }
    return status;
}

vt_status inspect_dataset(const struct inspect_desc *desc, FILE *out)
{
    char dir[PATH_BYTES];
    if (ends_with(desc->path, ".idx"))
        return inspect_index(desc, out);
    if (ends_with(desc->path, ".tar"))
        return inspect_tar(desc, out);
    if (strcmp(path_base(desc->path), MANIFEST_FILE) == 0) {
        VT_TRY(path_dir(dir, sizeof dir, desc->path));
        return inspect_manifest(desc, dir, out);
    }
    return inspect_manifest(desc, desc->path, out);
}
