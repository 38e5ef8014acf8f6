#include "train/weights.h"

static size_t flat_bytes(const struct param_table *table) { return (size_t)table->total * sizeof(float); }

/* Which of params, m, v, ema exist. */
static void wanted(const struct weights_desc *desc, bool *want)
{
    want[WEIGHTS_PARAMS] = true;
    want[WEIGHTS_M] = desc->training;
    want[WEIGHTS_V] = desc->training && desc->optimizer == OPTIMIZER_ADAMW;
    want[WEIGHTS_EMA] = desc->ema;
}

static float **device_slot(struct weights *weights, int which)
{
    struct optimizer_buffers *device = &weights->device;
    float **slots[] = {[WEIGHTS_PARAMS] = &device->params,
                       [WEIGHTS_M] = &device->m,
                       [WEIGHTS_V] = &device->v,
                       [WEIGHTS_EMA] = &device->ema};
    return slots[which];
}

void weights_memory(const struct weights_desc *desc, bool host_memory, size_t *device, size_t *host)
{
    bool want[4];
    wanted(desc, want);
    size_t flat = flat_bytes(desc->table), buffers = 0;
    for (int i = 0; i < 4; i++)
        buffers += want[i] ? flat : 0;
    *host = host_memory ? 0 : buffers;
    *device = buffers + (desc->training ? flat : 0);
    if (desc->dtype == DTYPE_BF16)
        *device += (flat / 2) * (desc->ema ? 2 : 1);
}

vt_status weights_open(struct weights *weights, struct backend *be, const struct weights_desc *desc)
{
    static const char *const names[] = {"parameters", "optimizer state m", "optimizer state v", "EMA"};
    *weights = (struct weights){.be = be, .table = desc->table, .dtype = desc->dtype};
    bool want[4];
    wanted(desc, want);
    size_t flat = flat_bytes(desc->table);
    void *memory;
    for (int i = 0; i < 4; i++) {
        if (!want[i])
            continue;
        VT_TRY(be->alloc(be, MEMORY_DEVICE, flat, names[i], &memory));
        *device_slot(weights, i) = memory;
        if (!be->host_memory)
            VT_TRY(be->alloc(be, MEMORY_HOST, flat, names[i], &memory));
        weights->host[i] = memory;
    }
    if (desc->training) {
        VT_TRY(be->alloc(be, MEMORY_DEVICE, flat, "gradients", &memory));
        weights->device.grads = memory;
    }
    if (desc->dtype == DTYPE_BF16) {
        VT_TRY(be->alloc(be, MEMORY_DEVICE, flat / 2, "bf16 weights", &memory));
        weights->device.compute = memory;
        if (desc->ema) {
            VT_TRY(be->alloc(be, MEMORY_DEVICE, flat / 2, "bf16 EMA weights", &memory));
            weights->ema_compute = memory;
        }
    }
    return VT_OK;
}

void weights_close(struct weights *weights)
{
    struct backend *be = weights->be;
    if (!be)
        return;
    for (int i = 0; i < 4; i++) {
        float **device = device_slot(weights, i);
        if (weights->host[i] && weights->host[i] != *device)
            be->release(be, MEMORY_HOST, weights->host[i]);
        if (*device)
            be->release(be, MEMORY_DEVICE, *device);
    }
    if (weights->device.grads)
        be->release(be, MEMORY_DEVICE, weights->device.grads);
    if (weights->device.compute)
        be->release(be, MEMORY_DEVICE, weights->device.compute);
    if (weights->ema_compute)
        be->release(be, MEMORY_DEVICE, weights->ema_compute);
    *weights = (struct weights){0};
}

vt_status weights_download(struct weights *weights)
{
    struct backend *be = weights->be;
    for (int i = 0; i < 4; i++) {
        float *device = *device_slot(weights, i);
        if (device && weights->host[i] != device)
            be->download(be, STREAM_COMPUTE, weights->host[i], device, flat_bytes(weights->table));
    }
    return be->synchronise(be);
}

vt_status weights_upload(struct weights *weights)
{
    struct backend *be = weights->be;
    for (int i = 0; i < 4; i++) {
        float *device = *device_slot(weights, i);
        if (device && weights->host[i] != device)
            be->upload(be, STREAM_COMPUTE, device, weights->host[i], flat_bytes(weights->table));
    }
    if (weights->device.compute)
        be->nn.cast(be, weights->device.params, DTYPE_F32, weights->device.compute, DTYPE_BF16, weights->table->total);
    return be->synchronise(be);
}

struct vit_weights weights_view(const struct weights *weights)
{
    const float *master = weights->device.params;
    return (struct vit_weights){master, weights->device.compute ? (const void *)weights->device.compute : master};
}

struct vit_weights weights_ema_view(struct weights *weights)
{
    const float *master = weights->device.ema;
    if (!weights->ema_compute)
        return (struct vit_weights){master, master};
    struct backend *be = weights->be;
    be->nn.cast(be, master, DTYPE_F32, weights->ema_compute, DTYPE_BF16, weights->table->total);
    return (struct vit_weights){master, weights->ema_compute};
}
