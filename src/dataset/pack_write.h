/* Inside pack: one split of a source into shards and indexes, with its statistics. */
#ifndef VT_DATASET_PACK_WRITE_H
#define VT_DATASET_PACK_WRITE_H

#include "dataset/manifest.h"
#include "dataset/pack_source.h"

struct pack_write {
    const char *dir;        /* being built; has a shards folder */
    const struct pack_desc *desc;
    struct pack_source *source;
    int shard_samples;
    struct manifest_class *classes; /* sample counts are added to */
    uint64_t source_xxh3;           /* order-free sum over all items, added to */
};

/* Fills `split` (its arrays and strings are the caller's to free with pack_split_free, on failure too). */
VT_MUST_CHECK vt_status pack_write_split(struct pack_write *write, const struct pack_items *items,
                                         struct manifest_split *split);
void pack_split_free(struct manifest_split *split);

#endif
