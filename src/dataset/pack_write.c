#include "dataset/pack_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"
#include "dataset/dataset.h"
#include "dataset/order.h"
#include "dataset/pack_stats.h"
#include "dataset/shard_index.h"
#include "dataset/tar.h"

enum { PATH_BYTES = 4096, STATS_SAMPLES = 10000, DROPS_LOGGED = 10, SHUFFLE_STREAM = 0x73687566, PROGRESS_MS = 5000,
       KEY_BYTES = 1024, MAX_SAMPLE_BYTES = 1 << 30 };

/* What is open while a split is written. */
struct writer {
    struct pack_write *write;
    struct manifest_split *split;
    struct tar_writer *tar;
    struct shard_index index;
    struct pack_stats stats;
    struct image image;
    uint8_t *buffer;
    size_t capacity;
    int shard_capacity, dropped_capacity;
    int is_train, is_val;
};

static vt_status shard_file(const struct writer *w, const char *template, int shard, char *path, size_t bytes)
{
    char name[PATH_BYTES];
    VT_TRY(manifest_shard_path(template, shard, name, sizeof name));
    return path_join(path, bytes, w->write->dir, name);
}

static vt_status close_shard(struct writer *w)
{
    struct manifest_split *split = w->split;
    if (!w->tar)
        return VT_OK;
    if (split->shard_count == w->shard_capacity) {
        int capacity = w->shard_capacity ? 2 * w->shard_capacity : 64;
        struct manifest_shard *bigger = realloc(split->shards, (size_t)capacity * sizeof *bigger);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for %d shards", capacity);
        split->shards = bigger;
        w->shard_capacity = capacity;
    }
    struct manifest_shard *shard = &split->shards[split->shard_count];
    char path[PATH_BYTES];
    uint8_t *bytes = NULL;
    size_t size = 0;
    VT_TRY(tar_writer_finish(&w->tar, &w->index.shard_bytes, &w->index.shard_xxh3));
    VT_TRY(shard_index_pack(&w->index, &bytes, &size));
    *shard = (struct manifest_shard){.bytes = w->index.shard_bytes, .samples = (int64_t)w->index.samples,
        .index_bytes = (int64_t)size, .xxh3 = w->index.shard_xxh3, .index_xxh3 = XXH3_64bits(bytes, size)};
    vt_status status = shard_file(w, split->index_template, split->shard_count, path, sizeof path);
    if (status == VT_OK)
        status = file_write_atomic(path, bytes, size);
    free(bytes);
    shard_index_free(&w->index);
    split->bytes += shard->bytes;
    split->shard_count++;
    return status;
}

static vt_status ensure_shard(struct writer *w)
{
    char path[PATH_BYTES];
    if (w->tar && (int)w->index.samples == w->write->shard_samples)
        VT_TRY(close_shard(w));
    if (w->tar)
        return VT_OK;
    VT_TRY(shard_file(w, w->split->path_template, w->split->shard_count, path, sizeof path));
    return tar_writer_open(path, &w->tar);
}

static vt_status drop(struct writer *w, const char *key, size_t size)
{
    struct manifest_split *split = w->split;
    if (split->dropped_count < DROPS_LOGGED)
        log_warn("%s: left out: %s", key, status_message());
    else if (split->dropped_count == DROPS_LOGGED)
        log_warn("more unreadable images; the manifest lists them all");
    if (split->dropped_count == w->dropped_capacity) {
        int capacity = w->dropped_capacity ? 2 * w->dropped_capacity : 64;
        struct manifest_dropped *bigger = realloc(split->dropped, (size_t)capacity * sizeof *bigger);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for %d unreadable images", capacity);
        split->dropped = bigger;
        w->dropped_capacity = capacity;
    }
    char *key_copy = strdup(key), *reason = strdup(status_message());
    split->dropped[split->dropped_count++] = (struct manifest_dropped){
        .key = key_copy, .reason = reason, .xxh3 = XXH3_64bits(w->buffer, size), .not_packed = true};
    return key_copy && reason ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory for the list of unreadable images");
}

static uint32_t flags_of(const struct image_info *info)
{
    return (info->progressive ? SAMPLE_PROGRESSIVE : 0) | (info->channels <= 2 ? SAMPLE_GREY : 0) |
           (info->codec == CODEC_JPEG && info->channels == 4 ? SAMPLE_CMYK : 0);
}

