/* checkpoint.pb: the state and the list of the folder's other files with the CRC32C of each MiB. Private. */
#ifndef VT_CHECKPOINT_RECORD_H
#define VT_CHECKPOINT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "checkpoint/checkpoint.h"

enum { CHUNK_BYTES = 1 << 20, FILE_NAME_BYTES = 64 };
#define RECORD_NAME "checkpoint.pb"

struct file_record {
    char name[FILE_NAME_BYTES];
    uint64_t bytes;
    int64_t chunks; /* file_chunks(bytes) */
    uint32_t *crc;  /* [chunks] */
};

struct record {
    struct checkpoint_state state; /* owned */
    struct file_record *files;     /* owned, crc too */
    int file_count;
};

static inline int64_t file_chunks(uint64_t bytes) { return (int64_t)((bytes + CHUNK_BYTES - 1) / CHUNK_BYTES); }
/* Bytes of chunk i. */
static inline size_t chunk_bytes(uint64_t bytes, int64_t i)
{
    uint64_t left = bytes - (uint64_t)i * CHUNK_BYTES;
    return left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
}

/* The same arguments give the same bytes. malloc'ed, the caller's. */
void record_encode(const struct checkpoint_state *state, const struct file_record *files, int file_count,
                   uint8_t **bytes, size_t *size);
/* `path` is for messages. VT_E_FORMAT for anything damaged; *record is zero then. */
VT_MUST_CHECK vt_status record_decode(const char *path, const uint8_t *bytes, size_t size, struct record *record);
/* Of a checkpoint folder. VT_E_IO when it cannot be read. */
VT_MUST_CHECK vt_status record_read(const char *checkpoint, struct record *record);
void record_close(struct record *record);

#endif
