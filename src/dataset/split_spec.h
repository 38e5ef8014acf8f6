/* "train", "train[:10%]", "train[500:]", "train[10%:20%]": a split and an optional contiguous part. Pure. */
#ifndef VT_DATASET_SPLIT_SPEC_H
#define VT_DATASET_SPLIT_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct split_bound {
    bool given, percent;
    double percent_value; /* 0..100 */
    int64_t samples;
};

struct split_spec {
    char name[128];
    struct split_bound begin, end;
};

VT_MUST_CHECK vt_status split_spec_parse(const char *text, struct split_spec *spec);
/* The part as [begin, end) of `samples`; percents round to the nearest sample. Empty or outside: VT_E_USAGE naming
 * `text`. */
VT_MUST_CHECK vt_status split_spec_range(const struct split_spec *spec, const char *text, int64_t samples,
                                         int64_t *begin, int64_t *end);

#endif
