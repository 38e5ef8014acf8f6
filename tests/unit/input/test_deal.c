#include "input/deal.h"

#include "test.h"

enum { BATCH_MOST = 64, RANKS_MOST = 8 };

static struct order make_order(enum order_mode mode, uint64_t samples)
{
    struct order order;
    struct order_desc desc = {
        .mode = mode, .seed = 7, .samples = samples, .block_samples = 2, .stripes = 4, .window_blocks = 2};
    ASSERT_OK(order_init(&order, &desc));
    return order;
}

/* Every position once, partners mutual, slices even, stripes in order over the ranks; returns the step's hash. */
static uint64_t check_step(const struct order *order, uint64_t first, int64_t batch, int ranks)
{
    struct deal_row scratch[BATCH_MOST], rows[BATCH_MOST + 2];
    uint64_t partner[BATCH_MOST] = {0}, hash = 0;
    int seen[BATCH_MOST] = {0}, alone = 0;
    int64_t total = 0, least = batch, most = 0;
    uint32_t stripe = 0;
    for (int rank = 0; rank < ranks; rank++) {
        int64_t count = deal_step(order, first, batch, rank, ranks, scratch, rows);
        CU_ASSERT_FATAL(count <= deal_capacity(batch, ranks));
        int64_t pairs = (count + 1) / 2;
        least = pairs < least ? pairs : least;
        most = pairs > most ? pairs : most;
        total += count;
        hash += deal_hash(rows, count);
        for (int64_t i = 0; i < count; i++) {
            uint64_t at = rows[i].position - first;
            CU_ASSERT_FATAL(at < (uint64_t)batch);
            seen[at]++;
            partner[at] = rows[i].partner - first;
            CU_ASSERT_FATAL(partner[at] < (uint64_t)batch);
            alone += rows[i].partner == rows[i].position;
            CU_ASSERT_EQUAL(rows[i].sample, (int64_t)order_sample(order, rows[i].position));
            if (rows[i].partner != rows[i].position) /* partners run on the same rank, side by side */
                CU_ASSERT_EQUAL(rows[i ^ 1].position, rows[i].partner);
            CU_ASSERT(order_stripe(order, rows[i].position) >= stripe);
            stripe = order_stripe(order, rows[i].position);
        }
    }
    CU_ASSERT_EQUAL(total, batch);
    CU_ASSERT(most - least <= 1);
    CU_ASSERT_EQUAL(alone, batch % 2);
    for (int64_t i = 0; i < batch; i++) {
        CU_ASSERT_EQUAL(seen[i], 1);
        CU_ASSERT_EQUAL(partner[partner[i]], (uint64_t)i);
    }
    return hash;
}

static void the_union_is_the_step_at_any_rank_count(void)
{
    const enum order_mode modes[] = {ORDER_SEQUENTIAL, ORDER_FULL, ORDER_WINDOW};
    const int64_t batches[] = {1, 2, 3, 5, 7, 8, 15, 16, 33, 64};
    const uint64_t firsts[] = {0, 5, 90, 1000003}; /* 90: crosses the border of epoch 0 */
    for (int mode = 0; mode < 3; mode++) {
        struct order order = make_order(modes[mode], 101);
        for (int b = 0; b < 10; b++)
            for (int f = 0; f < 4; f++) {
                uint64_t hash = check_step(&order, firsts[f], batches[b], 1);
                for (int ranks = 2; ranks <= RANKS_MOST; ranks++)
                    CU_ASSERT_EQUAL(check_step(&order, firsts[f], batches[b], ranks), hash);
            }
    }
}

static void the_hash_sees_every_field(void)
{
    struct deal_row a[2] = {{1, 2, 3}, {2, 1, 4}}, b[2] = {{2, 1, 4}, {1, 2, 3}};
    CU_ASSERT_EQUAL(deal_hash(a, 2), deal_hash(b, 2));
    for (int field = 0; field < 3; field++) {
        struct deal_row c[2] = {a[0], a[1]};
        c[0].position += field == 0;
        c[0].partner += field == 1;
        c[0].sample += field == 2;
        CU_ASSERT_NOT_EQUAL(deal_hash(c, 2), deal_hash(a, 2));
    }
}

/* By hand: V = 4 stripes, position p of a window is in stripe p mod 4, so the sequence is 0 4 1 5 2 6 3 7. */
static void stripes_come_first(void)
{
    struct order order = make_order(ORDER_WINDOW, 1000);
    struct deal_row scratch[8], rows[8];
    const uint64_t expected[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    CU_ASSERT_EQUAL(deal_step(&order, 0, 8, 1, 2, scratch, rows), 4);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(rows[i].position, expected[4 + i]);
    CU_ASSERT_EQUAL(deal_step(&order, 0, 8, 0, 1, scratch, rows), 8);
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(rows[i].position, expected[i]);
        CU_ASSERT_EQUAL(rows[i].partner, expected[i ^ 1]);
    }
}

static void fewer_pairs_than_ranks_leaves_some_idle(void)
{
    struct order order = make_order(ORDER_FULL, 10);
    struct deal_row scratch[4], rows[4];
    int idle = 0;
    for (int rank = 0; rank < 8; rank++)
        idle += deal_step(&order, 0, 3, rank, 8, scratch, rows) == 0;
    CU_ASSERT_EQUAL(idle, 6);
    CU_ASSERT_EQUAL(deal_step(&order, 0, 0, 0, 1, scratch, rows), 0);
    CU_ASSERT_EQUAL(deal_capacity(3, 8), 2);
    CU_ASSERT_EQUAL(deal_capacity(1, 1), 1);
    CU_ASSERT_EQUAL(deal_capacity(7, 1), 7);
    CU_ASSERT_EQUAL(deal_capacity(4096, 3), 1366);
}

static const struct test_case CASES[] = {
    {"union over ranks is the step's set, equal hash", the_union_is_the_step_at_any_rank_count},
    {"the hash sees every field, not the order", the_hash_sees_every_field},
    {"sorted by stripe, then position", stripes_come_first},
    {"small batches", fewer_pairs_than_ranks_leaves_some_idle},
};
TEST_MAIN("input/deal", CASES)
