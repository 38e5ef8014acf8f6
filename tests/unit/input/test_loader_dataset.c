/* The loader over shards on disk: pixels, bad samples, broken shards. */
#include "input/loader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slots.h"
#include "toy_dataset.h"

enum { SAMPLES = 50 };

static struct loader_desc make_desc(const struct toy *toy, const char *transform)
{
    struct loader_desc desc = {.split = toy->split,
                               .order = test_order(ORDER_FULL, SAMPLES),
                               .image_size = TOY_SIDE,
                               .channels = 1,
                               .ranks = 1,
                               .batch = 10,
                               .steps = 15,
                               .threads = 2,
                               .seed = 3,
                               .substitute_bad = true};
    ASSERT_OK(augment_parse(transform, &desc.augment));
    return desc;
}

typedef void (*row_check)(const struct slot *slot, int row, void *ctx);

/* Runs until the end or an error, which is returned; *bad (may be NULL) is the count at that moment. */
static vt_status run(const struct loader_desc *desc, row_check check, void *ctx, int64_t *bad)
{
    struct slots slots = slots_new(3, 4, 1, desc->image_size, desc->channels);
    struct loader *loader;
    struct slot *slot;
    struct loader_stats stats;
    vt_status status = loader_open(desc, slots.slot, 3, &loader);
    for (int64_t i = 0; status == VT_OK && i < desc->steps * loader_micro_count(desc, 4); i++) {
        status = loader_next(loader, &slot);
        for (int row = 0; status == VT_OK && check && row < slot->rows; row++)
            check(slot, row, ctx);
        if (status == VT_OK)
            loader_release(loader, slot);
    }
    if (status != VT_OK && loader) {
        CU_ASSERT_EQUAL(loader_next(loader, &slot), status); /* an error stays */
    }
    if (bad && loader) {
        loader_get_stats(loader, &stats);
        *bad = stats.bad_samples;
    }
    loader_close(&loader);
    slots_free(&slots);
    return status;
}

static void check_exact(const struct slot *slot, int row, void *ctx)
{
    uint8_t pixels[TOY_SIDE * TOY_SIDE];
    int *seen = ctx;
    int sample = (int)slot->sample[row];
    toy_pixels(sample, pixels);
    CU_ASSERT_EQUAL(memcmp(pixels, slot->images + row * TOY_SIDE * TOY_SIDE, sizeof pixels), 0);
    CU_ASSERT_EQUAL(slot->label_id[row], sample % 3);
    CU_ASSERT_EQUAL(slot->label_weight[row], 1.0f);
    seen[sample]++;
}

static void pixels_and_labels_are_those_of_the_shard(void)
{
    struct toy toy = toy_new(SAMPLES, NULL);
    struct loader_desc desc = make_desc(&toy, "squash");
    int seen[SAMPLES] = {0};
    int64_t bad = -1;
    ASSERT_OK(run(&desc, check_exact, seen, &bad));
    CU_ASSERT_EQUAL(bad, 0);
    for (int i = 0; i < SAMPLES; i++)
        CU_ASSERT_EQUAL(seen[i], 3);
    toy_free(&toy);
}

static void add_hash(const struct slot *slot, int row, void *ctx)
{
    uint64_t *hash_at = ctx;
    hash_at[slot->position[row]] += slot_row_hash(slot, row, 3 * TOY_SIDE * TOY_SIDE);
}

/* Colour JPEGs of another size, grey PNMs and bad samples, mixed. */
static void augmented_pixels_depend_on_position_alone(void)
{
    const char *transforms[] = {"rrc(0.3,1)|flip", "pad_crop(2)|flip", "pad_crop(2,reflect)", "centre(0.8)",
                                "squash|bilinear"};
    enum toy_damage damage[SAMPLES] = {[7] = TOY_BAD_CRC, [8] = TOY_BAD_IMAGE, [30] = TOY_MARKED_BAD};
    for (int i = 10; i < SAMPLES; i += 3)
        damage[i] = i == 30 ? damage[i] : TOY_JPEG;
    struct toy toy = toy_new(SAMPLES, damage);
    for (size_t t = 0; t < sizeof transforms / sizeof *transforms; t++) {
        uint64_t expected[150] = {0};
        struct loader_desc desc = make_desc(&toy, transforms[t]);
        desc.channels = 3;
        desc.threads = 1;
        ASSERT_OK(run(&desc, add_hash, expected, NULL));
        for (int ranks = 1; ranks <= 3; ranks++) {
            uint64_t found[150] = {0};
            desc.threads = 2 * ranks - 1;
            desc.ranks = ranks;
            for (desc.rank = 0; desc.rank < ranks; desc.rank++)
                ASSERT_OK(run(&desc, add_hash, found, NULL));
            desc.rank = 0;
            CU_ASSERT_EQUAL(memcmp(expected, found, sizeof found), 0);
        }
    }
    toy_free(&toy);
}

