/* The optimizer of one shard: global norm, clip, update, EMA over a range of the flat buffers. The range is the whole
 * buffer for now; state buffers cover the range only, so that sharding changes sizes, not code. Device memory is the
 * backend's; nothing is allocated after optimizer_open. Per rank. */
#ifndef VT_OPTIM_OPTIMIZER_H
#define VT_OPTIM_OPTIMIZER_H

#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "tensor/params.h"

enum optimizer_kind { OPTIMIZER_ADAMW, OPTIMIZER_SGD };

struct optimizer_rule { /* pattern (fnmatch on the parameter name) -> multiplier; the last match wins */
    const char *pattern;
    float value;
};

struct optimizer_desc {
    enum optimizer_kind kind;
    float beta1, beta2, eps, momentum;
    bool nesterov;
    float weight_decay;                        /* on rows whose table entry says decay */
    const struct optimizer_rule *decay_rules;  /* multiply weight_decay (0 = none); override the table's mark */
    int decay_rule_count;
    const struct optimizer_rule *lr_rules;     /* multiply lr; 0 = frozen */
    int lr_rule_count;
    float clip;                                /* global norm; 0 = none */
    float ema_decay;                           /* 0 = no EMA */
    const struct param_table *table;           /* borrowed */
    int64_t begin, end;                        /* the shard's range of the flat buffer */
};

struct optimizer_buffers { /* device pointers, element 0 of the flat buffers; m, v, ema address element 0 too */
    float *params, *grads;
    bf16_t *compute; /* NULL when T is fp32 */
    float *m, *v;    /* v NULL for SGD */
    float *ema;      /* NULL without EMA */
};

struct optimizer;
/* State bytes per element of the shard, for the memory plan. */
int optimizer_state_count(const struct optimizer_desc *desc); /* flat fp32 buffers: AdamW 2, SGD 1, + 1 for EMA */
/* VT_E_USAGE when a rule's pattern matches no parameter or a value is out of its range. The desc's strings and rules
 * are not kept; the table is. */
VT_MUST_CHECK vt_status optimizer_open(const struct optimizer_desc *desc, struct backend *be, struct optimizer **out);
void optimizer_close(struct optimizer **optimizer);
/* The runs of equal multipliers that tile [begin, end), in order; the gap behind a row belongs to the row's run (all
 * its values are zero and stay zero under every update). Borrowed. */
int optimizer_segments(const struct optimizer *optimizer, const struct optim_segment **segments);
/* Norm -> clip factor -> update, all enqueued; skipped on the device when non-finite. `step` counts from 1, skipped steps
 * too, and so does the schedule that `lr` comes from; Adam's bias correction counts the steps taken, step -
 * scalars->skipped, which is why the `skipped` of a run must be put back when the run is resumed. The norm
 * covers the whole flat gradient buffer, so grads must hold the full sums even when the shard is a part. Frozen rows
 * (lr multiplier 0) get their gradients zeroed first: they count neither in the norm nor in the state. */
void optimizer_step(struct optimizer *optimizer, const struct optimizer_buffers *buffers, double lr, int64_t step,
                    struct step_scalars *scalars);

#endif
