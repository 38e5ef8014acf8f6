/* A candidate backend against ref over the whole table. */
#ifndef VT_TESTS_OPS_COMPARE_H
#define VT_TESTS_OPS_COMPARE_H

#include "backend/backend.h"

struct compare_result {
    int passed, failed; /* case x dtypes */
    int refused;        /* the plan: VT_E_UNSUPPORTED; neither of the above */
};

/* Every case whose "op: case" contains filter (NULL: all); one line each unless quiet. `ref` is plain ref. */
struct compare_result ops_compare(struct backend *ref, struct backend *candidate, const char *filter, bool quiet);

#endif
