/* The parameter table: every fact about a model's parameters, said once. It drives sizes, initialisation, optimizer
 * groups, gradient buckets, checkpoints and export. Values live in flat fp32 buffers of `table.total` elements (master
 * weights, gradients, each optimizer state); a row is the range [offset, offset + count). Rows are in order of use in the
 * forward pass, so gradients become final from the end of the buffer to its start. Row offsets are multiples of
 * PARAM_ALIGN elements; the gaps are zero in every buffer and stay zero. */
#ifndef VT_TENSOR_PARAMS_H
#define VT_TENSOR_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { PARAM_ALIGN = 64, PARAM_NAME_BYTES = 64, PARAM_MAX_RANK = 4 };

enum param_init {
    INIT_ZERO,
    INIT_ONE,
    INIT_CONSTANT,     /* init_value */
    INIT_NORMAL,       /* N(0, init_value^2) */
    INIT_TRUNC_NORMAL, /* N(0, init_value^2) cut to [-2, 2] absolute, as timm's trunc_normal_ */
    INIT_LECUN_NORMAL, /* truncated at 2 sigma with variance 1/fan_in, corrected by 0.87962566 (flax lecun_normal) */
    INIT_XAVIER_UNIFORM /* U(-a, a), a = sqrt(6 / (fan_in + fan_out)) */
};

struct param {
    char name[PARAM_NAME_BYTES]; /* timm name: "blocks.0.attn.qkv.weight" */
    int rank;
    int64_t dim[PARAM_MAX_RANK]; /* row-major; linear weights are [out, in]; patch_embed.proj.weight [D, C, P, P] */
    int64_t count, offset;       /* elements */
    enum param_init init;
    float init_value;
    int64_t fan_in, fan_out;
    bool decay;                  /* weight decay applies */
    bool matrix;                 /* operand of a matrix product: has a compute copy in the compute dtype */
    int layer;                   /* 0 = embedding, 1..L = blocks, L+1 = final norm and head (layer-wise rates) */
};

struct param_table {
    struct param *rows; /* owned */
    int count, capacity;
    int64_t total;      /* elements of a flat buffer, gaps included; multiple of PARAM_ALIGN */
    int64_t parameters; /* elements without the gaps */
};

/* Append a row; count and offset are filled in. Returns its index. */
int param_table_add(struct param_table *table, const struct param *row);
/* Index by name, or -1. */
int param_table_find(const struct param_table *table, const char *name);
void param_table_close(struct param_table *table);

/* Fill elements [begin, end) of a host flat buffer (`values` is its element 0) by each row's init; every value is a
 * function of (seed, DRAW_INIT, row, element): the same on every rank, and in any range. Gaps become 0. */
void param_table_initialise_range(const struct param_table *table, uint64_t seed, int64_t begin, int64_t end,
                                  float *values);
/* All table->total of them, by the caller and `threads` - 1 helpers (>= 1; fewer when the system gives no more). */
void param_table_initialise(const struct param_table *table, uint64_t seed, int threads, float *values);

#endif
