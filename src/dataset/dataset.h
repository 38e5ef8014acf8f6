/* A dataset on disk: DIR/manifest.pb, DIR/shards/NAME-000000.tar and .idx (docs/data-format.md). Opening reads the
 * manifest and every index, checks all counts, offsets and sizes against the files, and keeps the columns in memory.
 * Everything here is per rank; a dataset is read-only and may be used by many threads at once. */
#ifndef VT_DATASET_DATASET_H
#define VT_DATASET_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "image/image.h"

struct dataset; /* opaque */

struct dataset_split_info {
    const char *name; /* borrowed from the dataset, as all strings here */
    int64_t samples;
    int shards;
    int64_t bytes;
    uint64_t fingerprint; /* xxh3 over the shard and index hashes in order; stored in checkpoints */
    bool has_stats;
    int channels;
    float mean[3], std[3]; /* of pixels in 0..1, per channel */
    int width, height;     /* common size, or 0 when sizes differ */
};

/* What the index says of one sample; no I/O. */
struct sample_record {
    int64_t id; /* within the split */
    int shard;
    int64_t offset; /* of the image bytes in the shard's tar */
    int64_t bytes;
    int width, height;
    enum codec codec;
    uint32_t flags; /* SAMPLE_* */
    uint32_t crc32c;
    int label_count;       /* 0 = unlabelled */
    const int32_t *labels; /* class ids; borrowed */
};

enum { SAMPLE_PROGRESSIVE = 1, SAMPLE_GREY = 2, SAMPLE_CMYK = 4, SAMPLE_BAD = 8 };

/* Opens DIR (or DIR/manifest.pb). On failure *out is NULL and the message names the file and what is wrong. */
VT_MUST_CHECK vt_status dataset_open(const char *dir, struct dataset **out);
void dataset_close(struct dataset **dataset);

const char *dataset_dir(const struct dataset *dataset);
const char *dataset_name(const struct dataset *dataset);
int dataset_class_count(const struct dataset *dataset);
const char *dataset_class_name(const struct dataset *dataset, int class_id);
const char *dataset_class_wnid(const struct dataset *dataset, int class_id); /* "" when none */

/* A split by name, with an optional contiguous part: "train", "val", "train[:10%]", "train[500:]", "train[10%:20%]".
 * Sample ids are 0..samples-1 within the part. The result lives as long as the dataset. */
struct dataset_split;
VT_MUST_CHECK vt_status dataset_split_open(struct dataset *dataset, const char *spec, struct dataset_split **out);
int dataset_split_count(const struct dataset *dataset);
void dataset_split_at(const struct dataset *dataset, int index, struct dataset_split_info *info);
void dataset_split_describe(const struct dataset_split *split, struct dataset_split_info *info);
/* "DIR#split[:10%]" -> DIR and spec (default_split when there is no '#', and when the whole text names a dataset that exists).
 * Buffers of `bytes`. */
VT_MUST_CHECK vt_status dataset_parse_uri(const char *uri, const char *default_split, char *dir, char *spec,
                                          size_t bytes);

void dataset_record(const struct dataset_split *split, int64_t id, struct sample_record *record);
/* Read the image bytes of a record into *buffer (grown with realloc, *capacity updated) and check the crc32c.
 * Thread-safe (pread). VT_E_FORMAT on a crc mismatch: the sample is bad; VT_E_IO: the shard is. The message names the
 * shard, the sample and the offset. */
VT_MUST_CHECK vt_status dataset_read(const struct dataset_split *split, const struct sample_record *record,
                                     uint8_t **buffer, size_t *capacity);
/* The WebDataset key: the member's path up to the first dot of its last part, read from the tar header just before the data;
 * "?" where that cannot be read. */
void dataset_key(const struct dataset_split *split, const struct sample_record *record, char *key, size_t bytes);
/* "shards/x-000003.tar, sample 17 (key 000123), offset 4096" for messages. */
void dataset_where(const struct dataset_split *split, const struct sample_record *record, char *text, size_t bytes);

#endif
