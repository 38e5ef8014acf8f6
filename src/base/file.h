/* Whole files and folders. Every failure is VT_E_IO (VT_E_LIMIT for a size cap) and names the path. Per process. */
#ifndef VT_BASE_FILE_H
#define VT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Whole file into *bytes (malloc'ed, caller frees), with a NUL after the last byte; *size does not count it. A file
 * larger than max_bytes is VT_E_LIMIT. */
VT_MUST_CHECK vt_status file_read(const char *path, size_t max_bytes, char **bytes, size_t *size);
/* Readers see the old file or the new one, also after a power cut: temporary beside it, fsync, rename, fsync of the
 * folder. The temporary's name carries the process id; it is removed on failure. */
VT_MUST_CHECK vt_status file_write_atomic(const char *path, const void *bytes, size_t size);
/* Remove the temporaries that killed processes left in a folder which nobody else writes to now. A folder that cannot be read
 * has none; failures are warnings. */
void file_remove_temporaries(const char *dir);
/* All of `size` bytes to fd, in the face of short writes and EINTR. `path` is for the message. */
VT_MUST_CHECK vt_status file_write_all(int fd, const void *bytes, size_t size, const char *path);
/* The same to a file opened with O_APPEND, all or nothing: after a failure (disk full) the file is as it was. */
VT_MUST_CHECK vt_status file_append(int fd, const void *bytes, size_t size, const char *path);
/* The folder and its parents; fine when it exists. */
VT_MUST_CHECK vt_status file_make_dirs(const char *path);
/* fsync a folder, so that renames and creations in it last. */
VT_MUST_CHECK vt_status file_sync_dir(const char *path);

bool file_exists(const char *path);
bool file_is_dir(const char *path);
VT_MUST_CHECK vt_status file_size(const char *path, int64_t *bytes);

/* dir/name into out; `name` alone when it is absolute or dir is "". VT_E_LIMIT when it does not fit. */
VT_MUST_CHECK vt_status path_join(char *out, size_t bytes, const char *dir, const char *name);
/* What follows the last '/'; points into path. */
const char *path_base(const char *path);
/* What precedes the last '/': "." when there is none, "/" for the root. */
VT_MUST_CHECK vt_status path_dir(char *out, size_t bytes, const char *path);

#endif
