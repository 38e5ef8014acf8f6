#include "cli/bench_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "train/op_time.h"

static const char *const PART_NAMES[PART_COUNT] = {
    [PART_LINEAR] = "linears", [PART_ATTENTION] = "attention", [PART_NORM] = "norms",     [PART_INPUT] = "input",
    [PART_LOSS] = "head", [PART_OPTIMIZER] = "optimizer", [PART_OTHER] = "other"};

/* ---- an op under test ---- */

void bench_op_close(struct bench_op *op)
{
    for (int i = 0; i < op->buffers; i++)
        op->table->be->release(op->table->be, MEMORY_DEVICE, op->buffer[i]);
    op->buffers = 0;
    op_plan_close(&op->plan);
}

vt_status bench_op_random(struct bench_op *op, int64_t count, enum dtype dtype)
{
    VT_CHECK(op->buffers < BENCH_BUFFERS);
    vt_status status = bench_buffer(op->table->be, (size_t)count * dtype_bytes(dtype), dtype, &op->buffer[op->buffers]);
    op->buffers += op->buffer[op->buffers] != NULL;
    return status;
}

vt_status bench_op_zero(struct bench_op *op, size_t bytes)
{
    VT_CHECK(op->buffers < BENCH_BUFFERS);
    VT_TRY(op->table->be->alloc(op->table->be, MEMORY_DEVICE, bytes, "bench", &op->buffer[op->buffers]));
    op->buffers++;
    return VT_OK;
}

vt_status bench_op_constant(struct bench_op *op, int64_t count, float value)
{
    struct backend *be = op->table->be;
    VT_TRY(bench_op_zero(op, (size_t)count * sizeof(float)));
    float *values = malloc((size_t)count * sizeof *values);
    VT_CHECKF(values, "no memory for %lld values", (long long)count);
    for (int64_t i = 0; i < count; i++)
        values[i] = value;
    be->upload(be, STREAM_COMPUTE, op->buffer[op->buffers - 1], values, (size_t)count * sizeof *values);
    vt_status status = be->synchronise(be);
    free(values);
    return status;
}

struct timed_op {
    struct bench_op *op;
    void (*enqueue)(struct bench_op *op);
};

static void run_timed(void *context)
{
    const struct timed_op *timed = context;
    timed->enqueue(timed->op);
}

vt_status bench_op_row(struct bench_op *op, void (*enqueue)(struct bench_op *op), struct bench_row row)
{
    struct bench_table *t = op->table;
    struct timed_op timed = {op, enqueue};
    VT_CHECK(t->count < BENCH_ROWS);
    VT_TRY(t->be->reserve_workspace(t->be));
    VT_TRY(op_time(t->be, run_timed, &timed, t->repetitions, &row.seconds));
    t->rows[t->count++] = row;
    return VT_OK;
}

/* ---- rates ---- */

static void run_copy(void *context)
{
    const struct bench_op *op = context;
    struct backend *be = op->table->be;
    size_t bytes = *(const size_t *)op->desc;
    if (be->copy)
        be->copy(be, STREAM_COMPUTE, op->buffer[1], op->buffer[0], bytes);
    else
        be->nn.cast(be, op->buffer[0], DTYPE_F32, op->buffer[1], DTYPE_F32, (int64_t)(bytes / sizeof(float)));
}

/* Beyond any cache. */
static vt_status measure_copy(struct bench_table *t)
{
    const size_t bytes = t->be->memory_bytes ? (size_t)1 << 30 : (size_t)64 << 20;
    struct bench_op op = {.table = t, .desc = &bytes};
    vt_status status;
    double seconds;
    VT_TRY_OUT(bench_op_random(&op, (int64_t)(bytes / sizeof(float)), DTYPE_F32));
    VT_TRY_OUT(bench_op_zero(&op, bytes));
    VT_TRY_OUT(op_time(t->be, run_copy, &op, t->repetitions, &seconds));
    t->copy_rate = 2 * (double)bytes / seconds;
out:
    bench_op_close(&op);
    return status;
}

vt_status bench_rates(struct bench_table *t)
{
    VT_TRY(measure_copy(t));
    return gemm_peak_measure(t->be, t->dtype, t->repetitions, &t->peak);
}

/* ---- sums ---- */

static double floor_seconds(const struct bench_table *t, const struct bench_row *row)
{
    return fmax(row->flops / t->peak.flops_per_s, row->bytes / t->copy_rate);
}

/* A part of the step: what its rows take together. */
static struct bench_row sum_part(const struct bench_table *t, enum bench_part part, double *floor)
{
    struct bench_row sum = {.part = part};
    *floor = 0;
    for (int i = 0; i < t->count; i++) {
        const struct bench_row *row = &t->rows[i];
        if (row->part != part)
            continue;
        sum.seconds += row->seconds * row->per_step;
        sum.flops += row->flops * row->per_step;
        sum.bytes += row->bytes * row->per_step;
        *floor += floor_seconds(t, row) * row->per_step;
    }
    return sum;
}

