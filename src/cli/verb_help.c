#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "train/version.h"

static void print_all(FILE *out)
{
    fprintf(out, "%s\nPretrains Vision Transformers on many nodes. Usage: vitrail VERB ...\n\n", version_line());
    for (int i = 0; i < verb_count; i++)
        fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(out, "\n`vitrail help VERB` says more; `vitrail help config` lists every key of a run, `vitrail help recipe` is a config\n"
                 "to start from.\n");
}

vt_status verb_help(int argc, char **argv)
{
    if (argc < 2) {
        print_all(stdout);
        return VT_OK;
    }
    const char *topic = argv[1];
    for (int i = 0; i < verb_count; i++)
        if (strcmp(topic, verbs[i].name) == 0) {
            printf("usage: vitrail %s %s\n%s\n%s%s", verbs[i].name, verbs[i].usage, verbs[i].summary,
                   verbs[i].details[0] ? "\n" : "", verbs[i].details);
            return VT_OK;
        }
    if (strcmp(topic, "recipe") == 0) {
        run_config_recipe(stdout);
        return VT_OK;
    }
    if (strcmp(topic, "config") == 0)
        return run_config_help(stdout, NULL);
    if (strncmp(topic, "config.", 7) == 0)
        return run_config_help(stdout, topic + 7);
    vt_status status = run_config_help(stdout, topic);
    if (status != VT_OK && !strchr(topic, '.'))
        return VT_FAIL(VT_E_USAGE, "help: \"%.100s\" is no verb and no section of the config; `vitrail help` lists the verbs", topic);
    return status;
}
