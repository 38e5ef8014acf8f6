#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"

static vt_status unknown_option(const char *argument, const struct arg_option *options, int count)
{
    const char *names[32];
    for (int i = 0; i < count && i < 32; i++)
        names[i] = options[i].name;
    const char *near = text_nearest(argument, names, (size_t)(count < 32 ? count : 32));
    return VT_FAIL(VT_E_USAGE, "unknown option %.100s%s%s%s", argument, near ? ", did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

/* Take the option at argv[*i], with its value when it has one. */
static vt_status take_option(int argc, char **argv, int *i, const struct arg_option *options, int count)
{
    char *argument = argv[*i];
    size_t length = strcspn(argument, "=");
    for (int k = 0; k < count; k++) {
        const struct arg_option *option = &options[k];
        if (strlen(option->name) != length || strncmp(option->name, argument, length) != 0)
            continue;
        if (!option->value) {
            if (argument[length])
                return VT_FAIL(VT_E_USAGE, "option %s takes no value", option->name);
            *option->flag = true;
            return VT_OK;
        }
        if (argument[length]) {
            *option->value = argument + length + 1;
            return VT_OK;
        }
        if (*i + 1 >= argc)
            return VT_FAIL(VT_E_USAGE, "option %s needs a value", option->name);
        *option->value = argv[++*i];
        return VT_OK;
    }
    return unknown_option(argument, options, count);
}

vt_status args_parse(int argc, char **argv, const struct arg_option *options, int option_count, int fewest, int most,
                     char ***positional, int *count)
{
    bool only_positional = false;
    int found = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0)
            only_positional = true;
        else if (!only_positional && argv[i][0] == '-' && argv[i][1])
            VT_TRY(take_option(argc, argv, &i, options, option_count));
        else
            argv[1 + found++] = argv[i];
    }
    *positional = argv + 1;
    *count = found;
    if (found < fewest || (most >= 0 && found > most))
        return VT_FAIL(VT_E_USAGE, "vitrail %s takes %s%d argument%s, not %d; see `vitrail help %s`", argv[0],
                       most < 0 ? "at least " : found > most ? "at most " : fewest == most ? "" : "at least ",
                       most >= 0 && found > most ? most : fewest, fewest == 1 && found < fewest ? "" : "s", found, argv[0]);
    return VT_OK;
}

vt_status args_int(const char *option, const char *text, long min, long max, long *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max)
        return VT_FAIL(VT_E_USAGE, "%s: \"%.60s\", expected a whole number from %ld to %ld", option, text, min, max);
    *out = value;
    return VT_OK;
}

/* A run folder as the argument means this run, also where its config was made to start a new one. */
static vt_status go_on(struct run_config *config)
{
    char origin[CONFIG_PATH_BYTES + 32];
    run_config_origin(config, "run.if_exists", origin, sizeof origin);
    if (config->run.if_exists != CONFIG_IF_EXISTS_RESUME && strcmp(origin, "command line") == 0)
        return VT_FAIL(VT_E_USAGE, "command line: run.if_exists: a run folder is there to go on with; expected resume, or its "
                                   "config.yaml as the argument");
    config->run.if_exists = CONFIG_IF_EXISTS_RESUME;
    return VT_OK;
}

vt_status args_config(char **positional, int count, struct run_config *config)
{
    char path[CONFIG_PATH_BYTES];
    const char *file = count ? positional[0] : NULL;
    if (count && strchr(file, '=') && !file_exists(file))
        return VT_FAIL(VT_E_USAGE, "\"%.100s\": the config file comes before the key.path=value arguments", file);
    bool run = count && file_is_dir(file);
    if (run) {
        VT_TRY(path_join(path, sizeof path, file, "config.yaml"));
        if (!file_exists(path))
            return VT_FAIL(VT_E_USAGE, "%s is a folder without config.yaml, expected a config file or a run folder", file);
        file = path;
    }
    VT_TRY(run_config_load(file, (const char *const *)positional + 1, count > 1 ? count - 1 : 0, config));
    if (run && snprintf(config->run.dir, sizeof config->run.dir, "%s", positional[0]) >= (int)sizeof config->run.dir)
        return VT_FAIL(VT_E_USAGE, "run folder %.60s...: the path is too long", positional[0]);
    return run ? go_on(config) : VT_OK;
}

void job_tell(vt_status status)
{
    static bool told;
    if (status == VT_OK || told)
        return;
    told = true;
    if (status == VT_E_STOP)
        log_info("%s", status_message());
    else if (log_rank() == 0)
        log_error("%s", status_message());
}

vt_status job_open(enum comm_choice choice, vt_status parsed, struct comm **comm)
{
    VT_TRY(world_open(choice, comm));
    vt_status status = comm_agree(*comm, parsed);
    return status == VT_OK ? VT_OK : job_finish(comm, status, true);
}

/* mpirun's exit code is that of the first rank to leave: every rank takes the one of the rank that failed first hand. */
static vt_status same_exit(struct comm *comm, vt_status status)
{
    double code = status_exit_code(status);
    VT_TRY(comm->all_reduce(comm, &code, 1, DTYPE_F64, REDUCE_MAX));
    return code == status_exit_code(VT_E_USAGE) ? VT_E_USAGE : status;
}

vt_status job_finish(struct comm **comm, vt_status status, bool together)
{
    if (status != VT_OK && !together && *comm && (*comm)->size > 1)
        world_abort(*comm, status_exit_code(status), status_message());
    job_tell(status);
    if (*comm)
        status = same_exit(*comm, status);
    world_close(comm);
    return status;
}
