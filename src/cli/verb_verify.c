#include <stdio.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/text.h"
#include "cli/cli.h"
#include "dataset/verify.h"

vt_status verb_verify(int argc, char **argv)
{
    const char *threads_text = NULL;
    const struct arg_option options[] = {{"--threads", &threads_text, NULL}};
    char **positional, bytes[32];
    int count;
    long threads = cpus_usable();
    VT_TRY(args_parse(argc, argv, options, 1, 1, 1, &positional, &count));
    if (threads_text)
        VT_TRY(args_int("--threads", threads_text, 1, 1024, &threads));
    struct verify_desc desc = {.dir = positional[0], .threads = (int)threads};
    struct verify_report report;
    VT_TRY(verify_run(&desc, &report));
    text_format_bytes((double)report.bytes, bytes, sizeof bytes);
    printf("%lld sample%s in %d shard%s, %s: %lld bad, %lld with warnings, %d shards differ from the manifest (%.1f s)\n",
           (long long)report.samples, text_s(report.samples), report.shards, text_s(report.shards), bytes, (long long)report.bad, (long long)report.warnings, report.bad_shards,
           report.seconds);
    if (report.bad || report.bad_shards)
        return VT_FAIL(VT_E_FORMAT, "%s: %lld bad samples (recorded in the manifest, training leaves them out), %d shards differ from the manifest",
                       positional[0], (long long)report.bad, report.bad_shards);
    return VT_OK;
}
