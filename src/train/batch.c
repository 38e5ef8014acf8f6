#include "train/batch.h"

#include <string.h>

/* One allocation holds all arrays of a microbatch, each 64-byte aligned. */
struct layout {
    size_t images, label_id, label_weight, row_weight, position, sample, bytes;
};

static size_t place(size_t *end, size_t bytes)
{
    size_t at = *end;
    *end = (at + bytes + 63) / 64 * 64;
    return at;
}

static struct layout layout_of(const struct batch_shape *shape)
{
    size_t rows = (size_t)shape->rows, labels = rows * (size_t)shape->labels, end = 0;
    size_t pixels = (size_t)shape->image_size * (size_t)shape->image_size * (size_t)shape->channels;
    struct layout at;
    at.images = place(&end, rows * pixels);
    at.label_id = place(&end, labels * sizeof(int32_t));
    at.label_weight = place(&end, labels * sizeof(float));
    at.row_weight = place(&end, rows * sizeof(float));
    at.position = place(&end, rows * sizeof(uint64_t));
    at.sample = place(&end, rows * sizeof(int64_t));
    at.bytes = end;
    return at;
}

void batch_ring_memory(const struct batch_shape *shape, size_t *device, size_t *host)
{
    size_t bytes = layout_of(shape).bytes;
    *device = BATCH_BUFFERS * bytes;
    *host = BATCH_SLOTS * bytes;
}

vt_status batch_ring_open(struct batch_ring *ring, struct backend *be, const struct batch_shape *shape)
{
    *ring = (struct batch_ring){.be = be, .shape = *shape};
    struct layout at = layout_of(shape);
    for (int i = 0; i < BATCH_SLOTS; i++) {
        VT_TRY(be->alloc(be, MEMORY_HOST, at.bytes, "input slots", &ring->host_memory[i]));
        char *base = ring->host_memory[i];
        ring->slots[i] = (struct slot){.capacity = shape->rows,
                                       .labels_per_row = shape->labels,
                                       .images = (uint8_t *)(base + at.images),
                                       .label_id = (int32_t *)(base + at.label_id),
                                       .label_weight = (float *)(base + at.label_weight),
                                       .row_weight = (float *)(base + at.row_weight),
                                       .position = (uint64_t *)(base + at.position),
                                       .sample = (int64_t *)(base + at.sample)};
    }
    for (int i = 0; i < BATCH_BUFFERS; i++) {
        struct batch_buffer *buffer = &ring->buffers[i];
        VT_TRY(be->alloc(be, MEMORY_DEVICE, at.bytes, "device batch", &buffer->memory));
        char *base = buffer->memory;
        buffer->view = (struct vit_batch){.images = (uint8_t *)(base + at.images),
                                          .label_id = (int32_t *)(base + at.label_id),
                                          .label_weight = (float *)(base + at.label_weight),
                                          .row_weight = (float *)(base + at.row_weight),
                                          .position = (uint64_t *)(base + at.position)};
        buffer->copied = be->event_new(be);
        buffer->consumed = be->event_new(be);
    }
    return VT_OK;
}

void batch_ring_close(struct batch_ring *ring)
{
    struct backend *be = ring->be;
    if (!be)
        return;
    for (int i = 0; i < BATCH_SLOTS; i++)
        if (ring->host_memory[i])
            be->release(be, MEMORY_HOST, ring->host_memory[i]);
    for (int i = 0; i < BATCH_BUFFERS; i++) {
        struct batch_buffer *buffer = &ring->buffers[i];
        if (buffer->memory)
            be->release(be, MEMORY_DEVICE, buffer->memory);
        if (buffer->copied)
            be->event_free(be, buffer->copied);
        if (buffer->consumed)
            be->event_free(be, buffer->consumed);
    }
    *ring = (struct batch_ring){0};
}

int batch_upload(struct batch_ring *ring, struct slot *slot, struct vit_batch *batch)
{
    struct backend *be = ring->be;
    int index = (int)(ring->uploads++ % BATCH_BUFFERS);
    struct batch_buffer *buffer = &ring->buffers[index];
    be->stream_wait(be, STREAM_COPY, buffer->consumed);
    /* Slots and device batches share one layout, so the copy is one transfer; `sample` at its end stays on the host. */
    be->upload(be, STREAM_COPY, buffer->memory, slot->images, layout_of(&ring->shape).sample);
    be->event_record(be, STREAM_COPY, buffer->copied);
    be->stream_wait(be, STREAM_COMPUTE, buffer->copied);
    buffer->slot = slot;
    *batch = buffer->view;
    return index;
}

void batch_consumed(struct batch_ring *ring)
{
    struct batch_buffer *buffer = &ring->buffers[(ring->uploads - 1) % BATCH_BUFFERS];
    ring->be->event_record(ring->be, STREAM_COMPUTE, buffer->consumed);
}

vt_status batch_recycle(struct batch_ring *ring, struct loader *loader, bool all)
{
    for (int age = all ? 1 : BATCH_BUFFERS; age <= BATCH_BUFFERS; age++) {
        struct batch_buffer *buffer = &ring->buffers[(ring->uploads + BATCH_BUFFERS - age) % BATCH_BUFFERS];
        if (!buffer->slot)
            continue;
        VT_TRY(ring->be->event_wait(ring->be, buffer->copied));
        if (loader)
            loader_release(loader, buffer->slot);
        buffer->slot = NULL;
    }
    return VT_OK;
}
