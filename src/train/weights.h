/* The flat buffers of a training replica on the device, and their host images for initialisation and checkpoints.
 * Parameters, gradients and every optimizer state have the table's offsets. Per rank. */
#ifndef VT_TRAIN_WEIGHTS_H
#define VT_TRAIN_WEIGHTS_H

#include <stdbool.h>

#include "backend/backend.h"
#include "base/status.h"
#include "model/vit.h"
#include "optim/optimizer.h"
#include "tensor/params.h"

struct weights {
    struct backend *be;               /* borrowed */
    const struct param_table *table;  /* borrowed */
    enum dtype dtype;                 /* T */
    struct optimizer_buffers device;  /* owned; grads, m, v only when training */
    float *host[4];                   /* host images of params, m, v, ema; the device's own memory when the host may read it */
    bf16_t *ema_compute;              /* compute copy of the EMA, for evaluating it */
};

enum { WEIGHTS_PARAMS, WEIGHTS_M, WEIGHTS_V, WEIGHTS_EMA };

struct weights_desc {
    const struct param_table *table;
    enum dtype dtype;
    bool training; /* gradients and optimizer state too */
    enum optimizer_kind optimizer;
    bool ema;
};

/* Device and host bytes, for the memory plan; no allocation. */
void weights_memory(const struct weights_desc *desc, bool host_memory, size_t *device, size_t *host);
VT_MUST_CHECK vt_status weights_open(struct weights *weights, struct backend *be, const struct weights_desc *desc);
void weights_close(struct weights *weights);

/* Device -> host images (waits). */
VT_MUST_CHECK vt_status weights_download(struct weights *weights);
/* Host images -> device, and the compute copies made from them. */
VT_MUST_CHECK vt_status weights_upload(struct weights *weights);
/* The views the passes read: the training weights, or the EMA (its compute copy is refreshed: evaluation only). */
struct vit_weights weights_view(const struct weights *weights);
struct vit_weights weights_ema_view(struct weights *weights);

#endif
