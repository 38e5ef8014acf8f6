/* The table of choices made by timing: one per line, so that a run folder keeps it and other ranks take it. Pure.
 *   vitrail-tuning 1
 *   DEVICE LIBRARIES KEY VALUE      e.g. NVIDIA_H100/sm_90/132 cublaslt-130100,cudnn-91900 gemm/TN/... 0a1b...
 * A line holds for one kind of device and one version of each library; those of others are carried along. */
#ifndef VT_BACKEND_CUDA_TUNING_H
#define VT_BACKEND_CUDA_TUNING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct tuning;

enum { TUNING_WORD_BYTES = 256 }; /* of each of the four words, its end included */

/* For this device and these library versions (blanks become '_'). */
VT_MUST_CHECK vt_status tuning_open(const char *device, const char *libraries, struct tuning **out);
void tuning_close(struct tuning **tuning);

/* NULL when not known here. Valid until the next put or import. */
const char *tuning_find(const struct tuning *tuning, const char *key);
void tuning_put(struct tuning *tuning, const char *key, const char *value);

/* Add lines; on the same words before VALUE the later one wins. All or nothing: VT_E_FORMAT names the line. */
VT_MUST_CHECK vt_status tuning_import(struct tuning *tuning, const char *text);
/* True: all choices for this device were made with other libraries, *libraries for one. They are made anew then, which
 * deserves a line. */
bool tuning_outdated(const struct tuning *tuning, char libraries[TUNING_WORD_BYTES]);
/* All lines, sorted. *text is malloc'ed. */
VT_MUST_CHECK vt_status tuning_export(const struct tuning *tuning, char **text);

#endif
