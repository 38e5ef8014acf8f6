/* Slots for loader tests, and what a slot must look like. */
#ifndef VT_TEST_SLOTS_H
#define VT_TEST_SLOTS_H

#include "input/loader.h"

#include "test.h"

struct slots {
    struct slot slot[8];
    int count;
    size_t row_bytes;
};

static inline struct slots slots_new(int count, int capacity, int labels_per_row, int image_size, int channels)
{
    struct slots slots = {.count = count, .row_bytes = (size_t)image_size * (size_t)image_size * (size_t)channels};
    for (int i = 0; i < count; i++) {
        size_t rows = (size_t)capacity, labels = rows * (size_t)labels_per_row;
        slots.slot[i] = (struct slot){.capacity = capacity, .labels_per_row = labels_per_row};
        slots.slot[i].images = malloc(rows * slots.row_bytes);
        slots.slot[i].label_id = malloc(labels * sizeof(int32_t));
        slots.slot[i].label_weight = malloc(labels * sizeof(float));
        slots.slot[i].row_weight = malloc(rows * sizeof(float));
        slots.slot[i].position = malloc(rows * sizeof(uint64_t));
        slots.slot[i].sample = malloc(rows * sizeof(int64_t));
        memset(slots.slot[i].images, 0xA5, rows * slots.row_bytes);
    }
    return slots;
}

static inline void slots_free(struct slots *slots)
{
    for (int i = 0; i < slots->count; i++) {
        free(slots->slot[i].images);
        free(slots->slot[i].label_id);
        free(slots->slot[i].label_weight);
        free(slots->slot[i].row_weight);
        free(slots->slot[i].position);
        free(slots->slot[i].sample);
    }
}

/* FNV-1a over one row: position, sample, labels, pixels. */
static inline uint64_t slot_row_hash(const struct slot *slot, int row, size_t row_bytes)
{
    uint64_t hash = 0xCBF29CE484222325u;
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = {
        {&slot->position[row], sizeof(uint64_t)},
        {&slot->sample[row], sizeof(int64_t)},
        {&slot->label_id[row * slot->labels_per_row], (size_t)slot->labels_per_row * sizeof(int32_t)},
        {&slot->label_weight[row * slot->labels_per_row], (size_t)slot->labels_per_row * sizeof(float)},
        {slot->images + (size_t)row * row_bytes, row_bytes},
    };
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++)
        for (size_t i = 0; i < parts[part].size; i++)
            hash = (hash ^ ((const uint8_t *)parts[part].bytes)[i]) * 0x100000001B3u;
    return hash;
}

/* Padding is all zero and weightless. */
static inline int slot_padding_is_clean(const struct slot *slot, size_t row_bytes)
{
    for (int row = slot->rows; row < slot->capacity; row++) {
        if (slot->row_weight[row] != 0 || slot->position[row] != 0 || slot->sample[row] != -1)
            return 0;
        for (int i = 0; i < slot->labels_per_row; i++)
            if (slot->label_id[row * slot->labels_per_row + i] != -1 ||
                slot->label_weight[row * slot->labels_per_row + i] != 0)
                return 0;
        for (size_t i = 0; i < row_bytes; i++)
            if (slot->images[(size_t)row * row_bytes + i] != 0)
                return 0;
    }
    return 1;
}

static inline struct order test_order(enum order_mode mode, int64_t samples)
{
    struct order order;
    struct order_desc desc = {
        .mode = mode, .seed = 11, .samples = (uint64_t)samples, .block_samples = 2, .stripes = 4, .window_blocks = 2};
    ASSERT_OK(order_init(&order, &desc));
    return order;
}

#endif
