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

/* Median of `count` values; sorts them. */
double bench_median(double *values, int count);

/* FLOP-weighted rate (FLOP/s) of the backend's linear op over the model's own products (qkv, proj, fc1, fc2; forward, input
 * gradient, weight gradient), for `rows` images: what a step of nothing but matrix products would reach. */
VT_MUST_CHECK vt_status bench_gemm_rate(struct backend *be, const struct vit_config *model, int rows, enum dtype dtype,
                                        int repetitions, double *flops_per_s);

#endif
