/* Microbatches on their way to the device: host slots the loader fills (pinned memory of the backend) and a double buffer
 * of device batches. The copy of the next slot runs on the copy stream while the previous one is computed. Per rank. */
#ifndef VT_TRAIN_BATCH_H
#define VT_TRAIN_BATCH_H

#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "input/loader.h"
#include "model/vit.h"

enum { BATCH_SLOTS = 4, BATCH_BUFFERS = 2 };

struct batch_shape {
    int rows, image_size, channels, labels;
};

struct batch_ring {
    struct backend *be; /* borrowed */
    struct batch_shape shape;
    struct slot slots[BATCH_SLOTS];
    void *host_memory[BATCH_SLOTS];
    struct batch_buffer {
        void *memory;
        struct vit_batch view;
        struct event *copied, *consumed;
        struct slot *slot; /* still being copied from */
    } buffers[BATCH_BUFFERS];
    int64_t uploads;
};

VT_MUST_CHECK vt_status batch_ring_open(struct batch_ring *ring, struct backend *be, const struct batch_shape *shape);
void batch_ring_close(struct batch_ring *ring);
/* Device and host bytes of a ring, for the memory plan. */
void batch_ring_memory(const struct batch_shape *shape, size_t *device, size_t *host);

/* Enqueue the copy of a filled slot; *batch stays valid until the second next upload. The compute stream waits for it.
 * Returns which of the device's buffers it is. */
int batch_upload(struct batch_ring *ring, struct slot *slot, struct vit_batch *batch);
/* Mark that everything enqueued so far no longer needs the newest batch after it has run. */
void batch_consumed(struct batch_ring *ring);
/* Give slots whose copy has passed back to the loader (NULL: just forget them). Waits for outstanding copies when
 * `all`, else only for the older buffer. */
VT_MUST_CHECK vt_status batch_recycle(struct batch_ring *ring, struct loader *loader, bool all);

#endif
