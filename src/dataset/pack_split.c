/* The part of packing that does not care whether shards are written or only indexed. */
#include "dataset/pack_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"
#include "dataset/dataset.h"

enum { PATH_BYTES = 4096, STATS_SAMPLES = 10000, DROPS_LOGGED = 10 };

static char *template_of(const char *split, const char *extension)
{
    char text[128];
    snprintf(text, sizeof text, "shards/%s-%%06d.%s", split, extension);
    return strdup(text);
}

vt_status pack_splitter_begin(struct pack_splitter *s, const struct pack_items *items)
{
    struct manifest_split *split = s->split;
    s->is_train = strcmp(items->name, "train") == 0;
    s->is_val = strcmp(items->name, "val") == 0;
    memset(split, 0, sizeof *split);
    split->name = items->name;
    split->path_template = template_of(items->name, "tar");
    split->index_template = template_of(items->name, "idx");
    split->block_samples = (uint32_t)(s->write->desc->block_samples ? s->write->desc->block_samples : 128);
    if (!split->path_template || !split->index_template)
        return VT_FAIL(VT_E_MEMORY, "no memory for split %s", items->name);
    return VT_OK;
}

int pack_splitter_wants_pixels(const struct pack_splitter *s, int64_t i, int64_t count)
{
    int64_t stride = s->write->source->cheap_pixels ? 1 : (count + STATS_SAMPLES - 1) / STATS_SAMPLES;
    return i % stride == 0;
}

vt_status pack_check_bytes(int64_t bytes)
{
    enum { MOST = 1 << 30 };
    if (bytes > MOST)
        return VT_FAIL(VT_E_LIMIT, "%lld bytes, at most %d are taken", (long long)bytes, MOST);
    return VT_OK;
}

vt_status pack_splitter_examine(struct pack_splitter *s, size_t size, int with_pixels, struct image_info *info)
{
    VT_TRY(pack_check_bytes((int64_t)size));
    VT_TRY(image_probe(s->buffer, size, info));
    if (with_pixels)
        VT_TRY(image_decode(s->buffer, size, info->channels <= 2 ? 1 : 3, &s->image));
    pack_stats_add(&s->stats, info, size);
    if (with_pixels)
        pack_stats_add_pixels(&s->stats, &s->image);
    return VT_OK;
}

vt_status pack_splitter_drop(struct pack_splitter *s, const char *key, size_t size)
{
    struct manifest_split *split = s->split;
    if (split->dropped_count < DROPS_LOGGED)
        log_warn("%s: left out: %s", key, status_message());
    else if (split->dropped_count == DROPS_LOGGED)
        log_warn("more unreadable images; the manifest lists them all");
    if (split->dropped_count == s->dropped_capacity) {
        int capacity = s->dropped_capacity ? 2 * s->dropped_capacity : 64;
        struct manifest_dropped *bigger = realloc(split->dropped, (size_t)capacity * sizeof *bigger);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for %d unreadable images", capacity);
        split->dropped = bigger;
        s->dropped_capacity = capacity;
    }
    char *key_copy = strdup(key), *reason = strdup(status_message());
    split->dropped[split->dropped_count++] = (struct manifest_dropped){
        .key = key_copy, .reason = reason, .xxh3 = XXH3_64bits(s->buffer, size), .not_packed = true};
    return key_copy && reason ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory for the list of unreadable images");
}

static uint32_t flags_of(const struct image_info *info)
{
    return (info->progressive ? SAMPLE_PROGRESSIVE : 0) | (info->channels <= 2 ? SAMPLE_GREY : 0) |
           (info->codec == CODEC_JPEG && info->channels == 4 ? SAMPLE_CMYK : 0);
}

vt_status pack_splitter_add(struct pack_splitter *s, const struct pack_item *item, const struct image_info *info,
                            size_t size, int64_t offset, const char *key)
{
    struct shard_row row = {.offset = offset,
                            .bytes = (uint32_t)size,
                            .width = (uint32_t)info->width,
                            .height = (uint32_t)info->height,
                            .codec = info->codec,
                            .flags = flags_of(info),
                            .crc32c = crc32c(0, s->buffer, size),
                            .label = item->label,
                            .content = XXH3_64bits(s->buffer, size),
                            .key = key};
    VT_TRY(shard_index_append(&s->index, &row));
    const uint64_t identity[2] = {(uint64_t)item->item, row.content};
    s->write->source_xxh3 += XXH3_64bits(identity, sizeof identity);
    s->split->samples++;
    if (s->is_train)
        s->write->classes[item->label].train_samples++;
    if (s->is_val)
        s->write->classes[item->label].val_samples++;
    return VT_OK;
}

static vt_status reserve_shard(struct pack_splitter *s)
{
    if (s->split->shard_count < s->shard_capacity)
        return VT_OK;
    int capacity = s->shard_capacity ? 2 * s->shard_capacity : 64;
    struct manifest_shard *bigger = realloc(s->split->shards, (size_t)capacity * sizeof *bigger);
    if (!bigger)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d shards", capacity);
    s->split->shards = bigger;
    s->shard_capacity = capacity;
    return VT_OK;
}

vt_status pack_splitter_close_shard(struct pack_splitter *s, int64_t shard_bytes, uint64_t shard_xxh3)
{
    struct manifest_split *split = s->split;
    char name[PATH_BYTES], path[PATH_BYTES];
    uint8_t *bytes = NULL;
    size_t size = 0;
    VT_TRY(reserve_shard(s));
    VT_TRY(manifest_shard_path(split->index_template, split->shard_count, name, sizeof name));
    VT_TRY(path_join(path, sizeof path, s->write->dir, name));
    s->index.shard_bytes = shard_bytes;
    s->index.shard_xxh3 = shard_xxh3;
    VT_TRY(shard_index_pack(&s->index, &bytes, &size));
    split->shards[split->shard_count++] = (struct manifest_shard){.bytes = shard_bytes,
                                                                  .samples = (int64_t)s->index.samples,
                                                                  .index_bytes = (int64_t)size,
                                                                  .xxh3 = shard_xxh3,
                                                                  .index_xxh3 = XXH3_64bits(bytes, size)};
    split->bytes += shard_bytes;
    vt_status status = file_write_atomic(path, bytes, size);
    free(bytes);
    shard_index_free(&s->index);
    return status;
}

vt_status pack_splitter_end(struct pack_splitter *s, vt_status status, int64_t count)
{
    struct manifest_split *split = s->split;
    if (status == VT_OK && split->samples == 0)
        status = VT_FAIL(VT_E_FORMAT, "split %s: none of its %lld images can be read; the first: %s: %s", split->name,
                         (long long)count, split->dropped_count ? split->dropped[0].key : "",
                         split->dropped_count ? split->dropped[0].reason : "");
    if (status == VT_OK) {
        pack_stats_finish(&s->stats, &split->stats);
        split->fingerprint = manifest_fingerprint(split->shards, split->shard_count);
    }
    shard_index_free(&s->index);
    image_close(&s->image);
    free(s->buffer);
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
