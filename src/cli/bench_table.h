/* The rows of `vitrail bench ops`: every op of a ViT's training step, timed alone, beside its floor: the time its FLOPs take
 * at the rate of a large product, or its bytes (each input read once, each output written once) at the rate of a copy,
 * whichever is longer. */
#ifndef VT_CLI_BENCH_TABLE_H
#define VT_CLI_BENCH_TABLE_H

#include "backend/backend.h"
#include "base/json.h"
#include "model/vit_config.h"
#include "train/gemm_rate.h"

enum bench_part { PART_LINEAR, PART_ATTENTION, PART_NORM, PART_INPUT, PART_LOSS, PART_OPTIMIZER, PART_OTHER, PART_COUNT };

enum { BENCH_ROWS = 64, BENCH_BUFFERS = 16 };

struct bench_row {
    char op[24], pass[24], shape[48];
    enum bench_part part;
    double seconds, flops, bytes;
    double per_step; /* how often a step of one microbatch runs it, on all tokens; 0 = not as configured, or it stands in another
                      * row. Not counted is what a class-only last block (vit_class_only) does with its class tokens */
};

struct bench_table {
    struct backend *be;             /* borrowed, and the model */
    const struct vit_config *model;
    int images, labels, repetitions;
    enum dtype dtype, dtype_stream;
    bool sigmoid, ema;
    bool qkv_sum, fc1_sum;          /* their bias gradients come with attention's backward, fc2's input gradient */
    struct gemm_peak peak;          /* measured in this run, as what follows */
    struct gemm_rate gemm;
    double copy_rate;               /* bytes read and written per second */
    struct bench_row rows[BENCH_ROWS];
    int count;
};

/* One op under test: its plan and buffers. Closed by bench_op_close, half-built too. */
struct bench_op {
    struct bench_table *table;
    struct op_plan *plan;
    void *buffer[BENCH_BUFFERS];
    int buffers;
    const void *desc; /* for the enqueue function; borrowed */
};
void bench_op_close(struct bench_op *op);
/* Buffer number op->buffers of `count` random elements; of zeros; of `count` floats `value`. */
VT_MUST_CHECK vt_status bench_op_random(struct bench_op *op, int64_t count, enum dtype dtype);
VT_MUST_CHECK vt_status bench_op_zero(struct bench_op *op, size_t bytes);
VT_MUST_CHECK vt_status bench_op_constant(struct bench_op *op, int64_t count, float value);
/* Time `enqueue` on the op and complete and add the row: op, pass, part, flops, bytes, per_step are given. */
VT_MUST_CHECK vt_status bench_op_row(struct bench_op *op, void (*enqueue)(struct bench_op *op), struct bench_row row);

/* The rates the rows are measured against. */
VT_MUST_CHECK vt_status bench_rates(struct bench_table *table);
/* The rows: products (and attention); passes over activations; over the parameters' flat buffers. */
VT_MUST_CHECK vt_status bench_products(struct bench_table *table);
VT_MUST_CHECK vt_status bench_passes(struct bench_table *table);
VT_MUST_CHECK vt_status bench_flat(struct bench_table *table);

void bench_table_print(const struct bench_table *table);
struct json *bench_table_json(const struct bench_table *table);

static inline int64_t bench_tokens(const struct bench_table *t) { return (int64_t)t->images * vit_tokens(t->model); }
/* Blocks that take all tokens from query to MLP. */
static inline int bench_whole_blocks(const struct bench_table *t)
{
    return t->model->depth - vit_class_only(t->model, t->model->depth - 1);
}

#endif
