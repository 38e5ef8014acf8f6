#include "input/step_plan.h"

#include <stdlib.h>

static int slice_total(const struct loader_desc *desc)
{
    return desc->lanes > 0 ? desc->lanes : desc->ranks;
}

/* Of the rank that has most. */
static int slices_per_rank(const struct loader_desc *desc)
{
    return (slice_total(desc) + desc->ranks - 1) / desc->ranks;
}

static int micro_per_slice(const struct loader_desc *desc, int capacity)
{
    return (int)((deal_capacity(desc->batch, slice_total(desc)) + capacity - 1) / capacity);
}

int loader_micro_count(const struct loader_desc *desc, int capacity)
{
    return slices_per_rank(desc) * micro_per_slice(desc, capacity);
}

vt_status step_plan_init(struct step_plan *plan, const struct loader_desc *desc, int capacity)
{
    int slices = slice_total(desc);
    *plan = (struct step_plan){.desc = desc, .slices = slices, .step = desc->first_step - 1};
    plan->slice_first = (int)((int64_t)slices * desc->rank / desc->ranks);
    plan->slice_count = (int)((int64_t)slices * (desc->rank + 1) / desc->ranks) - plan->slice_first;
    plan->slice_capacity = deal_capacity(desc->batch, slices);
    plan->micro_per_slice = micro_per_slice(desc, capacity);
    plan->micro_count = loader_micro_count(desc, capacity);
    plan->sorted = malloc((size_t)desc->batch * sizeof *plan->sorted);
    plan->rows = malloc((size_t)plan->slice_count * (size_t)plan->slice_capacity * sizeof *plan->rows);
    plan->counts = malloc((size_t)plan->slice_count * sizeof *plan->counts);
    if (!plan->sorted || !plan->rows || !plan->counts)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory for the plan of a step of %lld rows", (long long)desc->batch);
    return VT_OK;
}

void step_plan_deinit(struct step_plan *plan)
{
    free(plan->sorted);
    free(plan->rows);
    free(plan->counts);
    plan->sorted = plan->rows = NULL;
    plan->counts = NULL;
}

/* Positions of the step that exist: all of them, but at the end of an evaluation. */
static int64_t step_rows(const struct loader_desc *desc, uint64_t first)
{
    if (desc->total_positions == 0)
        return desc->batch;
    int64_t left = desc->total_positions - (int64_t)first;
    return left < 0 ? 0 : left < desc->batch ? left : desc->batch;
}

void step_plan_make(struct step_plan *plan, int64_t step)
{
    const struct loader_desc *desc = plan->desc;
    uint64_t first = desc->first_position + (uint64_t)(step - desc->first_step) * (uint64_t)desc->batch;
    int64_t rows = step_rows(desc, first);
    deal_sort(&desc->order, first, rows, plan->sorted);
    for (int i = 0; i < plan->slice_count; i++)
        plan->counts[i] = deal_slice(&desc->order, plan->sorted, rows, plan->slice_first + i, plan->slices,
                                     plan->rows + i * plan->slice_capacity);
}

void step_plan_place(const struct step_plan *plan, int micro, struct slot *slot)
{
    int slice = micro / plan->micro_per_slice;
    int64_t offset = (int64_t)(micro % plan->micro_per_slice) * slot->capacity;
    bool present = slice < plan->slice_count;
    int64_t left = present ? plan->counts[slice] - offset : 0;
    slot->step = plan->step;
    slot->micro = micro;
    slot->micro_count = plan->micro_count;
    slot->slice = present ? plan->slice_first + slice : -1;
    slot->rows = left < 0 ? 0 : left < slot->capacity ? (int)left : slot->capacity;
    slot->read_ms = slot->decode_ms = slot->augment_ms = 0;
    for (int row = 0; row < slot->rows; row++) {
        const struct deal_row *dealt = &plan->rows[slice * plan->slice_capacity + offset + row];
        slot->position[row] = dealt->position;
        slot->sample[row] = dealt->sample;
    }
}
