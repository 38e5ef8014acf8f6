/* One row of a slot: read, decode and augment the sample the deal put there, or its substitute; pixels and labels. */
#ifndef VT_INPUT_ROW_H
#define VT_INPUT_ROW_H

#include "input/bad_list.h"
#include "input/loader.h"

/* What one worker thread keeps between rows. Zeroed, then row_worker_init. */
struct row_worker {
    struct augment_scratch *scratch;
    uint8_t *bytes; /* the encoded image; grown by dataset_read */
    size_t capacity;
    double read_ms, decode_ms, augment_ms; /* added to by row_fill; the owner reads and clears them */
};

VT_MUST_CHECK vt_status row_worker_init(struct row_worker *worker);
void row_worker_deinit(struct row_worker *worker);

/* Fill `row` of the slot, whose position and sample are set; sample becomes the substitute's id where one was taken.
 * Fails with the sample's place in the message: an unreadable shard always, a bad sample when none may replace it. */
VT_MUST_CHECK vt_status row_fill(const struct loader_desc *desc, struct bad_list *bad, struct row_worker *worker,
                                 struct slot *slot, int row);
/* Make `row` padding. */
void row_pad(const struct loader_desc *desc, struct slot *slot, int row);

#endif
