#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"

enum { STEPS_MAX = 100000 };

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
