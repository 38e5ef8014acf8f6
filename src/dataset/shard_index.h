/* The index of one shard, as columns (proto/shard_index.proto). Built by pack, read by dataset_open. */
#ifndef VT_DATASET_SHARD_INDEX_H
#define VT_DATASET_SHARD_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct shard_index {
    size_t samples, capacity;
    int64_t shard_bytes;
    uint64_t shard_xxh3;
    uint64_t *offset;
    uint32_t *bytes, *width, *height, *codec, *flags, *crc32c;
    uint32_t *label_count; /* NULL = one label each */
    uint32_t *labels;      /* label_total class ids, concatenated */
    size_t label_total;
    uint64_t *content; /* xxh3 of the source bytes; NULL when the index has none */
    char *keys;        /* source names, one line each; may be "" */
    size_t keys_bytes;
    void *message; /* the unpacked protobuf that owns the columns, when parsed */
};

/* One sample to append when packing. */
struct shard_row {
    int64_t offset;
    uint32_t bytes, width, height, codec, flags, crc32c;
    int32_t label; /* -1 = none */
    uint64_t content;
    const char *key; /* source name */
};

/* A built index: starts zeroed. */
VT_MUST_CHECK vt_status shard_index_append(struct shard_index *index, const struct shard_row *row);
/* Protobuf bytes, malloc'ed. */
VT_MUST_CHECK vt_status shard_index_pack(const struct shard_index *index, uint8_t **bytes, size_t *size);
/* Untrusted bytes: every column has `samples` entries, every range lies inside the shard, labels < num_classes, sizes
 * are images'. `name` is for messages. The result is freed by shard_index_free, as a built one is. */
VT_MUST_CHECK vt_status shard_index_parse(const uint8_t *bytes, size_t size, uint32_t num_classes, const char *name,
                                          struct shard_index *index);
/* The source name of sample i ("" when the index has none). Linear in i: not for loops over large shards. */
void shard_index_key(const struct shard_index *index, size_t i, char *text, size_t bytes);
/* Ready for the next shard. */
void shard_index_free(struct shard_index *index);

#endif