static vt_status append(struct writer *w, const struct pack_item *item, const struct image_info *info, size_t size, const char *key)
{
    char name[64], label[16];
    struct shard_row row = {.bytes = (uint32_t)size, .width = (uint32_t)info->width, .height = (uint32_t)info->height,
        .codec = info->codec, .flags = flags_of(info), .crc32c = crc32c(0, w->buffer, size), .label = item->label,
        .content = XXH3_64bits(w->buffer, size), .key = key};
    const char *extension = info->codec == CODEC_PNM && info->channels == 3 ? "ppm" : image_codec_extension(info->codec);
    VT_TRY(ensure_shard(w));
    snprintf(name, sizeof name, "%08lld.%s", (long long)w->split->samples, extension);
    VT_TRY(tar_write(w->tar, name, w->buffer, size, &row.offset));
    snprintf(name, sizeof name, "%08lld.cls", (long long)w->split->samples);
    int label_bytes = snprintf(label, sizeof label, "%d", (int)item->label);
    VT_TRY(tar_write(w->tar, name, label, (size_t)label_bytes, NULL));
    VT_TRY(shard_index_append(&w->index, &row));
    const uint64_t identity[2] = {(uint64_t)item->item, row.content};
    w->write->source_xxh3 += XXH3_64bits(identity, sizeof identity);
    w->split->samples++;
    if (w->is_train)
        w->write->classes[item->label].train_samples++;
    if (w->is_val)
        w->write->classes[item->label].val_samples++;
    return VT_OK;
}

static vt_status write_item(struct writer *w, const struct pack_item *item, int with_pixels)
{
    struct pack_source *source = w->write->source;
    struct image_info info;
    char key[KEY_BYTES];
    size_t size = 0;
    source->key(source, item->item, key, sizeof key);
    VT_TRY(source->read(source, item->item, &w->buffer, &w->capacity, &size));
    vt_status status = size > MAX_SAMPLE_BYTES ? VT_FAIL(VT_E_LIMIT, "%zu bytes", size) : image_probe(w->buffer, size, &info);
    if (status == VT_OK && with_pixels)
        status = image_decode(w->buffer, size, info.channels <= 2 ? 1 : 3, &w->image);
    if (status == VT_E_MEMORY)
        return status;
    if (status != VT_OK)
        return drop(w, key, size);
    pack_stats_add(&w->stats, &info, size);
    if (with_pixels)
        pack_stats_add_pixels(&w->stats, &w->image);
    return append(w, item, &info, size, key);
}

static uint64_t text_stream(const char *text)
{
    return SHUFFLE_STREAM ^ XXH3_64bits(text, strlen(text));
}

static vt_status write_items(struct writer *w, const struct pack_items *items)
{
    const struct pack_desc *desc = w->write->desc;
    struct permutation shuffle;
    permutation_init(&shuffle, (uint64_t)items->count, desc->seed, text_stream(items->name));
    int64_t stride = w->write->source->cheap_pixels ? 1 : (items->count + STATS_SAMPLES - 1) / STATS_SAMPLES;
    double last_ms = clock_ms();
    for (int64_t slot = 0; slot < items->count; slot++) {
        int64_t from = desc->no_shuffle ? slot : (int64_t)permutation_apply(&shuffle, (uint64_t)slot);
        VT_TRY(write_item(w, &items->items[from], slot % stride == 0));
        if (clock_ms() - last_ms > PROGRESS_MS) {
            last_ms = clock_ms();
            log_info("packing %s: %lld of %lld samples", items->name, (long long)slot + 1, (long long)items->count);
        }
    }
    return close_shard(w);
}

static char *template_of(const char *split, const char *extension)
{
    char text[128];
    snprintf(text, sizeof text, "shards/%s-%%06d.%s", split, extension);
    return strdup(text);
}

vt_status pack_write_split(struct pack_write *write, const struct pack_items *items, struct manifest_split *split)
{
    struct writer w = {.write = write, .split = split, .is_train = strcmp(items->name, "train") == 0,
                       .is_val = strcmp(items->name, "val") == 0};
    memset(split, 0, sizeof *split);
    split->name = items->name;
    split->path_template = template_of(items->name, "tar");
    split->index_template = template_of(items->name, "idx");
    if (!split->path_template || !split->index_template)
        return VT_FAIL(VT_E_MEMORY, "no memory for split %s", items->name);
    split->block_samples = (uint32_t)(write->desc->block_samples ? write->desc->block_samples : 128);
    split->shard_samples = (uint32_t)write->shard_samples;
    split->preshuffled = !write->desc->no_shuffle;
    split->preshuffle_seed = split->preshuffled ? write->desc->seed : 0;
    vt_status status = write_items(&w, items);
    if (status == VT_OK && split->samples == 0)
        status = VT_FAIL(VT_E_FORMAT, "split %s: none of its %lld images can be read; the first: %s: %s", items->name,
                         (long long)items->count, split->dropped_count ? split->dropped[0].key : "",
                         split->dropped_count ? split->dropped[0].reason : "");
    if (status == VT_OK) {
        pack_stats_finish(&w.stats, &split->stats);
        split->fingerprint = manifest_fingerprint(split->shards, split->shard_count);
    }
    tar_writer_abandon(&w.tar);
    shard_index_free(&w.index);
    image_close(&w.image);
    free(w.buffer);
    return status;
}

void pack_split_free(struct manifest_split *split)
{
    for (int i = 0; i < split->dropped_count; i++) {
        free((char *)split->dropped[i].key);
        free((char *)split->dropped[i].reason);
    }
    free(split->dropped);
    free(split->shards);
    free((char *)split->path_template);
    free((char *)split->index_template);
    memset(split, 0, sizeof *split);
}
