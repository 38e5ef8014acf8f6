/* The folder of checkpoints: names, links, fence, deletion. Per process; the store calls these on rank 0. Private. */
#ifndef VT_CHECKPOINT_FOLDER_H
#define VT_CHECKPOINT_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct folder_list {
    int64_t *steps; /* owned; newest first */
    int count;
};

/* Committed checkpoints, by name alone (step-00001234). A folder that does not exist has none. */
VT_MUST_CHECK vt_status folder_list_steps(const char *dir, struct folder_list *list);
void folder_list_close(struct folder_list *list);
VT_MUST_CHECK vt_status folder_step_path(char *out, size_t bytes, const char *dir, int64_t step);
/* dir/step-00001234.attempt-3.tmp */
VT_MUST_CHECK vt_status folder_temporary_path(char *out, size_t bytes, const char *dir, int64_t step, int attempt);

/* VT_E_USAGE when a later attempt owns the folder; else note that this attempt does. */
VT_MUST_CHECK vt_status folder_claim(const char *dir, int attempt);
/* Remove what interrupted saves left behind: everything named *.tmp or *.tmp.PID. Failures are warnings. */
void folder_clean(const char *dir);
/* Remove a flat folder and its files. Failures are warnings. */
void folder_remove(const char *path);
/* Put the temporary folder in the place of `path`, at once where the file system can, and remove what stood there. */
VT_MUST_CHECK vt_status folder_commit(const char *temporary, const char *path);
/* Point dir/link at the checkpoint of `step`, atomically. Failures are warnings: links are a convenience. */
void folder_link(const char *dir, const char *link, int64_t step);
/* The step a link points at, or -1. */
int64_t folder_linked_step(const char *dir, const char *link);
/* Delete checkpoints older than `step` beyond the `keep` newest (`step` counts as one), but never `best_step`, what
 * `best` points at, or anything newer than `step`. */
void folder_prune(const char *dir, int64_t step, int keep, int64_t best_step, int attempt);

#endif
