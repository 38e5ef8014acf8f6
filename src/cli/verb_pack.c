#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "dataset/pack.h"

enum { COMMAND_BYTES = 1024 };

/* The command line as typed, for the manifest's provenance. Before args_parse, which moves the arguments. */
static void remember_command(int argc, char **argv, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "vitrail");
    for (int i = 0; i < argc && used + 1 < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, " %s", argv[i]);
}

vt_status verb_pack(int argc, char **argv)
{
    struct pack_desc desc = {0};
    struct pack_report report;
    const char *seed_text = NULL, *shard_text = NULL;
    const struct arg_option options[] = {{"--from", &desc.from, NULL},       {"--val", &desc.val, NULL},
                                         {"--name", &desc.name, NULL},       {"--classes", &desc.classes, NULL},
                                         {"--seed", &seed_text, NULL},       {"--shard-samples", &shard_text, NULL},
                                         {"--no-shuffle", NULL, &desc.no_shuffle}, {"--dry-run", NULL, &desc.dry_run}};
    char **positional, command[COMMAND_BYTES], bytes[32], seconds[32];
    int count;
    long number;
    remember_command(argc, argv, command, sizeof command);
    VT_TRY(args_parse(argc, argv, options, sizeof options / sizeof *options, 2, 2, &positional, &count));
    if (seed_text) {
        VT_TRY(args_int("--seed", seed_text, 0, 1L << 53, &number));
        desc.seed = (uint64_t)number;
    }
    if (shard_text) {
        VT_TRY(args_int("--shard-samples", shard_text, 1, 1 << 24, &number));
        desc.shard_samples = (int)number;
    }
    desc.source = positional[0];
    desc.dir = positional[1];
    desc.command = command;
    VT_TRY(pack_run(&desc, &report));
    for (int i = 0; i < report.splits; i++) {
        text_format_bytes((double)report.split[i].bytes, bytes, sizeof bytes);
        printf("%s#%-8s %9lld images in %d shard%s, %s", desc.dir, report.split[i].name, (long long)report.split[i].samples,
               report.split[i].shards, report.split[i].shards == 1 ? "" : "s", bytes);
        if (report.split[i].dropped)
            printf(", %lld unreadable left out", (long long)report.split[i].dropped);
        putchar('\n');
    }
    text_format_seconds(report.seconds, seconds, sizeof seconds);
    printf("%d classes, %s%s\n", report.classes, seconds, desc.dry_run ? " (dry run: nothing was written)" : "");
    return VT_OK;
}
