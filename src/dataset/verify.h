/* Decode every sample of a dataset once and check every shard against its hash and its index. */
#ifndef VT_DATASET_VERIFY_H
#define VT_DATASET_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct verify_desc {
    const char *dir;
    int threads;      /* 0 = 1 */
    bool strict;      /* what the decoder only warns about counts as bad too */
    bool dont_record; /* leave the manifest as it is */
};

struct verify_report {
    int64_t samples, bytes, bad, warnings;
    int shards, bad_shards; /* whose hash or members differ from manifest and index */
    double seconds;
};

/* Per process. Bad samples are logged (the first ones) and written into the manifest's list, which dataset_open turns
 * into SAMPLE_BAD; the list of an earlier verify is replaced. VT_OK also when samples are bad: see the report. Not
 * VT_OK when the dataset cannot be opened, a read fails (VT_E_IO; nothing is recorded then) or the manifest not be
 * written. */
VT_MUST_CHECK vt_status verify_run(const struct verify_desc *desc, struct verify_report *report);

#endif
