#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"

enum { LAUNCH_FIXED_ARGS = 24 };

/* A copy of the command without "-n R" / "-n=R" (before any "--"). */
static int copy_without_n(int argc, char **argv, char **out)
{
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0) {
            i++;
            continue;
        }
        if (strncmp(argv[i], "-n=", 3) != 0)
            out[count++] = argv[i];
    }
    return count;
}

vt_status launch_mpirun(int ranks, int argc, char **argv)
{
    static char self[4096], number[16], map[48];
    long cores = cpus_usable(); /* fewer than the machine has inside a container or a job's share */
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return VT_FAIL(VT_E_IO, "cannot find the path of this program: %s", strerror(errno));
    self[length] = 0;
    char **command = calloc((size_t)argc + LAUNCH_FIXED_ARGS, sizeof *command);
    if (!command)
        return VT_FAIL(VT_E_MEMORY, "no memory for the mpirun command line");

    int n = 0;
    snprintf(number, sizeof number, "%d", ranks);
    command[n++] = "mpirun";
    command[n++] = "-np";
    command[n++] = number;
    if (ranks <= cores) {
        /* Each rank gets its own cores; its compute, loader and communication threads share them. Counted in hardware
         * threads, as nproc does: mpirun alone counts cores, and refuses a machine with two threads a core. */
        snprintf(map, sizeof map, "slot:PE=%ld", cores / ranks);
        command[n++] = "--use-hwthread-cpus";
        command[n++] = "--map-by";
        command[n++] = map;
        command[n++] = "--bind-to";
        command[n++] = "hwthread";
        if (cores % ranks)
            log_warn("%d ranks of %ld core%s each leave %ld of %ld cores idle; a rank count that divides %ld uses all", ranks,
                     cores / ranks, text_s(cores / ranks), cores % ranks, cores, cores);
    } else {
        log_warn("%d ranks share %ld core%s: correct, but slower than %ld rank%s", ranks, cores, text_s(cores), cores,
                 text_s(cores));
        command[n++] = "--oversubscribe";
        command[n++] = "--bind-to";
        command[n++] = "none";
    }
    command[n++] = self;
    n += copy_without_n(argc, argv, command + n);
    command[n] = NULL;

    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0); /* a waiting rank must not take its loader's core */
    setenv("OMPI_MCA_orte_abort_print_stack", "0", 0);
    if (geteuid() == 0) {
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    fflush(NULL);
    execvp("mpirun", command);
    free(command);
    return VT_FAIL(VT_E_USAGE, "-n %d: cannot start mpirun: %s; install openmpi-bin", ranks, strerror(errno));
}
