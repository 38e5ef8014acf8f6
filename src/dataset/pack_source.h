/* Inside pack: what a source gives. Items are numbered; each split lists the items it holds with their labels. Reading
 * is by item number in any order, so the shuffle is only a permutation of reads. */
#ifndef VT_DATASET_PACK_SOURCE_H
#define VT_DATASET_PACK_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "dataset/pack.h"

struct pack_item {
    int64_t item;
    int32_t label;
};

struct pack_items {
    char name[32];
    struct pack_item *items;
    int64_t count, capacity;
    char **tars; /* or: whole tars to be indexed where they are; `count` samples in all */
    int tar_count;
};

struct pack_source {
    const char *kind;
    int class_count;
    char **class_names; /* owned, with the list */
    int split_count;
    struct pack_items splits[PACK_MAX_SPLITS];
    int cheap_pixels; /* decoding costs next to nothing: take statistics over all */
    void *state;
    /* An item's image bytes into *buffer (realloc'ed as needed). */
    vt_status (*read)(struct pack_source *source, int64_t item, uint8_t **buffer, size_t *capacity, size_t *size);
    /* Its name in the source, without newlines. */
    void (*key)(const struct pack_source *source, int64_t item, char *text, size_t bytes);
    /* Its size, for a dry run. */
    int64_t (*bytes)(const struct pack_source *source, int64_t item);
    void (*close)(struct pack_source *source);
};

VT_MUST_CHECK vt_status pack_idx_open(const struct pack_desc *desc, struct pack_source *source);
VT_MUST_CHECK vt_status pack_cifar_open(const struct pack_desc *desc, struct pack_source *source);
VT_MUST_CHECK vt_status pack_webdataset_open(const struct pack_desc *desc, struct pack_source *source);
VT_MUST_CHECK vt_status pack_imagefolder_open(const struct pack_desc *desc, struct pack_source *source);
/* Accepts NULL fields; leaves it zeroed. */
void pack_source_close(struct pack_source *source);

/* The split of this name, made when absent; NULL when there are too many. */
struct pack_items *pack_split(struct pack_source *source, const char *name);
VT_MUST_CHECK vt_status pack_items_append(struct pack_items *items, int64_t item, int32_t label);
/* Takes a copy of `name`. */
VT_MUST_CHECK vt_status pack_add_class(struct pack_source *source, const char *name);
/* desc->classes, when given, in place of the source's names; their number must agree. */
VT_MUST_CHECK vt_status pack_override_classes(const char *classes, struct pack_source *source);
/* Move items from "train" to a new "val" as the option says ("10%:stratified", ...). */
VT_MUST_CHECK vt_status pack_draw_val(const char *option, uint64_t seed, struct pack_source *source);
/* Grow a buffer to `needed` bytes. */
VT_MUST_CHECK vt_status pack_reserve(uint8_t **buffer, size_t *capacity, size_t needed);

#endif
