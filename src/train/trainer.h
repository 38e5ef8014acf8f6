/* A training run put together from a run_config: backend, data, replica, optimizer, buckets and the run folder. cli builds
 * one per verb (train, bench step), runs it and closes it. */
#ifndef VT_TRAIN_TRAINER_H
#define VT_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/bucket.h"
#include "comm/comm.h"
#include "comm/watchdog.h"
#include "config/run_config.h"
#include "optim/optimizer.h"
#include "train/batch.h"
#include "train/device.h"
#include "train/evaluate.h"
#include "train/graphs.h"
#include "train/memory_plan.h"
#include "train/resolve.h"
#include "train/run_folder.h"
#include "train/step_clock.h"
#include "train/weights.h"

/* Time of one step by stage, ms: the host's, and once the step is done the device's where that has a clock (step_clock.h). read,
 * decode, augment are summed over loader threads. */
struct step_times {
    double step, data_wait, read, decode, augment, copy, forward, backward, comm_exposed, optimizer, busy;
};

/* What is known of a finished step; global values, the same on every rank. */
struct step_result {
    int64_t step; /* number of the step, from 1 */
    double loss_sum, weight_sum;
    double lr;
    float grad_norm;
    uint32_t nonfinite, skipped;
    bool stop;    /* some rank was asked to stop */
    int cut_at;   /* with stop, in a long step: given up after so many microbatches, nothing of it is kept; 0 = done */
    struct step_times times;
    struct bucket_stats buckets;
};

struct progress; /* telemetry/progress.h */

struct trainer {
    struct run_config config;
    struct resolved data;
    struct comm *comm; /* borrowed */
    struct device device;
    struct backend *be;        /* device.be */
    struct comm *device_comm;  /* sums of gradients in device memory; NULL = through the host */
    enum dtype dtype, dtype_stream;
    int micro_rows, micro_count, threads_loader;

    struct param_table table;
    struct vit *vit;
    struct weights weights;
    struct optimizer *optimizer;
    struct optimizer_rule rules[CONFIG_RULES_MAX + 1];
    struct bucket_set *buckets;
    struct graphs *graphs;
    struct step_clock *clock;
    struct batch_ring ring;
    struct loader *loader;
    struct evaluator evaluator;
    bool has_evaluator;
    struct memory_plan memory;
    double gemm_flops_per_s;           /* the best of this rank's matrix products, alone; 0 = not measured */

    struct step_scalars *scalars;      /* device */
    struct step_scalars *host_scalars; /* pinned, [2]: read one step late */
    struct event *scalars_ready[2];
    struct step_result pending;        /* enqueued, its scalars not read yet; step 0 = none */

    struct run_folder folder;          /* dir "" = none (benches) */
    struct watchdog *watchdog;
    int64_t step;                      /* completed steps */
    uint64_t position;                 /* next stream position */
    int64_t skipped;                   /* steps of the run skipped so far, by any attempt */
    double best_metric;                /* val/top1; NaN = none */
    int64_t best_step;
    int nonfinite_streak;              /* skipped steps in a row, also across attempts */
    bool evaluation_owed;              /* the one due after `step` has not been done: asked to stop */
    int64_t saved_step;                /* of the newest checkpoint; -1 = none */
    double micro_ms;                   /* mean time of a microbatch in the last step, the same on all ranks; 0 = none yet */
    struct progress *progress;         /* borrowed from the loop; rank 0, else NULL */
    char stop_file[CONFIG_PATH_BYTES + 16]; /* "" = none, and on all ranks but 0 */
    bool failed_together;              /* trainer_run failed on every rank for the same reason: no need to abort the others */
};

struct trainer_desc {
    const struct run_config *config;
    bool run_folder; /* false: nothing is written (bench) */
    bool quiet;      /* no plan printed */
};

/* Collective. Decides, plans, prints and allocates everything; restores the newest checkpoint of the run folder. */
VT_MUST_CHECK vt_status trainer_open(const struct trainer_desc *desc, struct comm *comm, struct trainer **out);
void trainer_close(struct trainer **trainer);
/* Collective: to the end of the run. VT_E_STOP after a stop request, once committed. */
VT_MUST_CHECK vt_status trainer_run(struct trainer *trainer);

/* choices.c, for compute.graphs: open, after the buckets, with what the table of choices says (per rank); and after the step
 * in which it was measured: rank 0's share of the host (graphs_end_step) decides for all and for a resume (collective). */
VT_MUST_CHECK vt_status trainer_open_graphs(struct trainer *trainer);
VT_MUST_CHECK vt_status trainer_decide_graphs(struct trainer *trainer, double share);
/* comm.spare_sms, once device_comm is open and before the first plan. Per rank, the same on all. */
void trainer_spare_multiprocessors(struct trainer *trainer);
/* The table of choices. Load: from the run folder (RUN/tuning.pb, else the newest checkpoint). Share: rank 0's for all, and into the
 * run folder. Collective; nothing to do without a plugin. */
VT_MUST_CHECK vt_status trainer_load_tuning(struct trainer *trainer);
VT_MUST_CHECK vt_status trainer_share_tuning(struct trainer *trainer);

/* step.c: one optimizer step. *done gets the result of the previous step (done->step 0: none yet). Logically collective. */
VT_MUST_CHECK vt_status step_run(struct trainer *trainer, struct step_result *done);
/* The last step's result, waiting for it. Collective. */
VT_MUST_CHECK vt_status step_drain(struct trainer *trainer, struct step_result *done);
/* Start the loader at the trainer's position. Per rank. */
VT_MUST_CHECK vt_status step_start_input(struct trainer *trainer);

/* restore.c: checkpoints of the run. Collective. */
VT_MUST_CHECK vt_status trainer_restore(struct trainer *trainer);
VT_MUST_CHECK vt_status trainer_save(struct trainer *trainer, bool is_best);
/* Evaluate the weights (the EMA when eval.ema); may_stop: out->stopped when a stop request cut it off. Collective. */
VT_MUST_CHECK vt_status trainer_evaluate(struct trainer *trainer, bool may_stop, struct evaluation *out);

#endif
