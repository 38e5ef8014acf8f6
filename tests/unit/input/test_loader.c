/* The loader on synthetic data: order, layout, threads, ends. test_loader_dataset.c reads real shards. */
#include "input/loader.h"

#include <unistd.h>

#include "base/philox.h"
#include "base/stage.h"
#include "slots.h"

enum { SIDE = 5, CHANNELS = 3, ROWS_MOST = 4096 };

static struct loader_desc make_desc(enum order_mode mode, int64_t samples)
{
    return (struct loader_desc){.order = test_order(mode, samples),
                                .synthetic_samples = samples,
                                .synthetic_classes = 7,
                                .image_size = SIDE,
                                .channels = CHANNELS,
                                .ranks = 1,
                                .batch = 16,
                                .steps = 10,
                                .threads = 2,
                                .seed = 3,
                                .substitute_bad = true};
}

/* Run one rank to its end; adds the hash of every row at its position; returns the rows seen. */
static int64_t run_rank(const struct loader_desc *desc, int slot_count, int capacity, uint64_t *hash_at)
{
    struct slots slots = slots_new(slot_count, capacity, 2, desc->image_size, desc->channels);
    struct loader *loader;
    struct slot *slot;
    int64_t rows = 0, sequence = 0;
    int micro_count = loader_micro_count(desc, capacity);
    ASSERT_OK(loader_open(desc, slots.slot, slot_count, &loader));
    for (; sequence < desc->steps * micro_count; sequence++) {
        ASSERT_OK(loader_next(loader, &slot));
        CU_ASSERT_EQUAL_FATAL(slot->step, desc->first_step + sequence / micro_count);
        CU_ASSERT_EQUAL_FATAL(slot->micro, sequence % micro_count);
        CU_ASSERT_EQUAL_FATAL(slot->micro_count, micro_count);
        CU_ASSERT_FATAL(slot->rows >= 0 && slot->rows <= capacity);
        CU_ASSERT(slot_padding_is_clean(slot, slots.row_bytes));
        for (int row = 0; row < slot->rows; row++) {
            uint64_t at = slot->position[row] - desc->first_position;
            CU_ASSERT_FATAL(at < ROWS_MOST);
            CU_ASSERT_EQUAL(slot->row_weight[row], 1.0f);
            CU_ASSERT_EQUAL(slot->label_id[2 * row], (int32_t)(slot->position[row] % 7));
            CU_ASSERT_EQUAL(slot->label_id[2 * row + 1], -1);
            hash_at[at] += slot_row_hash(slot, row, slots.row_bytes);
        }
        rows += slot->rows;
        loader_release(loader, slot);
    }
    ASSERT_FAILS(loader_next(loader, &slot), VT_E_LIMIT, "steps have been taken");
    struct loader_stats stats;
    loader_get_stats(loader, &stats);
    CU_ASSERT_EQUAL(stats.rows, rows);
    loader_close(&loader);
    CU_ASSERT_PTR_NULL(loader);
    slots_free(&slots);
    return rows;
}

static void pixels_depend_on_position_alone(void)
{
    static uint64_t expected[ROWS_MOST], found[ROWS_MOST];
    const enum order_mode modes[] = {ORDER_FULL, ORDER_WINDOW};
    for (int mode = 0; mode < 2; mode++) {
        struct loader_desc desc = make_desc(modes[mode], 37);
        memset(expected, 0, sizeof expected);
        desc.first_position = 1000;
        desc.first_step = 50;
        desc.threads = 1;
        CU_ASSERT_EQUAL(run_rank(&desc, 2, 16, expected), 160);
        for (int threads = 1; threads <= 5; threads += threads)
            for (int ranks = 1; ranks <= 5; ranks++)
                for (int capacity = 2; capacity <= 8; capacity += 6) {
                    memset(found, 0, sizeof found);
                    int64_t rows = 0;
                    desc.threads = threads;
                    desc.ranks = ranks;
                    for (desc.rank = 0; desc.rank < ranks; desc.rank++)
                        rows += run_rank(&desc, 3, capacity, found);
                    desc.rank = 0;
                    CU_ASSERT_EQUAL(rows, 160);
                    CU_ASSERT_EQUAL(memcmp(expected, found, sizeof found), 0);
                }
    }
}

