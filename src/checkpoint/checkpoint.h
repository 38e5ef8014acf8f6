/* Checkpoints: named fp32 tensors in safetensors files plus one protobuf of state, committed in two phases (design:
 * checkpoint and run-folder contract). File layout is a function of the parameter table alone: ranks write disjoint
 * ranges of the files with pwrite; world size never shows. All functions marked collective must be called by every
 * rank. */
#ifndef VT_CHECKPOINT_CHECKPOINT_H
#define VT_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "comm/comm.h"
#include "tensor/params.h"

/* One file of a checkpoint: a flat host buffer seen through the table. */
struct checkpoint_file {
    const char *name;      /* "model.safetensors", "ema.safetensors", "optimizer.safetensors" */
    const char *prefix;    /* in front of tensor names: "" or "m." ... */
    const struct param_table *table;
    float *values;         /* host flat buffer (save: read; load: written). Every rank has the whole */
};

/* Small state. Strings are copied on save (NULL is ""); on load they are owned by the state (checkpoint_state_close),
 * never NULL except `tuning`. */
struct checkpoint_state {
    int64_t step;            /* completed steps */
    uint64_t position;       /* next stream position */
    int64_t update;          /* optimizer updates done: step less skipped_steps */
    uint64_t seed, data_seed;
    int64_t batch;
    int attempt;
    int world_size;          /* informational */
    char *config_yaml;       /* resolved run config */
    char *model_config_json; /* becomes config.json beside model.safetensors (timm style), and stands in the
                                metadata of the files without a prefix; the same on every rank */
    uint64_t dataset_fingerprint;
    char *dataset_uri;
    char **class_names;
    int class_count;
    char *eval_transform;
    float mean[4], std[4];
    int channels, image_size;
    uint8_t *tuning;         /* choices made by timing, as in RUN/tuning.pb; may be NULL */
    size_t tuning_bytes;
    double best_metric;      /* NaN = none yet */
    int64_t best_step;
    int64_t skipped_steps;   /* as non-finite, since the run began */
    int nonfinite_streak;    /* the last so many steps were skipped */
    bool evaluation_owed;    /* due after this step, but not done */
    char *version;           /* writer's --version line */
};
void checkpoint_state_close(struct checkpoint_state *state);

struct checkpoint_store_desc {
    const char *dir;   /* RUN/checkpoints */
    int keep; /* newest kept (at least 1), and `best` wherever it is; the newest verified one is never deleted */
    int attempt;
};

/* Files of one checkpoint may share a name: those with equal names become one safetensors file ("m." and "v." tensors).
 * Collective. Writes step-N.attempt-A.tmp/, CRC32C per MiB, fsync, read back and verify, rename, fsync; then links
 * `latest` (and `best` when is_best), then deletes old ones beyond keep. On failure (disk full ...) the temporary
 * folder is removed, earlier checkpoints are intact, and every rank gets the same verdict. */
VT_MUST_CHECK vt_status checkpoint_save(const struct checkpoint_store_desc *store, struct comm *comm,
                                        const struct checkpoint_state *state, const struct checkpoint_file *files,
                                        int file_count, bool is_best);

/* Say that this attempt owns the store: from now on saves of earlier attempts (a process that was cut off and lives on)
 * are refused. Saving does the same. Makes the folder. Collective; VT_E_USAGE when a later attempt owns it. */
VT_MUST_CHECK vt_status checkpoint_claim(const struct checkpoint_store_desc *store, struct comm *comm);

/* Per rank: resolve a path given by the user: a checkpoint folder, a run folder (its latest, or `best` when
 * prefer_best), a checkpoints folder. Writes the checkpoint folder's path. */
VT_MUST_CHECK vt_status checkpoint_resolve(const char *path, bool prefer_best, char *out, size_t bytes);
/* Collective: newest checkpoint of the store that verifies; damaged ones are named in a warning and passed over. *found
 * = false when there is none. */
VT_MUST_CHECK vt_status checkpoint_find_latest(const char *dir, struct comm *comm, bool *found, char *out,
                                               size_t bytes);
/* Read the state only. Per rank. */
VT_MUST_CHECK vt_status checkpoint_read_state(const char *checkpoint, struct checkpoint_state *state);
/* Read tensors into the host buffers, checking every CRC and that names and shapes are exactly the tables' of the
 * entries that share a file. Files of the checkpoint that are not asked for are not read. On failure the buffers'
 * contents are undefined. Per rank. */
VT_MUST_CHECK vt_status checkpoint_read_files(const char *checkpoint, const struct checkpoint_file *files,
                                              int file_count);
/* Check sizes and CRCs of every file. Per rank. The message names the file and the damaged MiB. */
VT_MUST_CHECK vt_status checkpoint_verify(const char *checkpoint);

#endif
