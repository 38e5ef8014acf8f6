/* Open shard files of one split: opened when first read, at most `limit` at once, least recently used closed first.
 * Any number of threads. */
#ifndef VT_DATASET_SHARD_FILES_H
#define VT_DATASET_SHARD_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct manifest_split;
struct shard_files;

/* `split` is borrowed; its relative shard paths are below dir. */
VT_MUST_CHECK vt_status shard_files_new(const char *dir, const struct manifest_split *split, struct shard_files **out);
void shard_files_free(struct shard_files **files);
/* `size` bytes at `offset` of a shard. VT_E_IO names the shard, also when it ends early. */
VT_MUST_CHECK vt_status shard_files_read(struct shard_files *files, int shard, int64_t offset, void *bytes,
                                         size_t size);
VT_MUST_CHECK vt_status shard_files_path(const struct shard_files *files, int shard, char *out, size_t bytes);

#endif
