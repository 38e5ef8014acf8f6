/* Inside pack: statistics of a split, sample by sample. Mean and deviation come from exact histograms, so they do not
 * depend on the order. */
#ifndef VT_DATASET_PACK_STATS_H
#define VT_DATASET_PACK_STATS_H

#include "dataset/manifest.h"
#include "image/image.h"

struct pack_stats {
    uint64_t histogram[3][256];
    int64_t samples, bytes;
    bool colour, sizes_differ;
    struct manifest_stats stats;
};

void pack_stats_add(struct pack_stats *stats, const struct image_info *info, size_t bytes);
/* Pixels of some of the samples: 3 channels (grey ones replicated). */
void pack_stats_add_pixels(struct pack_stats *stats, const struct image *image);
void pack_stats_finish(struct pack_stats *stats, struct manifest_stats *out);

#endif
