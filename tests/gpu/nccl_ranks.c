/* nccl_ranks CANDIDATE, under mpirun: collectives and buckets on device memory, by exact sums, over ranks that may share one
 * GPU. With cuda the plugin's comm is used; any other CANDIDATE (ref-strict) proves the bucket part over the world's comm. */
#include "rank_check.h"

#include <math.h>

#include "base/clock.h"
#include "base/philox.h"
#include "base/stage.h"
#include "candidate.h"
#include "comm/bucket.h"

static struct backend *be;
static struct comm *device_comm; /* NULL: not cuda */
static struct param_table table;

static void report(const char *what, double ms, double megabytes)
{
    if (world->rank != 0)
        return;
    printf("ok     %-44s %d ranks  %9.2f ms", what, world->size, ms);
    if (megabytes > 0)
        printf("  %8.1f MB  %8.2f GB/s", megabytes, megabytes / ms);
    printf("\n");
    fflush(stdout);
}

static float *device_alloc(int64_t count)
{
    void *pointer = NULL;
    REQUIRE_OK(be->alloc(be, MEMORY_DEVICE, (size_t)count * sizeof(float), "test", &pointer));
    return pointer;
}

static float value_at(int rank, int64_t i, int step) { return (float)((i + 5 * rank + step) % 13 - 6); }

static float sum_at(int64_t i, int step)
{
    float sum = 0;
    for (int r = 0; r < world->size; r++)
        sum += value_at(r, i, step);
    return sum;
}

/* ---- collectives ---- */
enum { COUNT = 1 << 20 };

static void put(float *device, float *host, int step)
{
    for (int64_t i = 0; i < COUNT; i++)
        host[i] = value_at(world->rank, i, step);
    be->upload(be, STREAM_COMM, device, host, COUNT * sizeof *host);
}

static void get(float *host, const float *device)
{
    be->download(be, STREAM_COMM, host, device, COUNT * sizeof *host);
    REQUIRE_OK(be->synchronise(be));
}

static void check_all_reduce(float *device, float *host)
{
    put(device, host, 0);
    REQUIRE_OK(device_comm->all_reduce(device_comm, device, COUNT, DTYPE_F32, REDUCE_SUM)); /* connects */
    get(host, device);
    for (int64_t i = 0; i < COUNT; i++)
        REQUIRE(host[i] == sum_at(i, 0));
    put(device, host, 1);
    REQUIRE_OK(be->synchronise(be));
    double start = clock_ms();
    REQUIRE_OK(device_comm->all_reduce(device_comm, device, COUNT, DTYPE_F32, REDUCE_MAX));
    REQUIRE_OK(be->synchronise(be));
    report("all-reduce", clock_ms() - start, COUNT * 4e-6);
    get(host, device);
    for (int64_t i = 0; i < COUNT; i++) {
        float most = -99;
        for (int r = 0; r < world->size; r++)
            most = fmaxf(most, value_at(r, i, 1));
        REQUIRE(host[i] == most);
    }
}

static void check_ranges(float *device, float *host, const int64_t *begin, const char *what)
{
    int r = world->rank;
    put(device, host, 2);
    double start = clock_ms();
    REQUIRE_OK(device_comm->reduce_scatter(device_comm, device, begin, DTYPE_F32));
    get(host, device);
    for (int64_t i = begin[r]; i < begin[r + 1]; i++)
        REQUIRE(host[i] == sum_at(i, 2));
    REQUIRE_OK(device_comm->all_gather(device_comm, device, begin, DTYPE_F32));
    get(host, device);
    for (int64_t i = begin[0]; i < begin[world->size]; i++)
        REQUIRE(host[i] == sum_at(i, 2));
    report(what, clock_ms() - start, 0);
}

static void check_rest(float *device, float *host)
{
    int root = world->size - 1;
    put(device, host, 3);
    REQUIRE_OK(device_comm->broadcast(device_comm, device, COUNT * sizeof *host, root));
    get(host, device);
    for (int64_t i = 0; i < COUNT; i++)
        REQUIRE(host[i] == value_at(root, i, 3));
    REQUIRE_OK(device_comm->barrier(device_comm));
    REQUIRE_OK(device_comm->poll(device_comm));
    report("broadcast, barrier, poll", 0, 0);
}

static void check_collectives(void)
{
    float *device = device_alloc(COUNT), *host = malloc(COUNT * sizeof *host);
    int64_t even[65], uneven[65];
    REQUIRE(host && world->size <= 64);
    for (int r = 0; r <= world->size; r++) {
        even[r] = 64 + r * (COUNT / 2 / world->size);
        uneven[r] = r == 0 ? 0 : r == world->size ? COUNT : (int64_t)COUNT * r * r / (world->size * world->size);
    }
    check_all_reduce(device, host);
    check_ranges(device, host, even, "reduce-scatter, all-gather, even");
    check_ranges(device, host, uneven, "reduce-scatter, all-gather, uneven");
    check_rest(device, host);
    be->release(be, MEMORY_DEVICE, device);
    free(host);
}

