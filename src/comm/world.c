#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "comm/self.h"
#include "comm/thread.h"

enum { ABORT_GRACE_S = 5 };

/* mpirun sets the first, any PMIx launcher (srun --mpi=pmix too) the second, PMI-1/2 launchers the third. */
static bool launched(void) { return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK"); }

/* A launcher that MPI does not know (srun without its plugin, one for another MPI) starts N strangers that would each train
 * alone into the same folder. What it started, as it says itself; the nearest one counts. */
struct launch {
    int tasks;
    const char *by;
};

static struct launch launch_of(void)
{
    static const struct launch_variable {
        const char *name, *by;
        bool rank; /* of this process, not their number: 0 says nothing */
    } variables[] = {{"OMPI_COMM_WORLD_SIZE", "mpirun", false},
                     {"PMI_SIZE", "a PMI launcher", false},
                     {"PMIX_RANK", "a PMIx launcher", true},
                     {"PMI_RANK", "a PMI launcher", true},
                     {"SLURM_STEP_NUM_TASKS", "srun", false}};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *text = getenv(variables[i].name);
        int value = text ? atoi(text) : 0;
        if (variables[i].rank && value > 0)
            return (struct launch){value + 1, variables[i].by};
        if (!variables[i].rank && text)
            return (struct launch){value, variables[i].by};
    }
    return (struct launch){1, "nobody"};
}

static vt_status check_not_strangers(struct launch launch, int joined)
{
    if (joined == 1 && launch.tasks > 1)
        return VT_FAIL(VT_E_USAGE, "%s started %d tasks or more that cannot find each other: use srun --mpi=pmix, or mpirun",
                       launch.by, launch.tasks);
    return VT_OK;
}

vt_status world_open(enum comm_choice choice, struct comm **out)
{
    bool mpi = choice == COMM_MPI || (choice == COMM_AUTO && launched());
    struct launch launch = launch_of(); /* before MPI is there: it sets variables of its own */
    VT_TRY(mpi ? comm_mpi_open(out) : comm_self_open(out));
    vt_status status = choice == COMM_SELF ? VT_OK : check_not_strangers(launch, (*out)->size);
    if (status != VT_OK) {
        world_close(out);
        return status;
    }
    log_set_rank((*out)->rank, (*out)->size);
    return VT_OK;
}

void world_close(struct comm **comm)
{
    if (!*comm)
        return;
    bool mpi = strcmp((*comm)->name, "mpi") == 0;
    (*comm)->close(*comm);
    if (mpi)
        comm_mpi_finalise();
    *comm = NULL;
}

/* MPI_Abort needs the launcher's help, which may be gone or cut off: after a grace this process ends by itself. */
static void *exit_later(void *context)
{
    sleep(ABORT_GRACE_S);
    _exit(*(const int *)context);
    return NULL;
}

_Noreturn void world_abort(struct comm *comm, int exit_code, const char *message)
{
    static atomic_flag begun = ATOMIC_FLAG_INIT;
    static int code;
    if (atomic_flag_test_and_set(&begun))
        for (;;)
            pause(); /* another thread is ending the job */
    log_error("%s", message);
    code = exit_code;
    if (comm && strcmp(comm->name, "mpi") == 0) {
        pthread_t thread;
        if (comm_thread_start(&thread, exit_later, &code) == 0)
            pthread_detach(thread);
        comm_mpi_abort(exit_code);
    }
    _exit(exit_code);
}
