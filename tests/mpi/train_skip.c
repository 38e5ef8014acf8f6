/* A training run some of whose steps are not finite, so that stopping and going on among them can be compared.
 *   train_skip STEPS STOP CONFIG [key.path=value ...]
 * STEPS: a letter a step, 'n' = its gradient norm becomes NaN ("xxnnx"; x from there on). STOP: SIGUSR2 comes in that step;
 * 0 = never. On the CPU, under mpirun or alone. Exits as `vitrail train` does. */
#include <math.h>
#include <signal.h>

#include "config/run_config.h"
#include "rank_check.h"
#include "train/trainer.h"

static struct {
    struct trainer *trainer;
    const char *steps;
    int64_t stop;
    void (*sumsq_chunks)(struct backend *be, const float *grads, int64_t count, double *partial);
} probe;

static void spoilt_sumsq(struct backend *be, const float *grads, int64_t count, double *partial)
{
    int64_t done = probe.trainer->step; /* this one is number done + 1 */
    probe.sumsq_chunks(be, grads, count, partial);
    if (done < (int64_t)strlen(probe.steps) && probe.steps[done] == 'n')
        partial[0] = NAN;
    if (done + 1 == probe.stop)
        REQUIRE(raise(SIGUSR2) == 0);
}

int main(int argc, char **argv)
{
    static struct run_config config;
    if (argc < 4) {
        fprintf(stderr, "usage: train_skip STEPS STOP CONFIG [key=value ...]\n");
        return 2;
    }
    probe.steps = argv[1];
    probe.stop = atoi(argv[2]);
    REQUIRE_OK(world_open(COMM_AUTO, &world));
    REQUIRE_OK(run_config_load(argv[3], (const char *const *)argv + 4, argc - 4, &config));
    const struct trainer_desc desc = {.config = &config, .run_folder = true, .quiet = true};
    REQUIRE_OK(trainer_open(&desc, world, &probe.trainer));
    struct backend *be = probe.trainer->be;
    REQUIRE(be->host_memory);
    probe.sumsq_chunks = be->optim.sumsq_chunks;
    be->optim.sumsq_chunks = spoilt_sumsq;
    vt_status status = trainer_run(probe.trainer);
    if (status != VT_OK && world->rank == 0)
        fprintf(stderr, "error: %s\n", status_message());
    trainer_close(&probe.trainer);
    world_close(&world);
    return status == VT_OK ? 0 : status == VT_E_STOP ? 75 : 1;
}