/* ---- text ---- */

/* One of the two: what the row is bound by. */
static void rate_text(const struct bench_row *row, char *text, size_t bytes)
{
    if (row->flops > 0)
        snprintf(text, bytes, "%9.3f TFLOP/s", row->flops / row->seconds * 1e-12);
    else
        snprintf(text, bytes, "%9.1f GB/s   ", row->bytes / row->seconds * 1e-9);
}

static void print_parts(const struct bench_table *t)
{
    double total = 0, total_floor = 0;
    char rate[40];
    printf("\n%-18s %12s %20s %12s\n", "part of a step", "us/image", "rate", "% of floor");
    for (int part = 0; part < PART_OTHER; part++) {
        double floor;
        struct bench_row sum = sum_part(t, (enum bench_part)part, &floor);
        if (sum.seconds <= 0)
            continue;
        rate_text(&sum, rate, sizeof rate);
        printf("%-18s %12.3f %20s %12.1f\n", PART_NAMES[part], sum.seconds / t->images * 1e6, rate, 100 * floor / sum.seconds);
        total += sum.seconds;
        total_floor += floor;
    }
    printf("%-18s %12.3f %20s %12.1f   (%.1f images/s without gaps)\n", "together", total / t->images * 1e6, "",
           100 * total_floor / total, t->images / total);
}

void bench_table_print(const struct bench_table *t)
{
    char rate[40];
    printf("%s, %s, %d images of %d tokens\n", t->be->device_name, dtype_name(t->dtype), t->images, vit_tokens(t->model));
    printf("copy rate  %10.1f GB/s, read and written\ngemm_peak  %10.3f TFLOP/s, a %d^3 product\n", t->copy_rate * 1e-9,
           t->peak.flops_per_s * 1e-12, t->peak.side);
    printf("own gemms  %10.3f TFLOP/s, the 12 products of a block by FLOPs; the fastest %.3f\n\n", t->gemm.mean * 1e-12,
           t->gemm.best * 1e-12);
    printf("%-16s %-16s %-16s %12s %12s %20s %11s %6s\n", "op", "pass", "shape", "us", "us/image", "rate", "% of floor", "x");
    for (int i = 0; i < t->count; i++) {
        const struct bench_row *row = &t->rows[i];
        rate_text(row, rate, sizeof rate);
        printf("%-16s %-16s %-16s %12.1f %12.4f %20s %11.1f %6.4g\n", row->op, row->pass, row->shape, row->seconds * 1e6,
               row->seconds / t->images * 1e6, rate, 100 * floor_seconds(t, row) / row->seconds, row->per_step);
    }
    print_parts(t);
}

/* ---- JSON ---- */

static struct json *row_json(const struct bench_table *t, const struct bench_row *row)
{
    struct json *object = json_new_object();
    json_set_string(object, "op", row->op);
    json_set_string(object, "pass", row->pass);
    json_set_string(object, "shape", row->shape);
    json_set_string(object, "part", PART_NAMES[row->part]);
    json_set_double(object, "us", row->seconds * 1e6);
    json_set_double(object, "us_per_image", row->seconds / t->images * 1e6);
    json_set_double(object, "gflops", row->flops / row->seconds * 1e-9);
    json_set_double(object, "gb_per_s", row->bytes / row->seconds * 1e-9);
    json_set_double(object, "share_of_floor", floor_seconds(t, row) / row->seconds);
    json_set_double(object, "per_step", row->per_step);
    return object;
}

static struct json *parts_json(const struct bench_table *t)
{
    struct json *parts = json_new_object();
    for (int part = 0; part < PART_OTHER; part++) {
        double floor;
        struct bench_row sum = sum_part(t, (enum bench_part)part, &floor);
        if (sum.seconds > 0)
            json_set_double(parts, PART_NAMES[part], sum.seconds / t->images * 1e6);
    }
    return parts;
}

struct json *bench_table_json(const struct bench_table *t)
{
    struct json *all = json_new_object(), *rows = json_new_array();
    json_set_string(all, "device", t->be->device_name);
    json_set_string(all, "dtype", dtype_name(t->dtype));
    json_set_int(all, "images", t->images);
    json_set_double(all, "copy_gb_per_s", t->copy_rate * 1e-9);
    json_set_double(all, "gemm_peak_gflops", t->peak.flops_per_s * 1e-9);
    json_set_int(all, "gemm_peak_side", t->peak.side);
    json_set_double(all, "own_gemm_gflops", t->gemm.mean * 1e-9);
    json_set_double(all, "own_gemm_best_gflops", t->gemm.best * 1e-9);
    for (int i = 0; i < t->count; i++)
        json_add(rows, row_json(t, &t->rows[i]));
    json_set(all, "ops", rows);
    json_set(all, "us_per_image", parts_json(t));
    return all;
}
