/* The run folder: RUN/config.yaml, env.json, log.txt, metrics, checkpoints/. Rank 0 decides and writes; all ranks agree. */
#ifndef VT_TRAIN_RUN_FOLDER_H
#define VT_TRAIN_RUN_FOLDER_H

#include <stdbool.h>

#include "base/status.h"
#include "comm/comm.h"
#include "config/run_config.h"

struct run_folder {
    char dir[CONFIG_PATH_BYTES]; /* "" = none */
    char checkpoints[CONFIG_PATH_BYTES + 16];
    int attempt;  /* from 1 */
    bool existed; /* a run was there before */
    int lock_fd;  /* rank 0 holds an flock on RUN/lock while the run lives */
};

/* Collective. Make or take over config->run.dir by run.if_exists (`new` picks the next free DIR-2, DIR-3 ... and stores it in
 * the config; a requeued Slurm job goes on with the folder it began, by env.json, whatever if_exists says); refuse a folder another live job holds. Opens RUN/log.txt on rank 0. */
VT_MUST_CHECK vt_status run_folder_open(struct run_config *config, struct comm *comm, struct run_folder *folder);
void run_folder_close(struct run_folder *folder);
/* Rank 0 writes RUN/config.yaml (resolved) and env.json (+ env.attempt-N.json): hosts, device, versions. Collective. */
VT_MUST_CHECK vt_status run_folder_describe(const struct run_folder *folder, const struct run_config *config,
                                            struct comm *comm, const char *backend, const char *device,
                                            double train_flops_per_image);

#endif
