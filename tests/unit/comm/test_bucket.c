#include "comm/bucket.h"

#include "base/philox.h"
#include "test.h"

static void add_row(struct param_table *table, int64_t count)
{
    struct param row = {.rank = 1, .dim = {count}};
    snprintf(row.name, sizeof row.name, "row.%d", table->count);
    param_table_add(table, &row);
}

static bool is_row_offset(const struct param_table *table, int64_t offset)
{
    for (int i = 0; i < table->count; i++)
        if (table->rows[i].offset == offset)
            return true;
    return false;
}

/* What every plan must keep, whatever the table. Returns the count. */
static int check_plan(const struct param_table *table, int64_t bytes, struct bucket *buckets, int capacity)
{
    int count = bucket_plan(table, bytes, buckets, capacity);
    int64_t end = table->total;
    CU_ASSERT_FATAL(count <= capacity);
    for (int i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(buckets[i].end, end); /* from the end, without holes */
        CU_ASSERT(buckets[i].begin < buckets[i].end);
        CU_ASSERT(is_row_offset(table, buckets[i].begin));
        end = buckets[i].begin;
    }
    CU_ASSERT_EQUAL(end, 0);
    return count;
}

static void equal_rows(void)
{
    struct param_table table = {0};
    struct bucket b[64];
    for (int i = 0; i < 16; i++)
        add_row(&table, 64); /* 256 bytes each */
    /* 4 rows a bucket; the last one (the start of the buffer) has two. */
    CU_ASSERT_EQUAL(check_plan(&table, 1024, b, 64), 5);
    CU_ASSERT_EQUAL(b[0].begin, 12 * 64);
    CU_ASSERT_EQUAL(b[3].begin, 2 * 64);
    CU_ASSERT_EQUAL(b[4].end, 2 * 64);
    CU_ASSERT_EQUAL(check_plan(&table, 1, b, 64), 16);
    CU_ASSERT_EQUAL(check_plan(&table, 1 << 30, b, 64), 1);
    param_table_close(&table);
}

/* Buckets of 4 rows of 64 elements, and a last one of 2. */
static void memory_of_the_largest(void)
{
    struct param_table table = {0};
    size_t device, host;
    for (int i = 0; i < 16; i++)
        add_row(&table, 64);
    bucket_memory(&table, 1024, DTYPE_F32, true, false, &device, &host);
    CU_ASSERT(device == 0 && host == 0);
    bucket_memory(&table, 1024, DTYPE_BF16, true, false, &device, &host);
    CU_ASSERT(device == 512 && host == 0);
    bucket_memory(&table, 1024, DTYPE_BF16, false, false, &device, &host);
    CU_ASSERT(device == 0 && host == 1024 + 512);
    bucket_memory(&table, 1024, DTYPE_F32, false, true, &device, &host);
    CU_ASSERT(device == 0 && host == 0);
    param_table_close(&table);
}

static void capacity_is_not_passed(void)
{
    struct param_table table = {0};
    struct bucket b[3] = {{0, 0}, {0, 0}, {-7, -7}};
    for (int i = 0; i < 16; i++)
        add_row(&table, 64);
    CU_ASSERT_EQUAL(bucket_plan(&table, 1024, b, 2), 5);
    CU_ASSERT_EQUAL(b[1].begin, 8 * 64);
    CU_ASSERT_EQUAL(b[2].begin, -7);
    param_table_close(&table);
}

static void a_huge_row_is_one_bucket(void)
{
    struct param_table table = {0};
    struct bucket b[64];
    add_row(&table, 64);
    add_row(&table, 1000000);
    add_row(&table, 64);
    int count = check_plan(&table, 4096, b, 64);
    CU_ASSERT_EQUAL(b[count - 1].end, 64); /* the small first row alone: little is exposed */
    param_table_close(&table);
}

static void empty_and_single(void)
{
    struct param_table table = {0};
    struct bucket b[4];
    CU_ASSERT_EQUAL(bucket_plan(&table, 1024, b, 4), 0);
    add_row(&table, 5000);
    CU_ASSERT_EQUAL(check_plan(&table, 1024, b, 4), 1);
    param_table_close(&table);
}

/* Full buckets hold at least `bytes`; the exposed one at most half, unless it is one row. */
static void random_tables(void)
{
    static struct bucket b[400];
    for (uint32_t t = 0; t < 200; t++) {
        struct param_table table = {0};
        int rows = 1 + (int)draw_below(1, 1, t, 0, 60);
        for (int i = 0; i < rows; i++)
            add_row(&table, 1 + (int64_t)draw_below(2, 1, t, (uint32_t)i, 20000));
        int64_t bytes = 1 + (int64_t)draw_below(3, 1, t, 0, 200000);
        int count = check_plan(&table, bytes, b, 400);
        for (int i = 0; i + 2 < count; i++)
            CU_ASSERT((b[i].end - b[i].begin) * 4 >= bytes);
        CU_ASSERT(b[count - 1].end * 4 <= bytes / 2 || table.count == 1 || b[count - 1].end == table.rows[1].offset);
        param_table_close(&table);
    }
}

static const struct test_case cases[] = {
    {"equal rows", equal_rows},
    {"memory of the largest", memory_of_the_largest},
    {"capacity is not passed", capacity_is_not_passed},
    {"a huge row is one bucket", a_huge_row_is_one_bucket},
    {"empty and single", empty_and_single},
    {"random tables", random_tables},
};
TEST_MAIN("bucket plan", cases)
