/* Plain tar, read and written. Written: ustar, regular files only, no time, no owner, mode 0644: the same members give
 * the same bytes. Read (untrusted): ustar with prefix, GNU long names, pax `path` and `size`; anything that is not a
 * regular file is passed over. */
#ifndef VT_DATASET_TAR_H
#define VT_DATASET_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TAR_BLOCK = 512, TAR_NAME_BYTES = 1024 };

struct tar_writer; /* opaque */

/* Creates `path` (it must not exist). */
VT_MUST_CHECK vt_status tar_writer_open(const char *path, struct tar_writer **out);
/* Appends a member; *offset (may be NULL) is where its data begin. Names up to 100 bytes. */
VT_MUST_CHECK vt_status tar_write(struct tar_writer *writer, const char *name, const void *bytes, size_t size,
                                  int64_t *offset);
/* End marks, fsync, close. *bytes and *xxh3 are of the whole file. The writer is gone afterwards, on failure too. */
VT_MUST_CHECK vt_status tar_writer_finish(struct tar_writer **writer, int64_t *bytes, uint64_t *xxh3);
/* Gives up: closes, leaves what was written. NULL is fine. */
void tar_writer_abandon(struct tar_writer **writer);

struct tar_member {
    char name[TAR_NAME_BYTES];
    int64_t offset; /* of the data in the tar */
    int64_t bytes;
};

/* Over a file (fd >= 0) or memory (fd = -1). `name` is for messages; borrowed, as the memory. */
struct tar_reader {
    const char *name;
    int fd;
    const uint8_t *memory;
    int64_t bytes; /* of the whole tar */
    int64_t at;    /* next header */
};

void tar_reader_init_memory(struct tar_reader *reader, const char *name, const void *bytes, size_t size);
/* fd stays the caller's. */
VT_MUST_CHECK vt_status tar_reader_init_file(struct tar_reader *reader, const char *name, int fd);
/* The next regular file; *found = false at the end. VT_E_FORMAT names the tar and the offset. */
VT_MUST_CHECK vt_status tar_next(struct tar_reader *reader, struct tar_member *member, bool *found);

#endif
