/* Whole training steps, and what they are measured against: the model's own products, a large square one, the datasheet. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/bench.h"
#include "train/gemm_rate.h"
#include "train/op_time.h"
#include "train/trainer.h"

enum { WARMUP_STEPS = 6 /* graphs are captured by then */, PEAK_READINGS = 10 };

struct step_report {
    char device[128];
    enum dtype dtype;
    int ranks, micro_rows, micro_count;
    double memory, activations;     /* bytes of a rank */
    double median_ms, images_per_s;
    double flops;                   /* per second and rank */
    struct step_times mean;
    double early_fraction;          /* mean; bucket_stats */
    struct gemm_rate own;           /* the model's products alone */
    struct gemm_peak peak;
    double datasheet;               /* FLOP/s; 0 = unknown */
};

static void add_json_rates(struct json *object, const struct step_report *r)
{
    json_set_double(object, "gflops_per_rank", r->flops * 1e-9);
    json_set_double(object, "own_gemm_gflops_per_rank", r->own.mean * 1e-9);
    json_set_double(object, "own_gemm_best_gflops_per_rank", r->own.best * 1e-9);
    json_set_double(object, "gemm_peak_gflops_per_rank", r->peak.flops_per_s * 1e-9);
    json_set_int(object, "gemm_peak_side", r->peak.side);
    json_set_double(object, "mfu_of_own_gemms", r->flops / r->own.mean);
    json_set_double(object, "mfu_of_gemm_peak", r->flops / r->peak.flops_per_s);
    if (r->datasheet > 0)
        json_set_double(object, "mfu_of_datasheet", r->flops / r->datasheet);
}

static void print_json(const struct bench_desc *desc, const struct step_report *r)
{
    struct json *object = json_new_object();
    json_set_double(object, "images_per_s", r->images_per_s);
    json_set_double(object, "step_ms", r->median_ms);
    json_set_string(object, "dtype", dtype_name(r->dtype));
    json_set_int(object, "batch", desc->config.data.batch);
    json_set_int(object, "micro_batch", r->micro_rows);
    json_set_int(object, "ranks", r->ranks);
    json_set_int(object, "memory_bytes", (int64_t)r->memory);
    json_set_int(object, "activation_bytes", (int64_t)r->activations);
    add_json_rates(object, r);
    json_set_double(object, "data_wait_ms", r->mean.data_wait);
    if (r->ranks > 1) {
        json_set_double(object, "comm_exposed_ms", r->mean.comm_exposed);
        json_set_double(object, "comm_early_fraction", r->early_fraction);
    }
    char *text = json_to_text(object);
    puts(text);
    free(text);
    json_free(&object);
}

static void print_text(const struct bench_desc *desc, const struct step_report *r)
{
    const struct step_times *mean = &r->mean;
    char all[32], activations[32];
    printf("%s, batch %d, microbatch %d x %d, %s, %d rank%s, %s\n", desc->config.model.name, desc->config.data.batch, r->micro_rows,
           r->micro_count, dtype_name(r->dtype), r->ranks, r->ranks == 1 ? "" : "s", r->device);
    printf("step       %10.2f ms (median of %d)   %10.1f images/s\n", r->median_ms, desc->steps, r->images_per_s);
    printf("rate       %10.1f GFLOP/s per rank\n", r->flops * 1e-9);
    printf("  %5.1f %% of own gemms, %.1f GFLOP/s: the model's matrix products alone (the fastest %.1f)\n",
           100 * r->flops / r->own.mean, r->own.mean * 1e-9, r->own.best * 1e-9);
    printf("  %5.1f %% of gemm_peak, %.1f GFLOP/s: a %d^3 product\n", 100 * r->flops / r->peak.flops_per_s,
           r->peak.flops_per_s * 1e-9, r->peak.side);
    if (r->datasheet > 0)
        printf("  %5.1f %% of the datasheet's %.1f GFLOP/s\n", 100 * r->flops / r->datasheet, r->datasheet * 1e-9);
    text_format_bytes(r->memory, all, sizeof all);
    text_format_bytes(r->activations, activations, sizeof activations);
    printf("memory     %s per rank, of it activations %s\n", all, activations);
    printf("time split (mean ms): data wait %.2f, copy %.2f, forward %.2f, backward %.2f, exposed all-reduce %.2f, optimizer %.2f\n",
           mean->data_wait, mean->copy, mean->forward, mean->backward, mean->comm_exposed, mean->optimizer);
    if (r->ranks > 1)
        printf("overlap    %.1f %% of the gradient's bytes go to the all-reduce before backward ends\n", 100 * r->early_fraction);
}

