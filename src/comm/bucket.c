#include "comm/bucket.h"

#include <stdlib.h>

#include "base/check.h"

/* First row of the bucket that ends before row `end_row`: the shortest run of rows of at least `bytes`. */
static int cut_row(const struct param_table *table, int end_row, int64_t bytes)
{
    int64_t end = end_row < table->count ? table->rows[end_row].offset : table->total;
    int row = end_row - 1;
    while (row > 0 && (end - table->rows[row].offset) * (int64_t)sizeof(float) < bytes)
        row--;
    return row;
}

/* Rows [0, end_row) are the last bucket. Where to cut them so that at most half of `bytes` stays: 0 = nowhere. */
static int halve_row(const struct param_table *table, int end_row, int64_t bytes)
{
    int64_t end = end_row < table->count ? table->rows[end_row].offset : table->total;
    int row = end_row - 1;
    if (end * (int64_t)sizeof(float) <= bytes / 2)
        return 0;
    while (row > 1 && table->rows[row].offset * (int64_t)sizeof(float) > bytes / 2)
        row--;
    return row;
}

int bucket_plan(const struct param_table *table, int64_t bytes, struct bucket *buckets, int capacity)
{
    int count = 0, end_row = table->count;
    int64_t end = table->total;
    VT_CHECK(bytes > 0);
    while (end_row > 0) {
        int row = cut_row(table, end_row, bytes);
        if (row == 0)
            row = halve_row(table, end_row, bytes);
        struct bucket next = {.begin = row == 0 ? 0 : table->rows[row].offset, .end = end};
        if (count < capacity)
            buckets[count] = next;
        count++;
        end = next.begin;
        end_row = row;
    }
    return count;
}

static int64_t largest_bucket(const struct param_table *table, int64_t bytes)
{
    int count = bucket_plan(table, bytes, NULL, 0);
    struct bucket *buckets = calloc((size_t)count + 1, sizeof *buckets);
    int64_t largest = 0;
    VT_CHECK(buckets);
    bucket_plan(table, bytes, buckets, count);
    for (int i = 0; i < count; i++)
        if (buckets[i].end - buckets[i].begin > largest)
            largest = buckets[i].end - buckets[i].begin;
    free(buckets);
    return largest;
}

void bucket_memory(const struct param_table *table, int64_t bytes, enum dtype wire, bool summed_there, bool host_memory, size_t *device,
                   size_t *host)
{
    const size_t largest = (size_t)largest_bucket(table, bytes);
    const size_t wire_bytes = wire == DTYPE_BF16 ? largest * sizeof(bf16_t) : 0;
    *device = summed_there ? wire_bytes : 0;
    *host = summed_there ? 0 : wire_bytes + (host_memory ? 0 : largest * sizeof(float));
}
