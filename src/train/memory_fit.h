/* What of a rank's memory depends on the microbatch and on what backward recomputes, and which of both would fit. Pure.
 */
#ifndef VT_TRAIN_MEMORY_FIT_H
#define VT_TRAIN_MEMORY_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "model/vit.h"
#include "train/batch.h"

struct memory_fit {
    struct vit_desc train;    /* as chosen: batch and recompute are where advice starts; params is not looked at */
    bool evaluation;          /* a forward-only replica of the same batch beside it */
    struct batch_shape shape; /* of the input; rows = train.batch */
    int rings;                /* input buffers */
    bool shared;              /* host memory is the device's, and counts */
    size_t fixed;             /* bytes of everything else: weights, optimizer, workspace */
};

/* Bytes with microbatches of `rows`. */
size_t memory_fit_bytes(const struct memory_fit *fit, int rows, enum vit_recompute recompute);
/* The largest even microbatch up to `most` that needs no more than `limit` bytes; 0 = not even 2 rows do. */
int memory_fit_rows(const struct memory_fit *fit, enum vit_recompute recompute, size_t limit, int most);
/* What to set so that the run needs no more than `limit` bytes, for the end of a refusal: "compute.recompute=light
 * would fit, or compute.micro_batch=96". */
void memory_fit_advice(const struct memory_fit *fit, size_t limit, char *text, size_t bytes);
/* "none", "light", "block": as the option is written. */
const char *recompute_name(enum vit_recompute recompute);

#endif
