/* The command line: a table of verbs. The only room that parses argv, prints usage or exits. */
#ifndef VT_CLI_CLI_H
#define VT_CLI_CLI_H

#include <stdbool.h>

#include "base/status.h"
#include "comm/comm.h"
#include "config/run_config.h"

struct verb {
    const char *name;
    const char *usage;   /* after "vitrail name" */
    const char *summary; /* one line */
    const char *details; /* the options, for `vitrail help name`; may be "" */
    vt_status (*run)(int argc, char **argv); /* argv[0] is the verb */
};

extern const struct verb verbs[];
extern const int verb_count;

vt_status verb_pack(int argc, char **argv);
vt_status verb_inspect(int argc, char **argv);
vt_status verb_verify(int argc, char **argv);
vt_status verb_preview(int argc, char **argv);
vt_status verb_train(int argc, char **argv);
vt_status verb_eval(int argc, char **argv);
vt_status verb_predict(int argc, char **argv);
vt_status verb_import(int argc, char **argv);
vt_status verb_export(int argc, char **argv);
vt_status verb_report(int argc, char **argv);
vt_status verb_bench(int argc, char **argv);
vt_status verb_check(int argc, char **argv);
vt_status verb_help(int argc, char **argv);

/* ---- argument parsing -------------------------------------------------------------------------------------------- */
enum { ARGS_POSITIONAL_MAX = 4096 };

struct arg_option {
    const char *name;   /* "--val"; also matches "--val=value" */
    const char **value; /* option with a value; NULL for a flag */
    bool *flag;
};
/* Split argv[1..] into options (anywhere) and positionals (in order; the array is argv's own, compacted). "--" ends options.
 * Unknown options are VT_E_USAGE with a near miss. Checks fewest <= positionals <= most (most < 0: any). */
VT_MUST_CHECK vt_status args_parse(int argc, char **argv, const struct arg_option *options, int option_count, int fewest,
                                   int most, char ***positional, int *count);
VT_MUST_CHECK vt_status args_int(const char *option, const char *text, long min, long max, long *out);

/* A run's config from CONFIG (a YAML file, or a run folder to go on with) and `key.path=value` overrides. */
VT_MUST_CHECK vt_status args_config(char **positional, int count, struct run_config *config);

/* ---- jobs -------------------------------------------------------------------------------------------------------- */
/* Open the world of a verb and agree on what its arguments said (`parsed`, this rank's verdict): a mistake is told once. On
 * failure *comm is NULL and the failure has been told. */
VT_MUST_CHECK vt_status job_open(enum comm_choice choice, vt_status parsed, struct comm **comm);
/* Tell a failure (VT_E_STOP too) while the world is still open: once a rank has left with a failure, mpirun kills the others.
 * Rank 0 speaks; only the first call does. */
void job_tell(vt_status status);
/* The end of a verb that opened a world: failures all ranks agree on (`together`) are told by rank 0; a failure of this rank
 * alone takes the job down here. Closes the world. */
vt_status job_finish(struct comm **comm, vt_status status, bool together);

/* launch.c: run this same command under mpirun with `ranks` ranks, without its -n option. Returns only on failure. */
vt_status launch_mpirun(int ranks, int argc, char **argv);

#endif
