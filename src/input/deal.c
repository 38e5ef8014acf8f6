#include "input/deal.h"

#include <stdbool.h>

#include "base/check.h"

/* While sorting, `partner` holds the row's stripe. */
static bool row_before(const struct deal_row *a, const struct deal_row *b)
{
    return a->partner != b->partner ? a->partner < b->partner : a->position < b->position;
}

static void sift_down(struct deal_row *heap, int64_t root, int64_t count)
{
    struct deal_row moving = heap[root];
    for (int64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && row_before(&heap[child], &heap[child + 1]))
            child++;
        if (!row_before(&moving, &heap[child]))
            break;
        heap[root] = heap[child];
    }
    heap[root] = moving;
}

/* Not qsort: that may allocate, and the step must not. */
static void heap_sort(struct deal_row *rows, int64_t count)
{
    for (int64_t root = count / 2; root-- > 0;)
        sift_down(rows, root, count);
    for (int64_t last = count - 1; last > 0; last--) {
        struct deal_row top = rows[0];
        rows[0] = rows[last];
        rows[last] = top;
        sift_down(rows, 0, last);
    }
}

void deal_sort(const struct order *order, uint64_t first, int64_t batch, struct deal_row *sorted)
{
    bool in_order = true;
    for (int64_t i = 0; i < batch; i++) {
        uint64_t position = first + (uint64_t)i;
        sorted[i] = (struct deal_row){.position = position, .partner = order_stripe(order, position)};
        in_order = in_order && (i == 0 || row_before(&sorted[i - 1], &sorted[i]));
    }
    if (!in_order)
        heap_sort(sorted, batch);
}

int64_t deal_slice(const struct order *order, const struct deal_row *sorted, int64_t batch, int slice, int slices,
                   struct deal_row *rows)
{
    VT_CHECK(batch >= 0 && slice >= 0 && slice < slices);
    int64_t pairs = (batch + 1) / 2;
    int64_t begin = 2 * (pairs * slice / slices), end = 2 * (pairs * (slice + 1) / slices);
    if (end > batch)
        end = batch;
    for (int64_t i = begin; i < end; i++) {
        int64_t partner = (i ^ 1) < batch ? i ^ 1 : i;
        rows[i - begin] = (struct deal_row){.position = sorted[i].position,
                                            .partner = sorted[partner].position,
                                            .sample = (int64_t)order_sample(order, sorted[i].position)};
    }
    return end > begin ? end - begin : 0;
}

int64_t deal_step(const struct order *order, uint64_t first, int64_t batch, int rank, int ranks,
                  struct deal_row *scratch, struct deal_row *rows)
{
    deal_sort(order, first, batch, scratch);
    return deal_slice(order, scratch, batch, rank, ranks, rows);
}

int64_t deal_capacity(int64_t batch, int ranks)
{
    int64_t pairs = (batch + 1) / 2;
    int64_t rows = 2 * ((pairs + ranks - 1) / ranks);
    return rows < batch ? rows : batch;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

uint64_t deal_hash(const struct deal_row *rows, int64_t count)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += mix(rows[i].position + mix(rows[i].partner + mix((uint64_t)rows[i].sample + 0x9E3779B97F4A7C15u)));
    return sum;
}
