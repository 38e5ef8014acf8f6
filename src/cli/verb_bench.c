#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "train/gemm_rate.h"
#include "train/trainer.h"

enum { WARMUP_STEPS = 3, STEPS_MAX = 100000 };

static void print_step(const struct bench_desc *desc, const struct trainer *t, double median_ms, double gemm_rate,
                       const struct step_times *mean)
{
    double images = t->config.data.batch / (median_ms * 1e-3);
    double flops = images * vit_train_flops(&t->data.model) / t->comm->size;
    if (desc->json) {
        struct json *object = json_new_object();
        json_set_double(object, "images_per_s", images);
        json_set_double(object, "step_ms", median_ms);
        json_set_string(object, "dtype", dtype_name(t->dtype));
        json_set_int(object, "batch", t->config.data.batch);
        json_set_int(object, "micro_batch", t->micro_rows);
        json_set_int(object, "ranks", t->comm->size);
        json_set_int(object, "memory_bytes", (int64_t)(memory_plan_device(&t->memory) + memory_plan_host(&t->memory)));
        json_set_int(object, "activation_bytes", (int64_t)vit_memory_plan(t->vit).activations);
        json_set_double(object, "gflops_per_rank", flops * 1e-9);
        json_set_double(object, "gemm_gflops_per_rank", gemm_rate * 1e-9);
        json_set_double(object, "mfu_of_gemm_peak", flops / gemm_rate);
        char *text = json_to_text(object);
        puts(text);
        free(text);
        json_free(&object);
        return;
    }
    printf("%s, batch %d, microbatch %d x %d, %s, %d rank%s, %s\n", t->config.model.name, t->config.data.batch, t->micro_rows,
           t->micro_count, dtype_name(t->dtype), t->comm->size, t->comm->size == 1 ? "" : "s", t->be->device_name);
    printf("step       %10.2f ms (median of %d)   %10.1f images/s\n", median_ms, desc->steps, images);
    printf("rate       %10.1f GFLOP/s per rank, %.1f %% of %.1f GFLOP/s that the model's matrix products reach alone\n",
           flops * 1e-9, 100 * flops / gemm_rate, gemm_rate * 1e-9);
    char all[32], activations[32];
    text_format_bytes((double)(memory_plan_device(&t->memory) + memory_plan_host(&t->memory)), all, sizeof all);
    text_format_bytes((double)vit_memory_plan(t->vit).activations, activations, sizeof activations);
    printf("memory     %s per rank, of it activations %s\n", all, activations);
    printf("time split (mean ms): data wait %.2f, copy %.2f, forward %.2f, backward %.2f, exposed all-reduce %.2f, optimizer %.2f\n",
           mean->data_wait, mean->copy, mean->forward, mean->backward, mean->comm_exposed, mean->optimizer);
}

vt_status bench_step(const struct bench_desc *desc, struct comm *comm)
{
    struct trainer *t = NULL;
    struct step_result done;
    struct step_times mean = {0};
    vt_status status;
    double gemm_rate = NAN, *times = calloc((size_t)desc->steps, sizeof *times);
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
        const double *from = (const double *)&t->pending.times;
        for (size_t k = 0; k < sizeof mean / sizeof(double); k++)
            ((double *)&mean)[k] += from[k] / desc->steps;
    }
    VT_TRY_OUT(gemm_rate_measure(t->be, &t->data.model, t->micro_rows, t->dtype, 20, NULL, &gemm_rate));
    if (comm->rank == 0)
        print_step(desc, t, bench_median(times, desc->steps), gemm_rate, &mean);
out:
    trainer_close(&t);
    free(times);
    return status;
}

/* No config: the reference model of docs/speed.md on synthetic images. */
static vt_status default_config(struct run_config *config, char **overrides, int count)
{
    const char *all[64] = {"model.name=vit_ti16", "data.train=synthetic", "data.batch=32", "train.duration=100ksteps"};
    int n = 4;
    for (int i = 0; i < count && n < 64; i++)
        all[n++] = overrides[i];
    return run_config_load(NULL, all, n, config);
}

vt_status verb_bench(int argc, char **argv)
{
    static const struct {
        const char *name;
        vt_status (*run)(const struct bench_desc *desc, struct comm *comm);
    } subjects[] = {{"step", bench_step}, {"ops", bench_ops}, {"data", bench_data}, {"comm", bench_comm}};
    struct bench_desc desc = {.steps = 20};
    const char *steps_text = NULL;
    const struct arg_option options[] = {{"--json", NULL, &desc.json}, {"--steps", &steps_text, NULL}};
    char **positional;
    int count;
    long steps = desc.steps;
    VT_TRY(args_parse(argc, argv, options, 2, 1, -1, &positional, &count));
    if (steps_text)
        VT_TRY(args_int("--steps", steps_text, 1, STEPS_MAX, &steps));
    desc.steps = (int)steps;
    bool has_config = count > 1 && !strchr(positional[1], '=');
    VT_TRY(has_config ? args_config(positional + 1, count - 1, &desc.config)
                      : default_config(&desc.config, positional + 1, count - 1));
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        if (strcmp(positional[0], subjects[i].name) == 0) {
            struct comm *comm = NULL;
            VT_TRY(world_open(COMM_AUTO, &comm));
            vt_status status = subjects[i].run(&desc, comm);
            return job_finish(&comm, status, status == VT_E_USAGE);
        }
    return VT_FAIL(VT_E_USAGE, "bench %s: expected step, ops, data or comm", positional[0]);
}
