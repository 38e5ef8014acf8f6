/* Every collective on values whose sums are exact in any order, so that results are compared bit for bit. */
#include "rank_check.h"

#include "base/cpus.h"

#include <math.h>

/* Value of rank r at element i: small integers. */
static double value_at(int rank, int64_t i) { return (double)((i * 7 + rank * 3) % 17 - 8); }

static double sum_at(int64_t i)
{
    double sum = 0;
    for (int r = 0; r < world->size; r++)
        sum += value_at(r, i);
    return sum;
}

static double extreme_at(int64_t i, int sign)
{
    double best = value_at(0, i);
    for (int r = 1; r < world->size; r++)
        if (sign * value_at(r, i) > sign * best)
            best = value_at(r, i);
    return best;
}

static void put(void *data, enum dtype dtype, int64_t i, double value)
{
    switch (dtype) {
    case DTYPE_F32: ((float *)data)[i] = (float)value; break;
    case DTYPE_F64: ((double *)data)[i] = value; break;
    case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    case DTYPE_I64: ((int64_t *)data)[i] = (int64_t)value; break;
    case DTYPE_BF16: ((bf16_t *)data)[i] = bf16_from_float((float)value); break;
    case DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)((int)value & 255); break;
    default: REQUIRE(0);
    }
}

static double get(const void *data, enum dtype dtype, int64_t i)
{
    switch (dtype) {
    case DTYPE_F32: return ((const float *)data)[i];
    case DTYPE_F64: return ((const double *)data)[i];
    case DTYPE_I32: return ((const int32_t *)data)[i];
    case DTYPE_I64: return (double)((const int64_t *)data)[i];
    case DTYPE_BF16: return (double)bf16_to_float(((const bf16_t *)data)[i]);
    case DTYPE_U8: return ((const uint8_t *)data)[i];
    default: REQUIRE(0); return 0;
    }
}

static const enum dtype summable[] = {DTYPE_F32, DTYPE_F64, DTYPE_I32, DTYPE_I64, DTYPE_BF16};
static const int64_t counts[] = {0, 1, 2, 3, 63, 1000, 100003};

static void check_all_reduce(struct comm *comm, enum dtype dtype, int64_t count)
{
    void *data = malloc((size_t)count * 8 + 8);
    REQUIRE(data);
    for (int op = REDUCE_SUM; op <= REDUCE_MIN; op++) {
        if (dtype == DTYPE_BF16 && op != REDUCE_SUM)
            continue;
        for (int64_t i = 0; i < count; i++)
            put(data, dtype, i, value_at(world->rank, i));
        REQUIRE_OK(comm->all_reduce(comm, data, count, dtype, (enum reduce_op)op));
        for (int64_t i = 0; i < count; i++) {
            double expected = op == REDUCE_SUM ? sum_at(i) : extreme_at(i, op == REDUCE_MAX ? 1 : -1);
            REQUIRE(get(data, dtype, i) == expected);
        }
    }
    free(data);
}

/* Uneven ranges; some are empty, the first does not start at 0. */
static void uneven_ranges(int64_t *begin)
{
    begin[0] = 5;
    for (int r = 0; r < world->size; r++)
        begin[r + 1] = begin[r] + (r % 3 == 1 ? 0 : 13 * r + 101);
}

static void check_reduce_scatter(enum dtype dtype)
{
    int64_t begin[65];
    uneven_ranges(begin);
    int64_t count = begin[world->size];
    char *data = malloc((size_t)count * 8);
    REQUIRE(data);
    for (int64_t i = 0; i < count; i++)
        put(data, dtype, i, value_at(world->rank, i));
    REQUIRE_OK(world->reduce_scatter(world, data, begin, dtype));
    for (int64_t i = begin[world->rank]; i < begin[world->rank + 1]; i++)
        REQUIRE(get(data, dtype, i) == sum_at(i));
    for (int64_t i = 0; i < begin[0]; i++) /* outside every range: untouched */
        REQUIRE(get(data, dtype, i) == value_at(world->rank, i));
    free(data);
}

static void check_all_gather(enum dtype dtype)
{
    int64_t begin[65];
    uneven_ranges(begin);
    int64_t count = begin[world->size];
    char *data = calloc((size_t)count, 8);
    REQUIRE(data);
    for (int64_t i = begin[world->rank]; i < begin[world->rank + 1]; i++)
        put(data, dtype, i, value_at(3, i));
    REQUIRE_OK(world->all_gather(world, data, begin, dtype));
    for (int64_t i = begin[0]; i < count; i++) {
        double expected = value_at(3, i);
        REQUIRE(get(data, dtype, i) == (dtype == DTYPE_U8 ? (double)((int)expected & 255) : expected));
    }
    free(data);
}