/* Started in the middle, and cut into other batches: the same rows at the same positions. */
static void a_resumed_run_continues_the_stream(void)
{
    static uint64_t expected[ROWS_MOST], found[ROWS_MOST];
    struct loader_desc desc = make_desc(ORDER_WINDOW, 37);
    memset(expected, 0, sizeof expected);
    memset(found, 0, sizeof found);
    CU_ASSERT_EQUAL(run_rank(&desc, 2, 8, expected), 160);
    desc.batch = 10;
    desc.steps = 5;
    CU_ASSERT_EQUAL(run_rank(&desc, 2, 8, found), 50);
    desc.first_position = 50;
    desc.first_step = 5;
    desc.batch = 22;
    CU_ASSERT_EQUAL(run_rank(&desc, 2, 8, found + 50), 110);
    CU_ASSERT_EQUAL(memcmp(expected, found, sizeof found), 0);
}

/* Exact mode: the slices of L lanes are the same sets, in whole lanes, whatever the rank count. */
static void lanes_keep_their_rows_at_any_rank_count(void)
{
    enum { LANES = 6, BATCH = 22, STEPS = 3 };
    static uint64_t first_position_of_lane[STEPS][LANES];
    for (int ranks = 1; ranks <= LANES; ranks++) {
        struct loader_desc desc = make_desc(ORDER_FULL, 100);
        desc.lanes = LANES;
        desc.ranks = ranks;
        desc.batch = BATCH;
        desc.steps = STEPS;
        int rows = 0, lanes = 0;
        for (desc.rank = 0; desc.rank < ranks; desc.rank++) {
            struct slots slots = slots_new(2, 4, 1, SIDE, CHANNELS);
            struct loader *loader;
            struct slot *slot;
            ASSERT_OK(loader_open(&desc, slots.slot, 2, &loader));
            CU_ASSERT_EQUAL(loader_micro_count(&desc, 4), (LANES + ranks - 1) / ranks);
            for (int64_t i = 0; i < STEPS * loader_micro_count(&desc, 4); i++) {
                ASSERT_OK(loader_next(loader, &slot));
                rows += slot->rows;
                lanes += slot->slice >= 0;
                CU_ASSERT(slot->slice >= 0 || slot->rows == 0);
                if (slot->slice >= 0 && ranks == 1)
                    first_position_of_lane[slot->step][slot->slice] = slot->position[0];
                else if (slot->slice >= 0)
                    CU_ASSERT_EQUAL(first_position_of_lane[slot->step][slot->slice], slot->position[0]);
                loader_release(loader, slot);
            }
            loader_close(&loader);
            slots_free(&slots);
        }
        CU_ASSERT_EQUAL(rows, BATCH * STEPS);
        CU_ASSERT_EQUAL(lanes, LANES * STEPS);
    }
}

static void an_epoch_has_every_sample_once(void)
{
    enum { SAMPLES = 96 };
    struct loader_desc desc = make_desc(ORDER_WINDOW, SAMPLES);
    int seen[SAMPLES] = {0};
    desc.steps = SAMPLES / 16;
    desc.ranks = 3;
    for (desc.rank = 0; desc.rank < 3; desc.rank++) {
        struct slots slots = slots_new(2, 6, 1, SIDE, CHANNELS);
        struct loader *loader;
        struct slot *slot;
        ASSERT_OK(loader_open(&desc, slots.slot, 2, &loader));
        for (int64_t i = 0; i < desc.steps * loader_micro_count(&desc, 6); i++) {
            ASSERT_OK(loader_next(loader, &slot));
            for (int row = 0; row < slot->rows; row++)
                seen[slot->sample[row]]++;
            loader_release(loader, slot);
        }
        loader_close(&loader);
        slots_free(&slots);
    }
    for (int i = 0; i < SAMPLES; i++)
        CU_ASSERT_EQUAL(seen[i], 1);
}

static void evaluation_sees_every_sample_once(void)
{
    static uint64_t hashes[ROWS_MOST];
    for (int64_t samples = 1; samples <= 50; samples += samples < 12 ? 1 : 6)
        for (int ranks = 1; ranks <= 4; ranks++)
            for (int64_t batch = 1; batch <= 9; batch++) {
                struct loader_desc desc = make_desc(ORDER_SEQUENTIAL, samples);
                memset(hashes, 0, sizeof hashes);
                desc.total_positions = samples;
                desc.batch = batch;
                desc.ranks = ranks;
                desc.steps = (samples + batch - 1) / batch;
                desc.threads = 1 + (int)(batch % 2);
                int64_t seen = 0;
                for (desc.rank = 0; desc.rank < ranks; desc.rank++)
                    seen += run_rank(&desc, 2, 3, hashes);
                CU_ASSERT_EQUAL(seen, samples);
                for (int64_t i = 0; i < ROWS_MOST; i++)
                    CU_ASSERT_EQUAL_FATAL(hashes[i] != 0, i < samples);
            }
}

