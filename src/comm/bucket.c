#include "comm/bucket.h"

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
