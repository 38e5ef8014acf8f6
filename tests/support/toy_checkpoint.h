/* A toy model and its checkpoint: every value is a function of the step, so that a mixture of two saves shows. */
#ifndef VT_TOY_CHECKPOINT_H
#define VT_TOY_CHECKPOINT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"

struct toy {
    struct param_table table;
    float *model, *m, *v, *ema;
    struct checkpoint_file files[4];
};

static inline void toy_row(struct param_table *table, const char *name, int64_t rows, int64_t columns)
{
    struct param row = {.rank = columns ? 2 : 1, .dim = {rows, columns}};
    snprintf(row.name, sizeof row.name, "%s", name);
    param_table_add(table, &row);
}

/* About 4 * `width`^2 bytes a file. Odd sizes, so that the gaps behind rows are not empty. */
static inline void toy_open(struct toy *toy, int64_t width)
{
    *toy = (struct toy){0};
    toy_row(&toy->table, "cls_token", 1, 7);
    toy_row(&toy->table, "blocks.0.attn.qkv.weight", width, width + 1);
    toy_row(&toy->table, "blocks.0.attn.qkv.bias", width, 0);
    toy_row(&toy->table, "head.weight", 10, width);
    toy_row(&toy->table, "head.bias", 10, 0);
    float **buffers[] = {&toy->model, &toy->ema, &toy->m, &toy->v};
    static const char *const names[] = {"model.safetensors", "ema.safetensors", "optimizer.safetensors",
                                        "optimizer.safetensors"};
    static const char *const prefixes[] = {"", "", "m.", "v."};
    for (int i = 0; i < 4; i++) {
        *buffers[i] = calloc((size_t)toy->table.total, sizeof(float));
        toy->files[i] = (struct checkpoint_file){names[i], prefixes[i], &toy->table, *buffers[i]};
    }
}

static inline void toy_close(struct toy *toy)
{
    for (int i = 0; i < 4; i++)
        free(toy->files[i].values);
    param_table_close(&toy->table);
}

static inline float toy_value(int file, int64_t i, int64_t step)
{
    return (float)(file + 1) * 1000 + (float)(i % 101) + (float)step * 1e4f;
}

static inline void toy_fill(struct toy *toy, int64_t step)
{
    for (int f = 0; f < 4; f++)
        for (int row = 0; row < toy->table.count; row++)
            for (int64_t i = 0; i < toy->table.rows[row].count; i++)
                toy->files[f].values[toy->table.rows[row].offset + i] = toy_value(f, i + row, step);
}

/* All values of all files are those of this step, and the gaps are zero. */
static inline bool toy_holds(const struct toy *toy, int64_t step)
{
    for (int f = 0; f < 4; f++) {
        const float *values = toy->files[f].values;
        for (int row = 0; row < toy->table.count; row++) {
            const struct param *p = &toy->table.rows[row];
            int64_t end = row + 1 < toy->table.count ? p[1].offset : toy->table.total;
            for (int64_t i = p->offset; i < end; i++)
                if (values[i] != (i < p->offset + p->count ? toy_value(f, i - p->offset + row, step) : 0))
                    return false;
        }
    }
    return true;
}

static inline void toy_spoil(struct toy *toy)
{
    for (int f = 0; f < 4; f++)
        memset(toy->files[f].values, 0x7b, (size_t)toy->table.total * sizeof(float));
}

static char *toy_classes[] = {"tench", "goldfish", "great white shark"};

static inline struct checkpoint_state toy_state(int64_t step)
{
    return (struct checkpoint_state){
        .step = step, .position = (uint64_t)step * 256, .update = step - 1, .seed = 1ull << 63 | 5, .data_seed = 7,
        .batch = 256, .attempt = 1, .world_size = 3, .config_yaml = "model:\n  name: vit\n",
        .model_config_json = "{\"architecture\": \"vit_tiny\"}\n", .dataset_fingerprint = 0xfedcba9876543210ull,
        .dataset_uri = "toy#train", .class_names = toy_classes, .class_count = 3, .eval_transform = "resize(8)",
        .mean = {0.5f, 0.25f, 0.125f}, .std = {1, 2, 3}, .channels = 3, .image_size = 8, .tuning = (uint8_t *)"\0gemm\0", .tuning_bytes = 6,
        .best_metric = NAN, .best_step = -1, .skipped_steps = 1, .nonfinite_streak = 1, .evaluation_owed = true,
        .version = "vitrail test"};
}

/* Save step `step` of the toy. */
static inline vt_status toy_save(struct toy *toy, const char *dir, int keep, int attempt, struct comm *comm,
                                 int64_t step, bool is_best)
{
    struct checkpoint_store_desc store = {.dir = dir, .keep = keep, .attempt = attempt};
    struct checkpoint_state state = toy_state(step);
    state.attempt = attempt;
    toy_fill(toy, step);
    return checkpoint_save(&store, comm, &state, toy->files, 4, is_best);
}

#endif
