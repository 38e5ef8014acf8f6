/* Buckets over `ref`, plain and strict (strict plays a device, so gradients go through the staging buffers): the sums
 * are the exact ones whatever the bucket size, the wire, and the steps in which gradients become final. */
#include "rank_check.h"

#include <unistd.h>

#include "backend/backend.h"
#include "base/philox.h"
#include "comm/bucket.h"

static struct param_table table;

static void make_table(void)
{
    for (int i = 0; i < 37; i++) {
        struct param row = {.rank = 2, .dim = {1 + i % 5, 1 + (int64_t)draw_below(1, 2, 3, (uint32_t)i, 3000)}};
        snprintf(row.name, sizeof row.name, "row.%d", i);
        param_table_add(&table, &row);
    }
}

static float value_at(int rank, int64_t i, int step) { return (float)((i + 5 * rank + step) % 13 - 6); }

static void fill(struct backend *be, float *grads, float *host, int step)
{
    for (int64_t i = 0; i < table.total; i++)
        host[i] = value_at(world->rank, i, step);
    be->upload(be, STREAM_COMPUTE, grads, host, (size_t)table.total * sizeof *host);
}

/* Backward: gradients become final in random strides, often several rows at once, sometimes in the middle of a bucket.
 */
static void backward(struct bucket_set *set, int step)
{
    int row = table.count;
    for (uint32_t draw = 0; row > 0; draw++) {
        row -= 1 + (int)draw_below(7, 1, (uint64_t)step * 64 + (uint64_t)world->rank, draw, 6);
        if (row > 0)
            bucket_grad_ready(set, table.rows[row].offset);
        if (draw % 4 == 0)
            usleep((useconds_t)draw_below(9, 1, (uint64_t)step, draw + 1000u * (uint32_t)world->rank, 3000));
    }
    if (step % 2)
        bucket_grad_ready(set, 0);
}

static void check_sums(struct backend *be, const float *grads, float *host, int step)
{
    be->download(be, STREAM_COMPUTE, host, grads, (size_t)table.total * sizeof *host);
    REQUIRE_OK(be->synchronise(be));
    for (int64_t i = 0; i < table.total; i++) {
        float expected = 0;
        for (int r = 0; r < world->size; r++)
            expected += value_at(r, i, step);
        REQUIRE(host[i] == expected);
    }
}

static void check_stats(const struct bucket_stats *stats)
{
    if (world->size == 1)
        return;
    REQUIRE(stats->bytes == table.total * 4);
    REQUIRE(stats->comm_ms > 0 && stats->exposed_ms >= 0);
    REQUIRE(stats->early_fraction >= 0 && stats->early_fraction <= 1);
}

static void run_case(struct backend *be, int64_t bucket_bytes, enum dtype wire)
{
    struct bucket_set *set = NULL;
    struct bucket_stats stats;
    void *grads = NULL;
    float *host = malloc((size_t)table.total * sizeof *host);
    REQUIRE(host);
    REQUIRE_OK(be->alloc(be, MEMORY_DEVICE, (size_t)table.total * sizeof(float), "gradients", &grads));
    struct bucket_desc desc = {.table = &table, .bucket_bytes = bucket_bytes, .wire = wire, .grads = grads};
    REQUIRE_OK(bucket_open(&desc, world, be, &set));
    for (int step = 0; step < 6; step++) {
        fill(be, grads, host, step);
        bucket_begin(set);
        backward(set, step);
        REQUIRE_OK(bucket_finish(set, &stats));
        check_stats(&stats);
        check_sums(be, grads, host, step);
    }
    bucket_close(&set);
    REQUIRE(set == NULL);
    be->release(be, MEMORY_DEVICE, grads);
    free(host);
}

int main(void)
{
    static const int64_t sizes[] = {1, 3000, 50000, 1 << 20, 1 << 30};
    if (world_open(COMM_AUTO, &world) != VT_OK)
        return 1;
    make_table();
    for (int strict = 0; strict < 2; strict++) {
        struct backend *be = NULL;
        struct backend_desc desc = {.threads = 1, .strict = strict};
        REQUIRE_OK(backend_ref_open(&desc, &be));
        REQUIRE(be->host_memory == !strict);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            run_case(be, sizes[i], DTYPE_F32);
            run_case(be, sizes[i], DTYPE_BF16);
        }
        be->close(be);
    }
    param_table_close(&table);
    world_close(&world);
    return 0;
}
