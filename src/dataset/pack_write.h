/* Inside pack: one split of a source into shards and indexes, with its statistics. */
#ifndef VT_DATASET_PACK_WRITE_H
#define VT_DATASET_PACK_WRITE_H

#include "dataset/manifest.h"
#include "dataset/pack_source.h"
#include "dataset/pack_stats.h"
#include "dataset/shard_index.h"
#include "image/image.h"

struct pack_write {
    const char *dir; /* being built; has a shards folder */
    const struct pack_desc *desc;
    struct pack_source *source;
    int shard_samples;
    struct manifest_class *classes; /* sample counts are added to */
    uint64_t source_xxh3;           /* order-free sum over all items, added to */
};

/* Fills `split` (its arrays and strings are the caller's to free with pack_split_free, on failure too). */
VT_MUST_CHECK vt_status pack_write_split(struct pack_write *write, const struct pack_items *items,
                                         struct manifest_split *split);
/* The same over tars that stay where they are (items->tars): only indexes are written. In pack_webdataset.c. */
VT_MUST_CHECK vt_status pack_index_split(struct pack_write *write, const struct pack_items *items,
                                         struct manifest_split *split);
void pack_split_free(struct manifest_split *split);

/* What both keep while they go through a split. Starts zeroed but for `write` and `split`. */
struct pack_splitter {
    struct pack_write *write;
    struct manifest_split *split;
    struct shard_index index; /* of the shard being gone through */
    struct pack_stats stats;
    struct image image;
    uint8_t *buffer; /* the sample's bytes */
    size_t capacity;
    int shard_capacity, dropped_capacity;
    int is_train, is_val;
};

VT_MUST_CHECK vt_status pack_splitter_begin(struct pack_splitter *splitter, const struct pack_items *items);
/* Header of the `size` bytes in the buffer, decoded too when with_pixels; the statistics are added to. Not VT_OK: bad.
 */
VT_MUST_CHECK vt_status pack_splitter_examine(struct pack_splitter *splitter, size_t size, int with_pixels,
                                              struct image_info *info);
/* VT_E_LIMIT for more bytes than a sample may have. To be asked before they are read. */
VT_MUST_CHECK vt_status pack_check_bytes(int64_t bytes);
/* List a bad sample, with this thread's message; size: of what the buffer holds of it. */
VT_MUST_CHECK vt_status pack_splitter_drop(struct pack_splitter *splitter, const char *key, size_t size);
/* Append the examined sample at `offset` of the current shard; `item` numbers it in the source. */
VT_MUST_CHECK vt_status pack_splitter_add(struct pack_splitter *splitter, const struct pack_item *item,
                                          const struct image_info *info, size_t size, int64_t offset, const char *key);
/* Write the index of the shard, whose file has these bytes and hash, and begin the next. */
VT_MUST_CHECK vt_status pack_splitter_close_shard(struct pack_splitter *splitter, int64_t shard_bytes,
                                                  uint64_t shard_xxh3);
/* Is this one of the samples whose pixels count for mean and deviation? */
int pack_splitter_wants_pixels(const struct pack_splitter *splitter, int64_t i, int64_t count);
/* Statistics and fingerprint when all went well; frees in any case. */
VT_MUST_CHECK vt_status pack_splitter_end(struct pack_splitter *splitter, vt_status status, int64_t count);

#endif