/* ---- buckets ---- */
static void make_table(void)
{
    for (int i = 0; i < 37; i++) {
        struct param row = {.rank = 2, .dim = {1 + i % 5, 1 + (int64_t)draw_below(1, 2, 3, (uint32_t)i, 60000)}};
        snprintf(row.name, sizeof row.name, "row.%d", i);
        param_table_add(&table, &row);
    }
}

static void check_buckets(int64_t bytes, enum dtype wire)
{
    enum { STEPS = 5 };
    struct bucket_set *set = NULL;
    struct bucket_stats stats = {0};
    float *grads = device_alloc(table.total);
    float *host = malloc((size_t)table.total * sizeof *host);
    char what[64];
    REQUIRE(host);
    struct bucket_desc desc = {.table = &table, .bucket_bytes = bytes, .wire = wire, .grads = grads, .device = device_comm,
                               .timeout_s = 60};
    REQUIRE_OK(bucket_open(&desc, world, be, &set));
    double start = clock_ms();
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < table.total; i++)
            host[i] = value_at(world->rank, i, step);
        be->upload(be, STREAM_COMPUTE, grads, host, (size_t)table.total * sizeof *host);
        bucket_begin(set);
        for (int row = table.count - 1; row > 0; row -= 1 + (int)draw_below(7, 1, (uint64_t)step, (uint32_t)row, 4))
            bucket_grad_ready(set, table.rows[row].offset);
        REQUIRE_OK(bucket_finish(set, &stats));
        be->download(be, STREAM_COMPUTE, host, grads, (size_t)table.total * sizeof *host);
        REQUIRE_OK(be->synchronise(be));
        for (int64_t i = 0; i < table.total; i++)
            REQUIRE(host[i] == sum_at(i, step));
    }
    REQUIRE(world->size == 1 || (stats.bytes == table.total * 4 && stats.comm_ms > 0 && stats.exposed_ms >= 0));
    snprintf(what, sizeof what, "buckets of %lld KiB, %s wire", (long long)bytes >> 10, dtype_name(wire));
    report(what, (clock_ms() - start) / STEPS, (double)table.total * 4e-6);
    bucket_close(&set);
    be->release(be, MEMORY_DEVICE, grads);
    free(host);
}

/* ---- a rank that does not take part ---- */
static void sum_one_step(struct bucket_set *set)
{
    struct bucket_stats stats;
    bucket_begin(set);
    bucket_grad_ready(set, 0);
    REQUIRE_OK(bucket_finish(set, &stats));
}

/* The last rank stays away from the second step: the others name the bucket in time, and their streams are free again. Last, as
 * the comm is aborted. */
static void check_missing_rank(void)
{
    struct bucket_set *set = NULL;
    float *grads = device_alloc(table.total);
    double start = clock_ms();
    struct bucket_desc desc = {.table = &table, .bucket_bytes = 1 << 20, .wire = DTYPE_F32, .grads = grads, .device = device_comm,
                               .timeout_s = 5};
    REQUIRE_OK(bucket_open(&desc, world, be, &set));
    sum_one_step(set);
    REQUIRE_OK(bucket_drain(set));
    if (world->rank != world->size - 1) {
        sum_one_step(set);
        REQUIRE(bucket_drain(set) == VT_E_COMM);
        REQUIRE(strstr(status_message(), "sum of gradient bucket"));
        REQUIRE_OK(be->synchronise(be));
    }
    REQUIRE_OK(world->barrier(world));
    report("a missing rank is noticed, the stream freed", clock_ms() - start, 0);
    device_comm->abort(device_comm);
    bucket_close(&set);
    be->release(be, MEMORY_DEVICE, grads);
}

int main(int argc, char **argv)
{
    const struct plugin *plugin;
    const char *name = argc == 2 ? argv[1] : "";
    if (world_open(COMM_AUTO, &world) != VT_OK)
        return 1;
    stage_register("main");
    vt_status status = candidate_open(name, &be);
    if (status != VT_OK) {
        int code = world->rank == 0 ? candidate_missing(status) : status == VT_E_UNSUPPORTED ? EXIT_SKIPPED : 1;
        world_close(&world);
        return code;
    }
    if (strcmp(name, "cuda") == 0) {
        REQUIRE_OK(plugin_load(&plugin));
        REQUIRE_OK(plugin->comm_open(world, be, &device_comm));
        check_collectives();
    }
    make_table();
    static const int64_t sizes[] = {1 << 10, 1 << 20, 1 << 30};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_buckets(sizes[i], DTYPE_F32);
        check_buckets(sizes[i], DTYPE_BF16);
    }
    if (device_comm && world->size > 1)
        check_missing_rank();
    if (device_comm)
        device_comm->close(device_comm);
    be->close(be);
    param_table_close(&table);
    world_close(&world);
    return 0;
}
