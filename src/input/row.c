#include "input/row.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/philox.h"
#include "base/stage.h"

enum {
    READ_BYTES = 256 * 1024, /* first size of the read buffer: most photos of a training set fit */
    BAD_IN_A_ROW = 100,      /* more neighbours than this are no accident */
    WHERE_BYTES = VT_MESSAGE_BYTES / 2
};

vt_status row_worker_init(struct row_worker *worker)
{
    worker->scratch = augment_scratch_new();
    worker->bytes = malloc(READ_BYTES);
    worker->capacity = READ_BYTES;
    if (!worker->scratch || !worker->bytes)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory for the buffers of a thread");
    return VT_OK;
}

void row_worker_deinit(struct row_worker *worker)
{
    augment_scratch_free(&worker->scratch);
    free(worker->bytes);
    worker->bytes = NULL;
}

static size_t picture_bytes(const struct loader_desc *desc)
{
    return (size_t)desc->image_size * (size_t)desc->image_size * (size_t)desc->channels;
}

static void clear_labels(struct slot *slot, int row)
{
    for (int i = row * slot->labels_per_row; i < (row + 1) * slot->labels_per_row; i++) {
        slot->label_id[i] = -1;
        slot->label_weight[i] = 0;
    }
}

void row_pad(const struct loader_desc *desc, struct slot *slot, int row)
{
    memset(slot->images + (size_t)row * picture_bytes(desc), 0, picture_bytes(desc));
    clear_labels(slot, row);
    slot->row_weight[row] = 0;
    slot->position[row] = 0;
    slot->sample[row] = -1;
}

/* Uniform noise from splitmix64, seeded by the position's draw: a Philox word per pixel would cost more than training
 * on it. */
static void synthesise(const struct loader_desc *desc, struct slot *slot, int row)
{
    uint8_t *pixels = slot->images + (size_t)row * picture_bytes(desc);
    uint32_t words[4];
    draw4(desc->seed, DRAW_SYNTHETIC, slot->position[row], 0, words);
    uint64_t state = (uint64_t)words[0] << 32 | words[1];
    for (size_t done = 0, bytes = picture_bytes(desc); done < bytes; done += sizeof state) {
        uint64_t x = state += 0x9E3779B97F4A7C15u;
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
        x = (x ^ x >> 27) * 0x94D049BB133111EBu;
        x ^= x >> 31;
        memcpy(pixels + done, &x, bytes - done < sizeof x ? bytes - done : sizeof x);
    }
    clear_labels(slot, row);
    slot->label_id[row * slot->labels_per_row] = (int32_t)(slot->position[row] % (uint64_t)desc->synthetic_classes);
    slot->label_weight[row * slot->labels_per_row] = 1;
}

static vt_status set_labels(const struct loader_desc *desc, const struct sample_record *record, struct slot *slot,
                            int row)
{
    if (record->label_count > slot->labels_per_row) {
        char where[WHERE_BYTES];
        dataset_where(desc->split, record, where, sizeof where);
        return VT_FAIL(VT_E_LIMIT, "%s: the sample has %d labels, expected at most %d", where, record->label_count,
                       slot->labels_per_row);
    }
    clear_labels(slot, row);
    for (int i = 0; i < record->label_count; i++) {
        slot->label_id[row * slot->labels_per_row + i] = record->labels[i];
        slot->label_weight[row * slot->labels_per_row + i] = 1;
    }
    return VT_OK;
}

static bool is_bad_sample(vt_status status)
{
    return status == VT_E_FORMAT || status == VT_E_LIMIT || status == VT_E_UNSUPPORTED;
}

/* The picture of one sample, whichever; the draws stay those of the row's position. */
static vt_status fill_picture(const struct loader_desc *desc, struct row_worker *worker,
                              const struct sample_record *record, uint64_t position, uint8_t *pixels)
{
    char where[WHERE_BYTES];
    if (record->flags & SAMPLE_BAD || record->width < 1 || record->height < 1) {
        dataset_where(desc->split, record, where, sizeof where);
        return VT_FAIL(VT_E_FORMAT, "%s: %s", where,
                       record->flags & SAMPLE_BAD ? "the index marks the sample as bad"
                                                  : "the index has no image size");
    }
    int64_t start_ns = clock_ns();
    enum stage before = stage_enter(STAGE_READ);
    vt_status status = dataset_read(desc->split, record, &worker->bytes, &worker->capacity);
    stage_enter(before);
    worker->read_ms += (double)(clock_ns() - start_ns) * 1e-6;
    VT_TRY(status);

    struct augment_draw draw;
    augment_draw(&desc->augment, record->width, record->height, desc->image_size, desc->seed, position, &draw);
    status = augment_run(&desc->augment, &draw, worker->bytes, (size_t)record->bytes, desc->image_size, desc->channels,
                         worker->scratch, pixels, &worker->decode_ms, &worker->augment_ms);
    if (status == VT_OK)
        return VT_OK;
    dataset_where(desc->split, record, where, sizeof where);
    return status_prefix(status, "%s", where);
}

static vt_status note_bad(const struct loader_desc *desc, struct bad_list *bad, const struct sample_record *record)
{
    if (record->flags & SAMPLE_BAD)
        return VT_OK;
    switch (bad_list_note(bad, record->id)) {
    case BAD_NEW:
        log_warn("bad sample, replaced by the next good one: %s", status_message());
        break;
    case BAD_KNOWN:
        break;
    case BAD_FULL:
        return status_prefix(VT_E_FORMAT, "more than %lld bad samples, the last one", (long long)desc->bad_limit);
    }
    return VT_OK;
}

vt_status row_fill(const struct loader_desc *desc, struct bad_list *bad, struct row_worker *worker, struct slot *slot,
                   int row)
{
    slot->row_weight[row] = 1;
    if (!desc->split) {
        synthesise(desc, slot, row);
        return VT_OK;
    }
    uint8_t *pixels = slot->images + (size_t)row * picture_bytes(desc);
    int64_t samples = (int64_t)desc->order.desc.samples;
    for (int tries = 0;; tries++) {
        struct sample_record record;
        dataset_record(desc->split, slot->sample[row], &record);
        vt_status status = fill_picture(desc, worker, &record, slot->position[row], pixels);
        if (status == VT_OK)
            return set_labels(desc, &record, slot, row);
        if (!desc->substitute_bad || !is_bad_sample(status))
            return status;
        VT_TRY(note_bad(desc, bad, &record));
        if (tries + 1 == BAD_IN_A_ROW || tries + 1 == samples)
            return status_prefix(VT_E_FORMAT, "%d bad samples in a row, the last one", tries + 1);
        slot->sample[row] = (slot->sample[row] + 1) % samples;
    }
}
