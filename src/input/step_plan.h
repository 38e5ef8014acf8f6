/* The rows this rank runs of one step, laid out in microbatches: slices of the deal (its own, or whole lanes), each cut
 * into microbatches of `capacity` rows. */
#ifndef VT_INPUT_STEP_PLAN_H
#define VT_INPUT_STEP_PLAN_H

#include "input/deal.h"
#include "input/loader.h"

struct step_plan {
    const struct loader_desc *desc;       /* borrowed */
    int slices, slice_first, slice_count; /* of the step; this rank's */
    int64_t slice_capacity;
    int micro_per_slice, micro_count;
    int64_t step;            /* what rows hold; first_step - 1 before the first */
    struct deal_row *sorted; /* [batch] */
    struct deal_row *rows;   /* [slice_count, slice_capacity] */
    int64_t *counts;         /* [slice_count] valid rows */
};

VT_MUST_CHECK vt_status step_plan_init(struct step_plan *plan, const struct loader_desc *desc, int capacity);
void step_plan_deinit(struct step_plan *plan);
/* Deal a step. Does not set plan->step: the caller publishes it. */
void step_plan_make(struct step_plan *plan, int64_t step);
/* Put microbatch `micro` of the planned step on a slot: everything but pixels, labels and weights. */
void step_plan_place(const struct step_plan *plan, int micro, struct slot *slot);

#endif
