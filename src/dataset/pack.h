/* Make a dataset folder from a source: original image bytes into tar shards, indexes, a manifest with statistics (of
 * WebDataset tars, indexes and manifest only: the tars stay where they are and are named by absolute path). The
 * same source, options and seed give the same bytes. The folder appears under its name only when it is complete. */
#ifndef VT_DATASET_PACK_H
#define VT_DATASET_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { PACK_MAX_SPLITS = 4 };

struct pack_desc {
    const char *source, *dir;
    const char *from;    /* "idx", "cifar", "imagefolder", "webdataset"; NULL = by what the source looks like */
    const char *name;    /* of the dataset; NULL = last part of dir */
    const char *val;     /* draw a val split from train: "10%", "10%:stratified", "5000", "50/class"; NULL = none */
    const char *classes; /* class names: a file with one per line, or "a,b,c"; NULL = the source's own */
    const char *command; /* for the provenance; NULL = "" */
    uint64_t seed;       /* of the shuffle and of the val draw */
    int shard_samples;   /* 0 = 2048 */
    int block_samples;   /* 0 = 128 */
    bool no_shuffle;     /* keep the source's order: only for data that are mixed already */
    bool dry_run;        /* look at the source and report; write nothing */
};

struct pack_report {
    int classes, splits;
    struct {
        char name[32];
        int64_t samples, dropped, bytes; /* a dry run: source bytes */
        int shards;
    } split[PACK_MAX_SPLITS];
    double seconds;
};

/* Per process. Progress by log_info. VT_E_USAGE when dir exists and is not empty or an option is wrong. `report` may be
 * NULL. Unreadable images are left out, counted and listed in the manifest. */
VT_MUST_CHECK vt_status pack_run(const struct pack_desc *desc, struct pack_report *report);

#endif
