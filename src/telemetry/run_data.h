/* What a run folder says of itself, read for reports: the metrics table, the config, the newest environment and
 * evaluation. The folder may belong to a run that is still writing, or be damaged: what cannot be read is counted and
 * left out, never fatal. */
#ifndef VT_TELEMETRY_RUN_DATA_H
#define VT_TELEMETRY_RUN_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { RUN_COLUMNS_MAX = 256, RUN_ROWS_MAX = 4000000 };

/* One step: the records of that step merged, later ones winning. */
struct run_row {
    int64_t step, attempt;
    double images, epoch, wall_time; /* NaN where absent */
    double hours; /* of work that counts: time between attempts and work lost to a restart left out */
};

struct run_column {
    char *name;     /* "train/loss" */
    double *values; /* [row_count], NaN where a row has none */
};

struct run_setting {
    char *key, *value; /* "optim.lr", "0.001" as the file has it */
};

struct run_class {
    char *name;
    int64_t count, correct;
};

struct run_data {
    char *dir, *label;    /* label: what legends say */
    struct run_row *rows; /* by step, each step once, superseded ones gone */
    int64_t row_count;
    struct run_column *columns;
    int column_count;
    int64_t lines, skipped_lines; /* of metrics.jsonl; skipped: not a record, or past a limit */
    int64_t superseded_rows;      /* done again after a resume */
    struct run_setting *settings; /* config.yaml, in its order */
    int setting_count;
    char *environment;         /* one line about hosts and devices, or NULL */
    double flops_per_image;    /* of a training step; NaN when env.json does not say */
    struct run_class *classes; /* eval.json, or none */
    int class_count;
    double eval_top1; /* NaN without eval.json */
};

/* VT_E_IO when the folder or its metrics.jsonl cannot be opened, VT_E_LIMIT when that is above 4 GiB. A damaged
 * config.yaml, env.json or eval.json is warned about and left out. */
VT_MUST_CHECK vt_status run_data_load(const char *dir, struct run_data **out);
void run_data_free(struct run_data **run);

/* The values of a metric, or NULL. */
const double *run_data_column(const struct run_data *run, const char *name);
const char *run_data_setting(const struct run_data *run, const char *key);

/* Parse metrics text into `run` (rows, columns and counts only); for tests and fuzzing. */
VT_MUST_CHECK vt_status run_data_parse_metrics(struct run_data *run, const char *text, size_t size);
/* The other files of the folder; run_data_load calls it. */
void run_data_load_extras(struct run_data *run);

#endif
