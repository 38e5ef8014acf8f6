#include "dataset/pack_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "dataset/order.h"
#include "dataset/tar.h"

enum { PATH_BYTES = 4096, SHUFFLE_STREAM = 0x73687566, PROGRESS_MS = 5000, KEY_BYTES = 1024 };

static vt_status close_shard(struct pack_splitter *s, struct tar_writer **tar)
{
    int64_t bytes;
    uint64_t hash;
    if (!*tar)
        return VT_OK;
    VT_TRY(tar_writer_finish(tar, &bytes, &hash));
    return pack_splitter_close_shard(s, bytes, hash);
}

static vt_status ensure_shard(struct pack_splitter *s, struct tar_writer **tar)
{
    char name[PATH_BYTES], path[PATH_BYTES];
    if (*tar && (int)s->index.samples == s->write->shard_samples)
        VT_TRY(close_shard(s, tar));
    if (*tar)
        return VT_OK;
    VT_TRY(manifest_shard_path(s->split->path_template, s->split->shard_count, name, sizeof name));
    VT_TRY(path_join(path, sizeof path, s->write->dir, name));
    return tar_writer_open(path, tar);
}

static vt_status write_members(struct pack_splitter *s, struct tar_writer *tar, const struct image_info *info,
                               size_t size, int32_t class_id, int64_t *offset)
{
    char name[64], label[16];
    const char *extension =
        info->codec == CODEC_PNM && info->channels == 3 ? "ppm" : image_codec_extension(info->codec);
    snprintf(name, sizeof name, "%08lld.%s", (long long)s->split->samples, extension);
    VT_TRY(tar_write(tar, name, s->buffer, size, offset));
    snprintf(name, sizeof name, "%08lld.cls", (long long)s->split->samples);
    int label_bytes = snprintf(label, sizeof label, "%d", (int)class_id);
    return tar_write(tar, name, label, (size_t)label_bytes, NULL);
}

static vt_status write_item(struct pack_splitter *s, struct tar_writer **tar, const struct pack_item *item,
                            int with_pixels)
{
    struct pack_source *source = s->write->source;
    struct image_info info;
    char key[KEY_BYTES];
    size_t size = 0;
    int64_t offset;
    source->key(source, item->item, key, sizeof key);
    VT_TRY(source->read(source, item->item, &s->buffer, &s->capacity, &size));
    vt_status status = pack_splitter_examine(s, size, with_pixels, &info);
    if (status == VT_E_MEMORY)
        return status;
    if (status != VT_OK)
        return pack_splitter_drop(s, key, size);
    VT_TRY(ensure_shard(s, tar));
    VT_TRY(write_members(s, *tar, &info, size, item->label, &offset));
    return pack_splitter_add(s, item, &info, size, offset, key);
}

static vt_status write_items(struct pack_splitter *s, struct tar_writer **tar, const struct pack_items *items)
{
    const struct pack_desc *desc = s->write->desc;
    struct permutation shuffle;
    permutation_init(&shuffle, (uint64_t)items->count, desc->seed,
                     SHUFFLE_STREAM ^ XXH3_64bits(items->name, strlen(items->name)));
    double last_ms = clock_ms();
    for (int64_t slot = 0; slot < items->count; slot++) {
        int64_t from = desc->no_shuffle ? slot : (int64_t)permutation_apply(&shuffle, (uint64_t)slot);
        VT_TRY(write_item(s, tar, &items->items[from], pack_splitter_wants_pixels(s, slot, items->count)));
        if (clock_ms() - last_ms > PROGRESS_MS) {
            last_ms = clock_ms();
            log_info("packing %s: %lld of %lld samples", items->name, (long long)slot + 1, (long long)items->count);
        }
    }
    return close_shard(s, tar);
}

vt_status pack_write_split(struct pack_write *write, const struct pack_items *items, struct manifest_split *split)
{
    struct pack_splitter splitter = {.write = write, .split = split};
    struct tar_writer *tar = NULL;
    vt_status status = pack_splitter_begin(&splitter, items);
    split->shard_samples = (uint32_t)write->shard_samples;
    split->preshuffled = !write->desc->no_shuffle;
    split->preshuffle_seed = split->preshuffled ? write->desc->seed : 0;
    if (status == VT_OK)
        status = write_items(&splitter, &tar, items);
    tar_writer_abandon(&tar);
    return pack_splitter_end(&splitter, status, items->count);
}
