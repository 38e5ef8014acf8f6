/* A safetensors file as pieces of memory: the header, then ranges of flat buffers. What the writer gathers from and the
 * reader scatters to, at any byte range: so any rank can write or check any part. Private to the room. */
#ifndef VT_CHECKPOINT_LAYOUT_H
#define VT_CHECKPOINT_LAYOUT_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/record.h"
#include "checkpoint/safetensors.h"

struct layout_piece {
    uint64_t begin, end; /* of the file; pieces tile it */
    char *bytes;         /* borrowed; NULL = not wanted (the header, on reading) */
};

struct layout {
    char name[FILE_NAME_BYTES];
    struct layout_piece *pieces; /* owned */
    int count;
    uint64_t bytes;
    char *header; /* owned; NULL on reading */
};

/* The files to be written: entries of equal name together, in order of first appearance. Those whose tensors have the
 * parameters' own names (no prefix) carry `config` in their metadata; NULL = none. *layouts is calloc'ed. */
VT_MUST_CHECK vt_status layout_for_writing(const struct checkpoint_file *files, int file_count, const char *config,
                                           struct layout **layouts, int *count);
/* One existing file: its tensors must be exactly the tables' of the entries that carry its name. */
VT_MUST_CHECK vt_status layout_for_reading(const struct safetensors *source, const struct checkpoint_file *files,
                                           int file_count, const char *name, struct layout *layout);
void layout_close(struct layout *layout);
void layouts_close(struct layout **layouts, int count);

void layout_gather(const struct layout *layout, uint64_t at, size_t size, char *out);
void layout_scatter(const struct layout *layout, uint64_t at, size_t size, const char *in);

#endif
