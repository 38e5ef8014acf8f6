/* The deal: which rows of a step's global batch this rank runs (design: numerics contract). A step takes the next G
 * stream positions; they are sorted by (stripe, position), grouped into pairs (mixup partners), and rank r takes the
 * r-th even slice of the pairs (+-1 pair). Pure; the same sets at any world size. */
#ifndef VT_INPUT_DEAL_H
#define VT_INPUT_DEAL_H

#include <stdint.h>

#include "dataset/order.h"

struct deal_row {
    uint64_t position; /* global stream position */
    uint64_t partner;  /* the other member's position; its own when G is odd and this is the last */
    int64_t sample;    /* id in the split */
};

/* Rows of rank `rank` of `ranks` for positions [first, first + batch): writes at most deal_capacity rows; returns the
 * count. `scratch` holds `batch` rows. A batch of 0 gives every rank nothing. */
int64_t deal_step(const struct order *order, uint64_t first, int64_t batch, int rank, int ranks,
                  struct deal_row *scratch, struct deal_row *rows);
/* The two halves of deal_step, for a caller that takes several slices of one step (a lane of `train.reduction: exact`
 * is slice `lane` of `lanes`). deal_sort fills `sorted` [batch]; deal_slice reads it. */
void deal_sort(const struct order *order, uint64_t first, int64_t batch, struct deal_row *sorted);
int64_t deal_slice(const struct order *order, const struct deal_row *sorted, int64_t batch, int slice, int slices,
                   struct deal_row *rows);
/* Most rows any rank gets of a batch. */
int64_t deal_capacity(int64_t batch, int ranks);
/* Hash of a step's (position, partner, sample) set, independent of the world size when summed over ranks (mod 2^64). */
uint64_t deal_hash(const struct deal_row *rows, int64_t count);

#endif
