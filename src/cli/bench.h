/* `vitrail bench`: one file per subject. Each prints a table on stdout, or one JSON object with --json. */
#ifndef VT_CLI_BENCH_H
#define VT_CLI_BENCH_H

#include <stdbool.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/comm.h"
#include "config/run_config.h"
#include "model/vit_config.h"

struct bench_desc {
    struct run_config config;
    int steps; /* measured repetitions */
    bool json;
};

vt_status bench_step(const struct bench_desc *desc, struct comm *comm);
vt_status bench_ops(const struct bench_desc *desc, struct comm *comm);
vt_status bench_data(const struct bench_desc *desc, struct comm *comm);
vt_status bench_comm(const struct bench_desc *desc, struct comm *comm);

#endif
