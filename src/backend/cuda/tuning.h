/* The table of choices made by timing: one per line, so that a run folder keeps it and other ranks take it. Pure.
 *   vitrail-tuning 1
 *   DEVICE LIBRARY KEY VALUE        e.g. NVIDIA_H100/sm_90/132 130100 gemm/TN/... 0a1b...
 * A line holds for one kind of device and one version of the library; those of others are carried along. */
#ifndef VT_BACKEND_CUDA_TUNING_H
#define VT_BACKEND_CUDA_TUNING_H

#include <stddef.h>

#include "base/status.h"

struct tuning;

enum { TUNING_WORD_BYTES = 256 }; /* of each of the four words, its end included */

/* For this device (blanks become '_') and library version. */
VT_MUST_CHECK vt_status tuning_open(const char *device, size_t library, struct tuning **out);
void tuning_close(struct tuning **tuning);

/* NULL when not known here. Valid until the next put or import. */
const char *tuning_find(const struct tuning *tuning, const char *key);
void tuning_put(struct tuning *tuning, const char *key, const char *value);

/* Add lines; on the same words before VALUE the later one wins. All or nothing: VT_E_FORMAT names the line. */
VT_MUST_CHECK vt_status tuning_import(struct tuning *tuning, const char *text);
/* All lines, sorted. *text is malloc'ed. */
VT_MUST_CHECK vt_status tuning_export(const struct tuning *tuning, char **text);

#endif
