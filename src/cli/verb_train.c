#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/log.h"
#include "cli/cli.h"
#include "train/signals.h"
#include "train/trainer.h"

static enum comm_choice comm_choice_of(const struct run_config *config)
{
    return config->comm.backend == CONFIG_COMM_SELF  ? COMM_SELF
           : config->comm.backend == CONFIG_COMM_MPI ? COMM_MPI
                                                     : COMM_AUTO;
}

static void warn_idle_cores(const struct comm *comm, const struct run_config *config)
{
    long cores = cpus_of_job();
    long used = (long)comm->local_size * (config->compute.threads ? config->compute.threads : comm->cpus);
    if (comm->local_rank == 0 && used > 0 && used < cores)
        log_warn("%ld of %ld cores of %s compute nothing: raise the ranks or compute.threads", cores - used, cores, comm->host);
}

/* Some rank got a SIGTERM: all leave the same way, at the same time. Collective. */
static bool any_terminated(struct comm *comm)
{
    int32_t terminated = signals_stop_reason() == SIGTERM;
    return comm->all_reduce(comm, &terminated, 1, DTYPE_I32, REDUCE_MAX) != VT_OK || terminated;
}

/* Only returns with a failure. */
static vt_status launch_ranks(const char *text, const struct run_config *config, int argc, char **argv)
{
    long ranks;
    VT_TRY(args_int("-n", text, 1, 65536, &ranks));
    if (getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"))
        return VT_FAIL(VT_E_USAGE, "-n %ld starts mpirun, and this is a rank of mpirun or srun already; expected one of the two",
                       ranks);
    if (ranks > 1 && config->comm.backend == CONFIG_COMM_SELF)
        return VT_FAIL(VT_E_USAGE, "comm.backend=self is for one rank, expected auto, mpi or nccl with -n %ld", ranks);
    return launch_mpirun((int)ranks, argc, argv);
}

vt_status verb_train(int argc, char **argv)
{
    const char *ranks_text = NULL;
    const struct arg_option options[] = {{"-n", &ranks_text, NULL}};
    char **positional, **original = calloc((size_t)argc + 1, sizeof *original);
    int count;
    if (!original)
        return VT_FAIL(VT_E_MEMORY, "no memory for the arguments");
    for (int i = 0; i < argc; i++)
        original[i] = argv[i];
    vt_status status = args_parse(argc, argv, options, 1, 1, -1, &positional, &count);
    struct run_config config;
    if (status == VT_OK)
        status = args_config(positional, count, &config); /* mistakes are told before anything is started */
    if (status == VT_OK && ranks_text)
        status = launch_ranks(ranks_text, &config, argc, original);
    free(original);
    struct comm *comm = NULL;
    struct trainer *trainer = NULL;
    signals_install(); /* a stop asked for while the run is put together is obeyed after its first step */
    VT_TRY(job_open(status == VT_OK ? comm_choice_of(&config) : COMM_AUTO, status, &comm));
    const struct trainer_desc desc = {.config = &config, .run_folder = true};
    status = trainer_open(&desc, comm, &trainer);
    if (status == VT_OK && !trainer->device.plugin)
        warn_idle_cores(comm, &config);
    bool together = true; /* trainer_open agrees on its verdict */
    if (status == VT_OK) {
        status = trainer_run(trainer);
        together = status == VT_OK || trainer->failed_together;
    }
    if (status == VT_OK && trainer->comm->rank == 0)
        log_info("done       %s", trainer->folder.dir);
    if (!together && comm->size > 1)
        world_abort(comm, status_exit_code(status), status_message());
    job_tell(status); /* while RUN/log.txt is open */
    if (status == VT_E_STOP && any_terminated(comm))
        /* mpirun passed a SIGTERM on and will kill: MPI's finalise would wait for what never comes. All is committed. */
        _exit(status_exit_code(status));
    trainer_close(&trainer);
    return job_finish(&comm, status, true);
}
