#include "telemetry/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/file.h"
#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

enum { PANEL_WIDTH = 520, PANEL_HEIGHT = 300, PANEL_GAP = 12 };

/* Runs of the same name are told apart by their whole path. */
static void settle_labels(struct runs *runs)
{
    bool *twice = calloc((size_t)runs->count, sizeof *twice);
    VT_CHECK(twice);
    for (int i = 0; i < runs->count; i++)
        for (int k = 0; k < runs->count; k++)
            twice[i] = twice[i] || (k != i && strcmp(runs->run[i]->label, runs->run[k]->label) == 0);
    for (int i = 0; i < runs->count; i++) {
        if (!twice[i])
            continue;
        free(runs->run[i]->label);
        runs->run[i]->label = strdup(runs->run[i]->dir);
        VT_CHECK(runs->run[i]->label);
    }
    free(twice);
}

static void free_runs(struct runs *runs)
{
    for (int i = 0; runs->run && i < runs->count; i++)
        run_data_free(&runs->run[i]);
    free(runs->run);
}

static vt_status load_runs(const char *const *dirs, int count, struct runs *runs)
{
    if (count < 1)
        return VT_FAIL(VT_E_USAGE, "a report needs at least one run folder");
    runs->run = calloc((size_t)count, sizeof(struct run_data *));
    if (!runs->run)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d runs", count);
    runs->count = count;
    for (int i = 0; i < count; i++)
        VT_TRY(run_data_load(dirs[i], &runs->run[i]));
    settle_labels(runs);
    return VT_OK;
}

/* The axis buttons work without scripts: radio buttons before <main>, whose state decides which charts show. */
static void put_axis_style(FILE *out, const struct runs *runs)
{
    for (int axis = 0; axis < AXIS_COUNT; axis++) {
        if (!report_has_axis(runs, axis))
            continue;
        const char *id = report_axis_ids[axis];
        fprintf(out, ".by-%s{display:none}#axis-%s:checked~main .by-%s{display:block}\n", id, id, id);
        fprintf(
            out,
            "#axis-%s:checked~nav label[for=axis-%s]{border-color:var(--accent);color:var(--accent);font-weight:600}\n",
            id, id);
        fprintf(out, "#axis-%s:focus-visible~nav label[for=axis-%s]{outline:2px solid var(--accent)}\n", id, id);
    }
}

static void put_axis_buttons(FILE *out, const struct runs *runs)
{
    for (int axis = 0; axis < AXIS_COUNT; axis++)
        if (report_has_axis(runs, axis))
            fprintf(out, "<input class=\"pick\" type=\"radio\" name=\"axis\" id=\"axis-%s\"%s>\n",
                    report_axis_ids[axis], axis == AXIS_STEP ? " checked" : "");
    fputs("<nav>curves over", out);
    for (int axis = 0; axis < AXIS_COUNT; axis++)
        if (report_has_axis(runs, axis))
            fprintf(out, "<label for=\"axis-%s\">%s</label>", report_axis_ids[axis], report_axis_labels[axis]);
    fputs("</nav>\n", out);
}

static void put_title(FILE *out, const struct runs *runs)
{
    if (runs->count == 1)
        svg_escape(out, runs->run[0]->label);
    else
        fprintf(out, "%d runs", runs->count);
}

static void put_page(FILE *out, const struct runs *runs)
{
    char stamp[64];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M UTC", &parts);
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          out);
    put_title(out, runs);
    fprintf(out, " · vitrail report</title>\n<style>\n%s%s", report_page_style, report_chart_style);
    put_axis_style(out, runs);
    fputs("</style></head><body>\n<header><h1>", out);
    put_title(out, runs);
    fprintf(out, "</h1><p>vitrail report, %s</p>\n", stamp);
    report_run_table(out, runs);
    fputs("</header>\n", out);
    put_axis_buttons(out, runs);
    fputs("<main>\n", out);
    report_curves(out, runs);
    report_time(out, runs);
    report_classes(out, runs);
    report_config(out, runs);
    fputs("</main>\n<footer>Faint lines are the values as measured, strong ones their moving average. Dashed vertical "
          "lines: the run "
          "was resumed. Hours leave out the time between attempts and work that was done "
          "again.</footer>\n</body></html>\n",
          out);
}

static void put_svg(FILE *out, const struct runs *runs, const char *const *metrics, int count)
{
    int columns = count > 1 ? 2 : 1, rows = (count + columns - 1) / columns;
    int width = columns * PANEL_WIDTH + (columns - 1) * PANEL_GAP,
        height = rows * PANEL_HEIGHT + (rows - 1) * PANEL_GAP;
    fprintf(
        out,
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n",
        width, height, width, height);
    fprintf(out, "<style>%s</style>\n<rect class=\"panel\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", report_chart_style,
            width, height);
    for (int m = 0; m < count; m++)
        report_metric_chart_at(out, runs, metrics[m], PANEL_WIDTH, PANEL_HEIGHT,
                               m % columns * (PANEL_WIDTH + PANEL_GAP), m / columns * (PANEL_HEIGHT + PANEL_GAP));
    fputs("</svg>\n", out);
}

/* Load, draw into memory, write at once. metrics NULL: the whole page. */
static vt_status write_report(const char *const *dirs, int count, const char *const *metrics, int metric_count,
                              const char *path)
{
    vt_status status = VT_OK;
    struct runs runs = {0};
    char *text = NULL;
    size_t size = 0;
    VT_TRY_OUT(load_runs(dirs, count, &runs));
    for (int m = 0; m < metric_count; m++)
        if (!report_has_metric(&runs, metrics[m])) {
            status = VT_FAIL(VT_E_USAGE, "%s: no run has the metric \"%s\"", dirs[0], metrics[m]);
            goto out;
        }
    FILE *out = open_memstream(&text, &size);
    VT_CHECK(out);
    if (metrics)
        put_svg(out, &runs, metrics, metric_count);
    else
        put_page(out, &runs);
    VT_CHECK(fclose(out) == 0 && text);
    status = file_write_atomic(path, text, size);
out:
    free(text);
    free_runs(&runs);
    return status;
}

vt_status report_write(const char *const *run_dirs, int count, const char *html_path)
{
    return write_report(run_dirs, count, NULL, 0, html_path);
}

vt_status report_write_svg(const char *const *run_dirs, int count, const char *const *metric_names, int metric_count,
                           const char *svg_path)
{
    if (metric_count < 1)
        return VT_FAIL(VT_E_USAGE, "%s: no metric to draw", svg_path);
    return write_report(run_dirs, count, metric_names, metric_count, svg_path);
}
