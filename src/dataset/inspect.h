/* A manifest, an index or a shard as text or JSON, for people and scripts. Looks at the one file only: shards may be
 * missing, and what is damaged is said and shown as far as it can be read. */
#ifndef VT_DATASET_INSPECT_H
#define VT_DATASET_INSPECT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"

struct inspect_desc {
    const char *path; /* a dataset folder, manifest.pb, *.idx or *.tar */
    bool json;        /* one JSON value instead of text */
};

/* Is this something inspect_dataset shows? (By name; nothing is opened.) */
bool inspect_is_dataset(const char *path);
VT_MUST_CHECK vt_status inspect_dataset(const struct inspect_desc *desc, FILE *out);

#endif
