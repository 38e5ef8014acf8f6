/* DIR/manifest.pb in and out (proto/manifest.proto). Bytes are checked against manifest.pb.xxh3 before they are parsed,
 * and every count after. Strings belong to the manifest. */
#ifndef VT_DATASET_MANIFEST_H
#define VT_DATASET_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define MANIFEST_FILE "manifest.pb"
#define MANIFEST_HASH_FILE "manifest.pb.xxh3"

struct manifest_class {
    const char *name, *wnid; /* "" when none */
    int64_t train_samples, val_samples;
};

struct manifest_shard {
    int64_t bytes, samples, index_bytes;
    uint64_t xxh3, index_xxh3;
};

struct manifest_dropped {
    const char *key, *reason;
    uint64_t xxh3;
    bool not_packed; /* left out when packing; else found bad later, and `sample` is its id in the split */
    int64_t sample;
};

struct manifest_stats {
    bool known;
    int channels;           /* 1 = all grey, else 3 */
    double mean[3], std[3]; /* pixels in 0..1; `pixels` = how many they were taken over, 0 = unknown */
    uint64_t pixels;
    int common_width, common_height, max_width, max_height;
    double mean_bytes;
    int64_t max_bytes, progressive, grey, cmyk, exif_rotated;
};

struct manifest_split {
    const char *name;
    int64_t samples, bytes;
    int shard_count;
    struct manifest_shard *shards;
    const char *path_template, *index_template; /* %0Nd = the shard number */
    char **paths; /* [shard_count] instead of path_template, for shards that are not ours; else NULL */
    uint32_t block_samples, shard_samples;
    struct manifest_stats stats;
    bool preshuffled;
    uint64_t preshuffle_seed, fingerprint;
    struct manifest_dropped *dropped;
    int dropped_count;
};

struct manifest_provenance {
    const char *source_uri, *tool, *tool_version, *command;
    uint64_t source_xxh3;
    const char *step; /* how it was packed, one line */
};

struct manifest {
    const char *name, *version;
    int class_count;
    struct manifest_class *classes;
    int split_count;
    struct manifest_split *splits;
    struct manifest_provenance provenance;
    void *message; /* owns the strings when parsed */
};

/* `dir` is a dataset folder. */
VT_MUST_CHECK vt_status manifest_load(const char *dir, struct manifest *manifest);
/* Untrusted bytes; `name` is for messages. */
VT_MUST_CHECK vt_status manifest_parse(const uint8_t *bytes, size_t size, const char *name, struct manifest *manifest);
/* Only for parsed manifests. */
void manifest_free(struct manifest *manifest);

/* Write `manifest` (built by the caller, who keeps its strings and arrays) and its hash file. */
VT_MUST_CHECK vt_status manifest_save(const char *dir, const struct manifest *manifest);
/* Replace what verify found bad in a split; entries with not_packed stay. Everything else is kept as it is, fields this
 * version does not know too. A crash leaves the old manifest or the new one. */
VT_MUST_CHECK vt_status manifest_set_bad(const char *dir, const char *split, const struct manifest_dropped *bad,
                                         int count);

/* "shards/train-000003.tar" of a template; VT_E_FORMAT when it has no %0Nd. */
VT_MUST_CHECK vt_status manifest_shard_path(const char *path_template, int64_t shard, char *out, size_t bytes);
/* Path of a shard, relative to the dataset's folder or absolute, from its template or the list. */
VT_MUST_CHECK vt_status manifest_split_path(const struct manifest_split *split, int64_t shard, char *out, size_t bytes);
/* xxh3 over the (shard, index) hashes in order. */
uint64_t manifest_fingerprint(const struct manifest_shard *shards, int count);

#endif
