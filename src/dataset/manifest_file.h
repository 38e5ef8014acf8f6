/* Inside dataset/: what reading and writing a manifest share. */
#ifndef VT_DATASET_MANIFEST_FILE_H
#define VT_DATASET_MANIFEST_FILE_H

#include "dataset/manifest.h"

enum { MANIFEST_SCHEMA = 1, MANIFEST_MAX_BYTES = 1 << 30 };

/* The bytes of dir's manifest, checked against its hash file; malloc'ed. `path` receives the manifest's name. */
VT_MUST_CHECK vt_status manifest_load_bytes(const char *dir, char *path, size_t path_bytes, char **bytes, size_t *size);

#endif