/* Every kind of damage: replaced by the next good sample, whose pixels and label arrive; counted once each over three
 * epochs; what the index marks as bad is not counted. */
static void bad_samples_are_replaced_and_counted_once(void)
{
    enum toy_damage damage[SAMPLES] = {[3] = TOY_BAD_CRC,   [10] = TOY_BAD_IMAGE,  [11] = TOY_BAD_CRC,
                                       [20] = TOY_BAD_SIZE, [30] = TOY_MARKED_BAD, [49] = TOY_BAD_IMAGE};
    struct toy toy = toy_new(SAMPLES, damage);
    for (int threads = 1; threads <= 4; threads++) {
        struct loader_desc desc = make_desc(&toy, "squash");
        int seen[SAMPLES] = {0};
        int64_t bad = -1;
        desc.threads = threads;
        ASSERT_OK(run(&desc, check_exact, seen, &bad));
        CU_ASSERT_EQUAL(bad, 5);
        for (int i = 0; i < SAMPLES; i++)
            CU_ASSERT_EQUAL(seen[i], damage[i] != TOY_GOOD                    ? 0
                                     : i == 12                                ? 9
                                     : i == 4 || i == 21 || i == 31 || i == 0 ? 6
                                                                              : 3);
    }
    toy_free(&toy);
}

static void too_many_bad_samples_stop_the_run(void)
{
    enum toy_damage damage[SAMPLES] = {TOY_GOOD};
    for (int i = 0; i < SAMPLES; i += 5)
        damage[i] = TOY_BAD_IMAGE;
    struct toy toy = toy_new(SAMPLES, damage);
    struct loader_desc desc = make_desc(&toy, "squash");
    int64_t bad[3] = {0};
    desc.bad_limit = 4;
    for (int threads = 1; threads <= 3; threads++) {
        int seen[SAMPLES] = {0};
        desc.threads = threads;
        ASSERT_FAILS(run(&desc, check_exact, seen, &bad[threads - 1]), VT_E_FORMAT, "more than the limit of 4");
    }
    CU_ASSERT(bad[0] > 4);
    CU_ASSERT_EQUAL(bad[0], bad[1]); /* the same microbatch trips, whatever the threads */
    CU_ASSERT_EQUAL(bad[0], bad[2]);
    desc.bad_limit = 10;
    ASSERT_OK(run(&desc, NULL, NULL, NULL));
    toy_free(&toy);
}

static void nothing_good_is_an_error(void)
{
    enum toy_damage damage[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        damage[i] = TOY_BAD_IMAGE;
    struct toy toy = toy_new(SAMPLES, damage);
    struct loader_desc desc = make_desc(&toy, "squash");
    desc.bad_limit = 1000;
    ASSERT_FAILS(run(&desc, NULL, NULL, NULL), VT_E_FORMAT, "50 bad samples in a row");
    toy_free(&toy);
}

static void evaluation_fails_at_the_first_bad_sample(void)
{
    const struct {
        enum toy_damage damage;
        const char *message;
    } cases[] = {{TOY_BAD_CRC, "crc32c"},
                 {TOY_BAD_IMAGE, ""},
                 {TOY_BAD_SIZE, "expected 7 x 6"},
                 {TOY_MARKED_BAD, "marks the sample as bad"}};
    for (int i = 0; i < 4; i++) {
        enum toy_damage damage[SAMPLES] = {[23] = cases[i].damage, [40] = TOY_BAD_IMAGE};
        struct toy toy = toy_new(SAMPLES, damage);
        struct loader_desc desc = make_desc(&toy, "squash");
        int seen[SAMPLES] = {0};
        desc.order = test_order(ORDER_SEQUENTIAL, SAMPLES);
        desc.total_positions = SAMPLES;
        desc.steps = 5;
        desc.substitute_bad = false;
        desc.threads = 3;
        ASSERT_FAILS(run(&desc, check_exact, seen, NULL), VT_E_FORMAT, cases[i].message);
        CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), "train-000001.tar, sample 7 (key 000023), offset"));
        CU_ASSERT_EQUAL(seen[19], 1); /* all microbatches before it were handed out */
        CU_ASSERT_EQUAL(seen[23], 0);
        toy_free(&toy);
    }
}