static void check_broadcast(void)
{
    for (int root = 0; root < world->size; root++) {
        char text[5000];
        memset(text, world->rank == root ? 'a' + root : '-', sizeof text);
        REQUIRE_OK(world->broadcast(world, text, sizeof text, root));
        for (size_t i = 0; i < sizeof text; i++)
            REQUIRE(text[i] == 'a' + root);
    }
}

/* bf16 sums round at each hop: with the ranks' partial sums in any order, the error is within size - 1 half-ulps. */
static void check_bf16_rounding(void)
{
    enum { COUNT = 4099 };
    static bf16_t data[COUNT];
    for (int i = 0; i < COUNT; i++)
        data[i] = bf16_from_float(1 + (float)(i % 128) / 128 + (float)world->rank / 4);
    REQUIRE_OK(world->all_reduce(world, data, COUNT, DTYPE_BF16, REDUCE_SUM));
    for (int i = 0; i < COUNT; i++) {
        float exact = 0;
        for (int r = 0; r < world->size; r++)
            exact += bf16_to_float(bf16_from_float(1 + (float)(i % 128) / 128 + (float)r / 4));
        REQUIRE(fabsf(bf16_to_float(data[i]) - exact) <= exact * (float)(world->size - 1) / 256);
    }
    data[0] = world->rank == world->size - 1 ? bf16_from_float(NAN) : bf16_from_float(1);
    REQUIRE_OK(world->all_reduce(world, data, 1, DTYPE_BF16, REDUCE_SUM));
    REQUIRE(world->size == 1 || isnan(bf16_to_float(data[0])));
}

static void check_refusals(void)
{
    uint8_t bytes[4] = {0};
    if (world->size == 1 && strcmp(world->name, "self") == 0)
        return;
    REQUIRE(world->all_reduce(world, bytes, 4, DTYPE_U8, REDUCE_SUM) == VT_E_UNSUPPORTED);
    REQUIRE(world->all_reduce(world, bytes, 2, DTYPE_BF16, REDUCE_MAX) == VT_E_UNSUPPORTED);
    REQUIRE(world->all_reduce(world, bytes, 2, DTYPE_F16, REDUCE_SUM) == VT_E_UNSUPPORTED);
    REQUIRE(strstr(status_message(), "dtype"));
}

/* One failing rank after the other, then all, then none. */
static void check_agree(void)
{
    REQUIRE_OK(comm_agree(world, VT_OK));
    for (int culprit = 0; culprit < world->size; culprit++) {
        vt_status own = world->rank == culprit ? VT_FAIL(VT_E_IO, "disk %d is full", culprit) : VT_OK;
        vt_status agreed = comm_agree(world, own);
        char expected[128];
        snprintf(expected, sizeof expected, "disk %d is full", culprit);
        REQUIRE(strstr(status_message(), expected));
        REQUIRE(agreed == (world->rank == culprit ? VT_E_IO : VT_E_COMM));
        snprintf(expected, sizeof expected, "rank %d (host %s): disk", culprit, world->host);
        REQUIRE(world->rank == culprit || strstr(status_message(), expected));
    }
    vt_status own = VT_FAIL(VT_E_FORMAT, "mine: %d", world->rank);
    REQUIRE(comm_agree(world, own) == VT_E_FORMAT);
    char expected[32];
    snprintf(expected, sizeof expected, "mine: %d", world->rank);
    REQUIRE(strcmp(status_message(), expected) == 0);
    REQUIRE_OK(comm_agree(world, VT_OK));
}

int main(void)
{
    if (world_open(COMM_AUTO, &world) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    REQUIRE(strcmp(world->name, "mpi") == 0);
    REQUIRE(world->rank >= 0 && world->rank < world->size && world->size <= 64);
    REQUIRE(world->local_size == world->size && world->local_rank == world->rank);
    REQUIRE(world->cpus >= 1 && world->cpus <= cpus_usable());
    struct comm *twin = NULL;
    REQUIRE_OK(world->duplicate(world, &twin));
    for (size_t t = 0; t < sizeof summable / sizeof *summable; t++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            check_all_reduce(c % 2 ? twin : world, summable[t], counts[c]);
        check_reduce_scatter(summable[t]);
        check_all_gather(summable[t]);
    }
    check_all_gather(DTYPE_U8);
    check_broadcast();
    check_bf16_rounding();
    check_refusals();
    check_agree();
    REQUIRE_OK(world->barrier(world));
    twin->close(twin);
    world_close(&world);
    return 0;
}
