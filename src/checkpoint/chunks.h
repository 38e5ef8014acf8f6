/* Reading and checking the files of a checkpoint by chunks of one MiB, any share of them. Private to the room. */
#ifndef VT_CHECKPOINT_CHUNKS_H
#define VT_CHECKPOINT_CHUNKS_H

#include "checkpoint/layout.h"
#include "checkpoint/record.h"

/* Chunks of all files, counted through. */
int64_t chunks_total(const struct file_record *files, int file_count);

/* Check chunks [begin, end) (counted through all files) and the exact size of their files. VT_E_FORMAT names the file
 * and the MiB (an unreadable sector is damage too), VT_E_IO when a file cannot be opened. from_disk: drop the cached
 * pages first, so that what is read is what was stored. */
VT_MUST_CHECK vt_status chunks_verify(const char *folder, const struct file_record *files, int file_count,
                                      int64_t begin, int64_t end, bool from_disk);
/* Check all of one file and, when the layout has pieces, hand its bytes to them. */
VT_MUST_CHECK vt_status chunks_read(const char *folder, const struct file_record *file, const struct layout *layout);

#endif