/* Two bad rows in one microbatch: the first one is named, whichever thread was faster. */
static void the_first_row_in_error_is_named(void)
{
    enum toy_damage damage[SAMPLES] = {[21] = TOY_BAD_CRC, [22] = TOY_BAD_IMAGE, [23] = TOY_BAD_CRC};
    struct toy toy = toy_new(SAMPLES, damage);
    struct loader_desc desc = make_desc(&toy, "squash");
    desc.order = test_order(ORDER_SEQUENTIAL, SAMPLES);
    desc.substitute_bad = false;
    for (int round = 0; round < 60; round++) {
        desc.threads = 1 + round % 4;
        ASSERT_FAILS(run(&desc, NULL, NULL, NULL), VT_E_FORMAT, "key 000021");
    }
    toy_free(&toy);
}

static void labels_may_be_none_or_several(void)
{
    enum toy_damage damage[SAMPLES] = {[4] = TOY_UNLABELLED, [9] = TOY_TWO_LABELS, [13] = TOY_TWO_LABELS};
    struct toy toy = toy_new(SAMPLES, damage);
    struct loader_desc desc = make_desc(&toy, "squash");
    struct slots slots = slots_new(2, 10, 2, TOY_SIDE, 1);
    struct loader *loader;
    struct slot *slot;
    desc.order = test_order(ORDER_SEQUENTIAL, SAMPLES);
    ASSERT_OK(loader_open(&desc, slots.slot, 2, &loader));
    ASSERT_OK(loader_next(loader, &slot));
    const int32_t expected[3][2] = {{0, -1}, {-1, -1}, {0, 2}};
    for (int i = 0; i < 3; i++) {
        int row = i == 0 ? 3 : i == 1 ? 4 : 9;
        for (int label = 0; label < 2; label++) {
            CU_ASSERT_EQUAL(slot->label_id[2 * row + label], expected[i][label]);
            CU_ASSERT_EQUAL(slot->label_weight[2 * row + label], expected[i][label] < 0 ? 0.0f : 1.0f);
        }
    }
    loader_close(&loader);
    slots_free(&slots);
    ASSERT_FAILS(run(&desc, NULL, NULL, NULL), VT_E_LIMIT, "sample 9 (key 000009), offset");
    CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), "has 2 labels, expected at most 1"));
    toy_free(&toy);
}

static void a_broken_shard_is_an_error_not_a_bad_sample(void)
{
    struct toy toy = toy_new(SAMPLES, NULL);
    struct loader_desc desc = make_desc(&toy, "squash");
    char path[128];
    snprintf(path, sizeof path, "%s/shards/train-000002.tar", toy.dir);
    CU_ASSERT_EQUAL_FATAL(truncate(path, 1000), 0);
    ASSERT_FAILS(run(&desc, NULL, NULL, NULL), VT_E_IO, "train-000002.tar");
    CU_ASSERT_EQUAL_FATAL(unlink(path), 0);
    dataset_close(&toy.dataset); /* shards may still be open: look again */
    ASSERT_FAILS(dataset_open(toy.dir, &toy.dataset), VT_E_IO, "train-000002.tar");
    toy_free(&toy);
}

static const struct test_case CASES[] = {
    {"pixels and labels", pixels_and_labels_are_those_of_the_shard},
    {"augmented pixels depend on position alone", augmented_pixels_depend_on_position_alone},
    {"bad samples are replaced, counted once", bad_samples_are_replaced_and_counted_once},
    {"bad limit", too_many_bad_samples_stop_the_run},
    {"nothing good", nothing_good_is_an_error},
    {"evaluation never substitutes", evaluation_fails_at_the_first_bad_sample},
    {"first error of a microbatch", the_first_row_in_error_is_named},
    {"no label, several labels", labels_may_be_none_or_several},
    {"broken shard", a_broken_shard_is_an_error_not_a_bad_sample},
};
TEST_MAIN("input/loader on shards", CASES)
