/* The safetensors container: u64 header length, JSON header, raw little-endian tensors. The reader trusts nothing:
 * header cap 100 MB, at most 100,000 tensors, contiguous non-overlapping extents, exact file length, checked multiplications, no duplicate
 * names. */
#ifndef VT_CHECKPOINT_SAFETENSORS_H
#define VT_CHECKPOINT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "tensor/dtype.h"

/* The key of "__metadata__" under which model weights carry the text of the config.json that belongs beside them. */
#define SAFETENSORS_CONFIG "vitrail.config"

struct safetensor {
    char name[256];
    enum dtype dtype;
    int rank;
    int64_t dim[8];
    int64_t count;
    uint64_t begin, end; /* bytes, from the start of the file */
};

struct safetensors {
    char path[512];
    int fd;
    int count;
    struct safetensor *tensors;        /* owned, sorted by begin */
    const struct safetensor **by_name; /* the same, sorted by name; the array is owned */
    char *metadata_json;               /* "__metadata__" or NULL; owned */
};

/* VT_E_FORMAT for anything that breaks the rules, VT_E_IO when the file cannot be read. On failure *file is zero. */
VT_MUST_CHECK vt_status safetensors_open(const char *path, struct safetensors *file);
void safetensors_close(struct safetensors *file);
/* The string at a key of "__metadata__": malloc'ed, the caller's; NULL when there is none. */
VT_MUST_CHECK vt_status safetensors_metadata(const struct safetensors *file, const char *key, char **value);
/* NULL when there is none. Logarithmic: a file may hold many more tensors than a model. */
const struct safetensor *safetensors_find(const struct safetensors *file, const char *name);
/* Read one tensor as fp32 (from F32, F16, BF16, F64; others are VT_E_UNSUPPORTED): count floats. */
VT_MUST_CHECK vt_status safetensors_read_f32(const struct safetensors *file, const struct safetensor *tensor,
                                             float *values);
/* Parse a header already in memory: for the reader and the fuzzer. */
VT_MUST_CHECK vt_status safetensors_parse(const char *path, const uint8_t *header, size_t header_bytes,
                                          uint64_t file_bytes, struct safetensors *file);

/* The writer: from name, dtype, rank and dim of each tensor, fill count, begin and end, and make the header (length
 * word included) that stands before the tensors' bytes; they follow in the order given, without holes. The header is
 * padded with spaces to a multiple of 8 and depends on nothing but the arguments. *header is malloc'ed, the caller's.
 * keys_values: `pairs` pairs of strings for "__metadata__" (PyTorch's readers want "format", "pt"). */
void safetensors_layout(struct safetensor *tensors, int count, const char *const *keys_values, int pairs, char **header,
                        size_t *header_bytes);

#endif