static void accumulate(struct step_report *r, const struct step_result *step, int steps)
{
    const double *from = (const double *)&step->times;
    for (size_t k = 0; k < sizeof r->mean / sizeof(double); k++)
        ((double *)&r->mean)[k] += from[k] / steps;
    r->early_fraction += step->buckets.early_fraction / steps;
}

static void describe(struct step_report *r, const struct trainer *t)
{
    snprintf(r->device, sizeof r->device, "%s", t->be->device_name);
    r->dtype = t->dtype;
    r->ranks = t->comm->size;
    r->micro_rows = t->micro_rows;
    r->micro_count = t->micro_count;
    r->memory = (double)(memory_plan_device(&t->memory) + memory_plan_host(&t->memory));
    r->activations = (double)vit_memory_plan(t->vit).activations;
    r->images_per_s = t->config.data.batch / (r->median_ms * 1e-3);
    r->flops = r->images_per_s * vit_train_flops(&t->data.model) / t->comm->size;
    r->datasheet = t->dtype == DTYPE_BF16 ? t->be->peak_flops : 0;
}

static vt_status run_steps(const struct bench_desc *desc, struct comm *comm, struct step_report *r)
{
    struct trainer *t = NULL;
    struct step_result done;
    vt_status status;
    double *times = calloc((size_t)desc->steps, sizeof *times);
    struct trainer_desc trainer = {.config = &desc->config, .quiet = true};
    if (!times)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d times", desc->steps);
    VT_TRY_OUT(trainer_open(&trainer, comm, &t));
    for (int i = 0; i < WARMUP_STEPS; i++)
        VT_TRY_OUT(step_run(t, &done));
    for (int i = 0; i < desc->steps; i++) {
        double start = clock_ms();
        VT_TRY_OUT(step_run(t, &done));
        times[i] = clock_ms() - start;
        if (i) /* a step's own result comes with the next one */
            accumulate(r, &done, desc->steps);
    }
    VT_TRY_OUT(step_drain(t, &done));
    accumulate(r, &done, desc->steps);
    r->median_ms = bench_median(times, desc->steps);
    VT_TRY_OUT(gemm_rate_measure(t->be, &t->data.model, t->micro_rows, t->dtype, 20, NULL, NULL, &r->own));
    describe(r, t);
out:
    trainer_close(&t);
    free(times);
    return status;
}

/* On a device of its own: beside a large model there may be no room. */
static vt_status measure_peak(const struct bench_desc *desc, struct comm *comm, struct step_report *r)
{
    struct device device = {0};
    const struct device_desc wanted = {.wanted = desc->config.compute.device, .threads = desc->config.compute.threads};
    VT_TRY(device_open(&wanted, comm, &device));
    vt_status status = gemm_peak_measure(device.be, r->dtype, PEAK_READINGS, &r->peak);
    device_close(&device);
    return status;
}

vt_status bench_step(const struct bench_desc *desc, struct comm *comm)
{
    struct step_report report = {0};
    VT_TRY(run_steps(desc, comm, &report));
    VT_TRY(measure_peak(desc, comm, &report));
    if (comm->rank == 0 && desc->json)
        print_json(desc, &report);
    else if (comm->rank == 0)
        print_text(desc, &report);
    return VT_OK;
}
