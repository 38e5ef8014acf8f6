/* Exact evaluation: every sample of a split once, at any world size; padding rows have weight 0 and the number of samples
 * seen is asserted. An evaluator owns a forward-only replica and its input slots. */
#ifndef VT_TRAIN_EVALUATE_H
#define VT_TRAIN_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/comm.h"
#include "comm/watchdog.h"
#include "input/augment.h"
#include "model/vit.h"
#include "train/batch.h"
#include "train/resolve.h"

struct evaluator {
    struct backend *be; /* borrowed */
    struct vit *vit;
    struct batch_ring ring;
    struct vit_config model;
    float *logits;                /* host [B,K] */
    struct step_scalars *scalars; /* device */
};

struct evaluator_desc {
    struct vit_config model;
    const struct param_table *params; /* borrowed */
    int rows, labels;                 /* microbatch B, most labels of a sample S */
    enum dtype dtype, dtype_stream;
    enum loss_kind loss;              /* reported without label smoothing */
};

/* Plans first (evaluator_open), memory after every plan of the process exists (evaluator_allocate). Per rank. */
VT_MUST_CHECK vt_status evaluator_open(struct evaluator *evaluator, struct backend *be, const struct evaluator_desc *desc);
VT_MUST_CHECK vt_status evaluator_allocate(struct evaluator *evaluator);
void evaluator_close(struct evaluator *evaluator);

struct evaluation {
    int64_t seen;
    double loss, top1, top5;      /* fractions */
    int classes;
    int64_t *class_count, *class_correct; /* [classes], top-1; owned: evaluation_close */
    bool stopped;                 /* cut off by a stop request: nothing else here says anything */
};
void evaluation_close(struct evaluation *evaluation);

/* The class of the largest logit, the lower one on a tie. */
int evaluate_best_class(const float *logits, int classes);

/* One row's result, in no particular order over rows of different microbatches. label -1 = unlabelled. */
typedef void (*evaluation_row)(void *context, int64_t sample, int32_t label, const float *logits, int classes);

struct evaluate_desc {
    const struct data_source *source;
    const struct augment_desc *transform;
    int batch;   /* global batch of the evaluation */
    int threads; /* loader threads */
    uint64_t seed;
    struct watchdog *watchdog; /* kicked after every microbatch; may be NULL */
    bool may_stop;             /* a stop request (train/signals.h) cuts the evaluation off, within about a second */
    const char *stop_file;     /* with may_stop; "" = none */
    evaluation_row on_row; /* may be NULL; called for this rank's rows */
    void *context;
};
/* Collective. The result is the same on every rank. */
VT_MUST_CHECK vt_status evaluate_run(struct evaluator *evaluator, struct comm *comm, const struct vit_weights *weights,
                                     const struct evaluate_desc *desc, struct evaluation *out);

#endif