/* Steps past the end of an evaluation are all padding, on every rank. */
static void evaluation_may_run_over(void)
{
    struct loader_desc desc = make_desc(ORDER_SEQUENTIAL, 5);
    static uint64_t hashes[ROWS_MOST];
    desc.total_positions = 5;
    desc.batch = 4;
    desc.steps = 4;
    CU_ASSERT_EQUAL(run_rank(&desc, 2, 4, hashes), 5);
}

static void the_board_shows_the_threads(void)
{
    struct loader_desc desc = make_desc(ORDER_FULL, 100);
    struct slots slots = slots_new(2, 16, 1, SIDE, CHANNELS);
    struct stage_view views[STAGE_ROWS];
    struct loader *loader;
    struct slot *slot;
    int found = 0;
    ASSERT_OK(loader_open(&desc, slots.slot, 2, &loader));
    ASSERT_OK(loader_next(loader, &slot));
    for (int tries = 0; tries < 10000 && found < 2; tries++) { /* up to 10 s for threads to come up */
        found = 0;
        for (int i = 0, count = stage_snapshot(views, STAGE_ROWS); i < count; i++)
            found += strncmp(views[i].thread, "loader ", 7) == 0;
        usleep(found < 2 ? 1000 : 0);
    }
    CU_ASSERT_EQUAL(found, 2);
    loader_close(&loader);
    CU_ASSERT_EQUAL(stage_snapshot(views, STAGE_ROWS), 0);
    slots_free(&slots);
}

/* At any moment: slots all full and nobody reading, half-read, or at once. */
static void closing_never_hangs(void)
{
    struct loader *loader = NULL;
    loader_close(&loader);
    for (uint64_t round = 0; round < 300; round++) {
        struct loader_desc desc = make_desc(ORDER_FULL, 1000);
        struct slots slots = slots_new(2 + (int)(round % 3), 8, 1, SIDE, CHANNELS);
        struct slot *slot;
        desc.threads = 1 + (int)(round % 5);
        desc.steps = 1000;
        ASSERT_OK(loader_open(&desc, slots.slot, slots.count, &loader));
        for (uint64_t take = draw_below(1, 1, round, 0, 6); take > 0; take--) {
            ASSERT_OK(loader_next(loader, &slot));
            if (take > 1) /* one may still be out when the loader closes */
                loader_release(loader, slot);
        }
        usleep((unsigned)draw_below(1, 1, round, 1, 300));
        loader_close(&loader);
        slots_free(&slots);
    }
}

static void slots_may_come_back_in_any_order(void)
{
    struct loader_desc desc = make_desc(ORDER_FULL, 1000);
    struct slots slots = slots_new(4, 16, 1, SIDE, CHANNELS);
    struct loader *loader;
    struct slot *held, *slot;
    desc.steps = 50;
    ASSERT_OK(loader_open(&desc, slots.slot, 4, &loader));
    ASSERT_OK(loader_next(loader, &held));
    for (int64_t step = 1; step < 50; step++) {
        ASSERT_OK(loader_next(loader, &slot));
        CU_ASSERT_EQUAL(slot->step, step);
        CU_ASSERT_PTR_NOT_EQUAL(slot, held);
        if (step % 7 == 0) { /* give the older one back, keep the newer */
            loader_release(loader, held);
            held = slot;
        } else {
            loader_release(loader, slot);
        }
    }
    loader_close(&loader);
    slots_free(&slots);
}

static void a_transform_that_does_not_fit_is_refused(void)
{
    struct loader_desc desc = make_desc(ORDER_FULL, 100);
    struct slots slots = slots_new(2, 16, 1, SIDE, CHANNELS);
    struct loader *loader;
    ASSERT_OK(augment_parse("pad_crop(5,reflect)", &desc.augment));
    ASSERT_FAILS(loader_open(&desc, slots.slot, 2, &loader), VT_E_USAGE, "pad_crop(5,reflect)");
    CU_ASSERT_PTR_NULL(loader);
    slots_free(&slots);
}

static const struct test_case CASES[] = {
    {"same rows for any threads, ranks, microbatch", pixels_depend_on_position_alone},
    {"resume and another batch size", a_resumed_run_continues_the_stream},
    {"lanes are the same at any rank count", lanes_keep_their_rows_at_any_rank_count},
    {"every sample once per epoch", an_epoch_has_every_sample_once},
    {"evaluation is exact", evaluation_sees_every_sample_once},
    {"evaluation past its end is padding", evaluation_may_run_over},
    {"stage board", the_board_shows_the_threads},
    {"close at random moments", closing_never_hangs},
    {"slots come back in any order", slots_may_come_back_in_any_order},
    {"transform refused at open", a_transform_that_does_not_fit_is_refused},
};
TEST_MAIN("input/loader", CASES)
