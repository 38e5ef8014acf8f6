/* A replica with everything a pass needs, on any backend: for tests of the model room and the goldens. Host copies stay
 * beside the device buffers. Failures abort the test (ASSERT_OK). */
#ifndef VT_VIT_RIG_H
#define VT_VIT_RIG_H

#include "backend/backend.h"
#include "model/vit.h"
#include "test.h"

struct vit_rig {
    struct backend *be; /* borrowed */
    struct vit_desc desc;
    struct param_table table;
    struct vit *vit;
    float *master, *grads; /* host, flat */
    float *logits;         /* host [B,K] */
    struct step_scalars scalars;
    struct vit_batch batch;     /* device */
    struct vit_weights weights; /* device */
    float *device_grads;
    struct step_scalars *device_scalars;
    void *owned[16];
    int owned_count;
};

static inline void *rig_alloc(struct vit_rig *rig, size_t bytes)
{
    void *pointer = NULL;
    ASSERT_OK(rig->be->alloc(rig->be, MEMORY_DEVICE, bytes, "test", &pointer));
    rig->owned[rig->owned_count++] = pointer;
    return pointer;
}

/* desc: config, batch, dtype, training, seed, loss, smoothing, labels. The table is made here. */
static inline void rig_open(struct vit_rig *rig, struct backend *be, const struct vit_desc *desc)
{
    *rig = (struct vit_rig){.be = be, .desc = *desc};
    const struct vit_config *c = &desc->config;
    const size_t B = (size_t)desc->batch;
    vit_params(c, &rig->table);
    rig->desc.params = &rig->table;
    ASSERT_OK(vit_open(&rig->desc, be, &rig->vit));
    ASSERT_OK(vit_allocate(rig->vit));
    ASSERT_OK(be->reserve_workspace(be));

    const size_t flat = (size_t)rig->table.total;
    rig->master = calloc(flat, sizeof(float));
    rig->grads = calloc(flat, sizeof(float));
    rig->logits = calloc(B * (size_t)c->classes, sizeof(float));
    rig->weights.master = rig_alloc(rig, flat * sizeof(float));
    rig->weights.compute = desc->dtype == DTYPE_F32 ? rig->weights.master : rig_alloc(rig, flat * sizeof(bf16_t));
    rig->device_grads = rig_alloc(rig, flat * sizeof(float));
    rig->device_scalars = rig_alloc(rig, sizeof(struct step_scalars));
    rig->batch.images = rig_alloc(rig, B * (size_t)(c->image_size * c->image_size * c->channels));
    rig->batch.label_id = rig_alloc(rig, B * (size_t)desc->labels * sizeof(int32_t));
    rig->batch.label_weight = rig_alloc(rig, B * (size_t)desc->labels * sizeof(float));
    rig->batch.row_weight = rig_alloc(rig, B * sizeof(float));
    rig->batch.position = rig_alloc(rig, B * sizeof(uint64_t));
}

static inline void rig_close(struct vit_rig *rig)
{
    for (int i = 0; i < rig->owned_count; i++)
        rig->be->release(rig->be, MEMORY_DEVICE, rig->owned[i]);
    vit_close(&rig->vit);
    param_table_close(&rig->table);
    free(rig->master);
    free(rig->grads);
    free(rig->logits);
}

static inline void rig_upload(struct vit_rig *rig, const void *device, const void *host, size_t bytes)
{
    rig->be->upload(rig->be, STREAM_COMPUTE, (void *)(uintptr_t)device, host, bytes);
    ASSERT_OK(rig->be->synchronise(rig->be));
}

/* rig->master to the device, and its compute copy. */
static inline void rig_publish(struct vit_rig *rig)
{
    rig_upload(rig, rig->weights.master, rig->master, (size_t)rig->table.total * sizeof(float));
    if (rig->desc.dtype != DTYPE_F32)
        rig->be->nn.cast(rig->be, rig->weights.master, DTYPE_F32, (void *)(uintptr_t)rig->weights.compute,
                         rig->desc.dtype, rig->table.total);
}

/* Host arrays of one batch, shaped as struct vit_batch. */
static inline void rig_batch(struct vit_rig *rig, const struct vit_batch *host)
{
    const struct vit_config *c = &rig->desc.config;
    const size_t B = (size_t)rig->desc.batch, S = (size_t)rig->desc.labels;
    rig_upload(rig, rig->batch.images, host->images, B * (size_t)(c->image_size * c->image_size * c->channels));
    rig_upload(rig, rig->batch.label_id, host->label_id, B * S * sizeof(int32_t));
    rig_upload(rig, rig->batch.label_weight, host->label_weight, B * S * sizeof(float));
    rig_upload(rig, rig->batch.row_weight, host->row_weight, B * sizeof(float));
    rig_upload(rig, rig->batch.position, host->position, B * sizeof(uint64_t));
}

/* Forward and loss; returns the loss sum times grad_scale. Fills rig->logits and rig->scalars. */
static inline double rig_forward(struct vit_rig *rig, float grad_scale)
{
    struct backend *be = rig->be;
    be->nn.scalars_reset(be, rig->device_scalars);
    vit_forward(rig->vit, &rig->weights, &rig->batch);
    vit_loss(rig->vit, &rig->batch, grad_scale, NULL, rig->device_scalars);
    be->download(be, STREAM_COMPUTE, rig->logits, vit_logits(rig->vit),
                 (size_t)(rig->desc.batch * rig->desc.config.classes) * sizeof(float));
    be->download(be, STREAM_COMPUTE, &rig->scalars, rig->device_scalars, sizeof rig->scalars);
    ASSERT_OK(be->synchronise(be));
    return rig->scalars.loss_sum * (double)grad_scale;
}

/* Backward of the last rig_forward into rig->grads. */
static inline void rig_backward(struct vit_rig *rig, bool accumulate, vit_grad_ready ready, void *context)
{
    struct backend *be = rig->be;
    vit_backward(rig->vit, &rig->weights, &rig->batch, rig->device_grads, accumulate, ready, context);
    be->download(be, STREAM_COMPUTE, rig->grads, rig->device_grads, (size_t)rig->table.total * sizeof(float));
    ASSERT_OK(be->synchronise(be));
}

#endif
