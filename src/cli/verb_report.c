#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "telemetry/report.h"

enum { METRICS_MAX = 16 };

/* Cut "a,b,c" in place. */
static int split_names(char *text, const char **names)
{
    int count = 0;
    for (char *save, *name = strtok_r(text, ",", &save); name && count < METRICS_MAX; name = strtok_r(NULL, ",", &save))
        names[count++] = name;
    return count;
}

vt_status verb_report(int argc, char **argv)
{
    const char *page = NULL, *svg = NULL, *metrics = NULL, *names[METRICS_MAX];
    const struct arg_option options[] = {{"-o", &page, NULL}, {"--svg", &svg, NULL}, {"--metrics", &metrics, NULL}};
    char **runs, list[512] = "train/loss,val/top1";
    int count;
    VT_TRY(args_parse(argc, argv, options, 3, 1, -1, &runs, &count));
    if (!page && !svg)
        return VT_FAIL(VT_E_USAGE, "report needs -o report.html (or --svg FILE)");
    if (metrics && strlen(metrics) >= sizeof list)
        return VT_FAIL(VT_E_USAGE, "--metrics: the list is longer than %zu characters", sizeof list - 1);
    if (metrics)
        strcpy(list, metrics);
    if (page) {
        VT_TRY(report_write((const char *const *)runs, count, page));
        log_info("wrote %s", page);
    }
    if (svg) {
        int n = split_names(list, names);
        VT_TRY(report_write_svg((const char *const *)runs, count, names, n, svg));
        log_info("wrote %s", svg);
    }
    return VT_OK;
}
