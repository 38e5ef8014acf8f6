/* The memory plan: everything large, listed before it is allocated. */
#ifndef VT_TRAIN_MEMORY_PLAN_H
#define VT_TRAIN_MEMORY_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "train/memory_fit.h"

enum { MEMORY_PLAN_LINES = 16 };

struct memory_plan {
    struct {
        const char *what; /* static */
        size_t device, host;
    } lines[MEMORY_PLAN_LINES];
    int count;
};

void memory_plan_add(struct memory_plan *plan, const char *what, size_t device, size_t host);
size_t memory_plan_device(const struct memory_plan *plan);
size_t memory_plan_host(const struct memory_plan *plan);
/* log_info, one line a part and the total (rank 0). `shared`: device memory is the host's, so the totals add up. */
void memory_plan_print(const struct memory_plan *plan, bool shared, int ranks_on_host);
/* VT_E_MEMORY when all ranks of a host need more than its memory; names the largest part and what would fit. `fit` is
 * the plan with fit->fixed left to this call. */
VT_MUST_CHECK vt_status memory_plan_check_host(const struct memory_plan *plan, struct memory_fit fit,
                                               int ranks_on_host);

/* The same for the device's part and the `memory_bytes` there are for it (0 = no limit of its own). Per rank. */
VT_MUST_CHECK vt_status memory_plan_check_device(const struct memory_plan *plan, struct memory_fit fit,
                                                 size_t memory_bytes);

#endif
