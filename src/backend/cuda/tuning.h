/* The table of choices made by timing: RUN/tuning.pb keeps it, and other ranks take it (backend/tuning_file.h: its bytes).
 * A choice is a key and a value and holds for one kind of device and one version of each library, e.g.
 *   NVIDIA_H100/sm_90/132  cublaslt-130100,cudnn-91900  gemm/TN/...  0a1b...
 * Those of others are carried along. */
#ifndef VT_BACKEND_CUDA_TUNING_H
#define VT_BACKEND_CUDA_TUNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/tuning_file.h"
#include "base/status.h"

struct tuning;

/* For this device and these library versions (blanks become '_'). */
VT_MUST_CHECK vt_status tuning_open(const char *device, const char *libraries, struct tuning **out);
void tuning_close(struct tuning **tuning);

/* NULL when not known here. Valid until the next put or import. */
const char *tuning_find(const struct tuning *tuning, const char *key);
void tuning_put(struct tuning *tuning, const char *key, const char *value);

/* Add the choices of these bytes; where a key is there already, the later value wins. All or nothing: VT_E_FORMAT. */
VT_MUST_CHECK vt_status tuning_import(struct tuning *tuning, const void *bytes, size_t size);
/* True: all choices for this device were made with other libraries, *libraries for one. They are made anew then, which
 * deserves a line. */
bool tuning_outdated(const struct tuning *tuning, char libraries[TUNING_WORD_BYTES]);
/* All choices, in a fixed order. *bytes is malloc'ed. */
VT_MUST_CHECK vt_status tuning_export(const struct tuning *tuning, uint8_t **bytes, size_t *size);

/* VT_CUDA_TUNE_FILE=PATH keeps choices from program to program: read when a device is opened (an error names the file; one that is
 * not there yet is none), written when it is closed, if something was put since. Programs may share it: what was put goes over
 * what the file then has, and it is replaced whole. A failure to write is a warning. */
VT_MUST_CHECK vt_status tuning_kept_load(struct tuning *tuning);
void tuning_kept_save(const struct tuning *tuning);

#endif
