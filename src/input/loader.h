/* The loader: threads that read, decode and augment this rank's rows of each step and fill the host slots they are
 * given. Order, crops and flips depend on (seed, stream position) alone, so pixels are the same for any thread or rank
 * count. One consumer thread calls loader_next/loader_release. Per rank; never communicates. */
#ifndef VT_INPUT_LOADER_H
#define VT_INPUT_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "dataset/dataset.h"
#include "dataset/order.h"
#include "input/augment.h"

/* One microbatch of host memory, given to the loader by its owner and handed back filled. Rows past `rows` are padding:
 * zero pixels, label -1 of weight 0, row_weight 0, position 0, sample -1. With an even capacity rows 2i and 2i+1 are
 * mixup partners (a valid row 2i without a valid neighbour is its own); an odd capacity splits pairs over microbatches
 * and is for evaluation only. */
struct slot {
    /* given: */
    int capacity;        /* rows B, equal in all slots */
    int labels_per_row;  /* S */
    uint8_t *images;     /* [B, H, W, C] u8 */
    int32_t *label_id;   /* [B, S], -1 = none */
    float *label_weight; /* [B, S] */
    float *row_weight;   /* [B]: 1, or 0 for padding */
    uint64_t *position;  /* [B] stream positions: keys of every random draw */
    int64_t *sample;     /* [B] sample ids (of the substitute where one was taken), -1 = padding */
    /* filled: */
    int64_t step;
    int micro;       /* index of this microbatch within the step */
    int micro_count; /* microbatches of this rank in this step; 0 < micro_count, equal on all ranks */
    int rows;        /* valid rows; may be 0 in the last ones */
    int slice;       /* which slice of the deal: the rank, or the lane in exact mode; -1 = none (all padding) */
    double read_ms, decode_ms, augment_ms; /* summed over rows and threads */
};

/* Where rows come from. */
struct loader_desc {
    /* NULL = synthetic: noise images keyed by position, labels position mod classes. */
    const struct dataset_split *split;
    struct order order; /* of the split's (or synthetic_samples) samples; ORDER_SEQUENTIAL for evaluation */
    int64_t synthetic_samples;
    int synthetic_classes;
    struct augment_desc augment;
    int image_size, channels;
    int rank, ranks;
    /* 0: each rank runs its own slice of the step. L >= ranks: the step is cut into L slices of fixed shape and rank r
     * runs whole ones, L*r/R .. L*(r+1)/R (train.reduction: exact). */
    int lanes;
    int64_t batch;           /* G, global */
    int64_t first_step;      /* step number given to the first batch */
    uint64_t first_position; /* stream position of that step's first row */
    int64_t steps;           /* how many steps to run; loader_next after them is an error */
    int64_t total_positions; /* evaluation: positions past this are padding (exact evaluation); 0 = unbounded */
    int threads;             /* >= 1 worker threads */
    uint64_t seed;
    bool substitute_bad; /* training: replace a bad sample by the next good one; evaluation: fail */
    int64_t bad_limit;   /* stop with VT_E_FORMAT above this many distinct ones on this rank; 0 = max(32, 1e-4 N) */
};

struct loader;
struct loader_stats {
    int64_t bad_samples; /* distinct, in the slots handed out so far; those the index already marks bad do not count */
    int64_t rows;        /* valid rows handed out */
    int slots_ready;     /* filled and waiting: 0 = data-bound */
};

/* Starts the threads. `slots` (slot_count >= 2; one more than the caller holds at a time, better two) stay owned by the
 * caller and must outlive the loader. Every rank's microbatch count per step is loader_micro_count. Everything the
 * steady state needs is allocated here or while the threads see their first largest picture. VT_E_USAGE for a transform
 * that does not fit the image size. */
VT_MUST_CHECK vt_status loader_open(const struct loader_desc *desc, struct slot *slots, int slot_count,
                                    struct loader **out);
/* Microbatches of every rank in every step, for slots of `capacity` rows: ceil(deal_capacity / capacity), times the
 * most lanes any rank has. Reads ranks, lanes and batch. */
int loader_micro_count(const struct loader_desc *desc, int capacity);
/* The next microbatch in order; blocks. The first error of any worker, in the order of rows, is returned here with its
 * place, after the microbatches before it; then again by every later call. VT_E_LIMIT past the last step. */
VT_MUST_CHECK vt_status loader_next(struct loader *loader, struct slot **slot);
/* Give a slot back once its contents have been consumed; slots may come back in any order. */
void loader_release(struct loader *loader, struct slot *slot);
void loader_get_stats(struct loader *loader, struct loader_stats *stats);
/* Stops the threads (each finishes the picture it is at) and frees. Any moment; NULL is fine. */
void loader_close(struct loader **loader);

#endif
