/* The sample order: stream position -> sample id, stateless. Position P = epoch * N + p; each epoch visits every sample
 * once. Pure functions of (seed, P, N, mode): O(1) memory, no I/O, any thread. Independent of ranks and batch size. */
#ifndef VT_DATASET_ORDER_H
#define VT_DATASET_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum order_mode { ORDER_AUTO, ORDER_FULL, ORDER_WINDOW, ORDER_SEQUENTIAL };

/* Sizes of the window order (notes: blocks of K samples, V stripes, windows of M blocks). Ignored by the others. */
struct order_desc {
    enum order_mode mode; /* not AUTO: the caller has resolved it */
    uint64_t seed;
    uint64_t samples; /* N >= 1 */
    uint32_t block_samples, stripes, window_blocks;
    bool sticky; /* window: a stripe keeps its blocks over epochs, so that nodes keep what they have fetched */
};

struct order {
    struct order_desc desc;
};

VT_MUST_CHECK vt_status order_init(struct order *order, const struct order_desc *desc);
/* Sample id in 0..N-1 of stream position P. */
uint64_t order_sample(const struct order *order, uint64_t position);
/* The stripe of a position: 0 in the full and sequential orders. The deal sorts by (stripe, position). */
uint32_t order_stripe(const struct order *order, uint64_t position);

/* A keyed bijection of 0..n-1 (6-round Feistel with cycle walking), for any n >= 1. */
struct permutation {
    uint64_t n;
    unsigned left_bits, right_bits;
    uint64_t key[6];
};
void permutation_init(struct permutation *permutation, uint64_t n, uint64_t seed, uint64_t stream);
uint64_t permutation_apply(const struct permutation *permutation, uint64_t x);

#endif
