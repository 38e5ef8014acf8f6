/* From a run_config to what the rooms take: the dataset opened, every "auto" decided. Per rank and deterministic: every rank
 * resolves the same values from the same files; only data.order: auto looks at the host (its memory). */
#ifndef VT_TRAIN_RESOLVE_H
#define VT_TRAIN_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "config/run_config.h"
#include "dataset/dataset.h"
#include "dataset/order.h"
#include "input/augment.h"
#include "model/vit_config.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

/* One side of the data: a split of a dataset, or noise. */
struct data_source {
    struct dataset *dataset;     /* owned; NULL = synthetic */
    struct dataset_split *split; /* of the dataset */
    int64_t samples;             /* an epoch */
    int classes;
    uint64_t fingerprint;
};

/* Loader threads of a rank with so many CPUs, unless data.threads says otherwise. `device`: they feed one, which leaves them all its
 * rank's CPUs; on the CPU they take time from the ops. */
static inline int loader_threads(int cpus, bool device)
{
    const int most = device ? 32 : 8;
    return cpus < most ? cpus : most;
}

struct resolved {
    struct data_source train, val; /* val.samples 0 = no evaluation */
    struct vit_config model;
    struct augment_desc transform, eval_transform;
    struct order order;
    uint64_t data_seed;
    int labels; /* most labels of any sample, train or val: S */
    int64_t total_steps;
    struct schedule schedule;
};

VT_MUST_CHECK vt_status resolve_run(const struct run_config *config, struct resolved *out);
void resolved_close(struct resolved *resolved);

/* Open "DIR#split" or "synthetic" (samples and classes as the config says). */
VT_MUST_CHECK vt_status data_source_open(const char *uri, const char *default_split, int64_t synthetic_samples,
                                         int synthetic_classes, struct data_source *out);
void data_source_close(struct data_source *source);
/* The most labels any sample has; at least 1. Reads the index only. */
int data_source_labels(const struct data_source *source);

/* The model a checkpoint holds, from its config and its number of classes (0 = trained on noise). Pixel statistics are the
 * config's or 0.5: the checkpoint's own replace them. */
VT_MUST_CHECK vt_status resolve_checkpoint_model(const struct run_config *config, int classes, struct vit_config *model);

/* The optimizer's desc over the whole table; its rules live in `rules` (CONFIG_RULES_MAX + 1). */
void resolve_optimizer(const struct run_config *config, const struct param_table *table, struct optimizer_rule *rules,
                       struct optimizer_desc *desc);

#endif
