/* Where the time of a step goes. The parts of a step follow each other on the training thread. Waiting for the slowest
 * rank shows up as exposed communication; the straggler part is taken out of it, so that the parts still sum to the
 * step. Read, decode and augment happen beside the step, on the loader's threads, and are given as numbers only. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "telemetry/curve.h"
#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

enum { COMM = 4, STRAGGLER = 6, PARTS = 8, OTHER = PARTS - 1, COLUMNS_MAX = 160, STACKS_MAX = 8 };

/* The metrics, and what the page calls their share. */
static const char *const part_metrics[OTHER] = {"data_wait",    "copy",      "forward",  "backward",
                                                "comm_exposed", "optimizer", "straggler"};
static const char *const part_names[PARTS] = {"data wait", "copy",      "forward",   "backward",
                                              "comm",      "optimizer", "straggler", "other"};
static const char *const beside_names[] = {"read", "decode", "augment"};
enum { BESIDE = sizeof beside_names / sizeof *beside_names };

struct parts {
    double ms[PARTS]; /* means; OTHER = step minus the rest */
    double step_ms, beside_ms[BESIDE];
};

static const double *time_column(const struct run_data *run, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "time/%s_ms", part);
    return run_data_column(run, name);
}

/* Mean of the values in rows from..to-1; NaN without one. */
static double mean_of(const double *values, int64_t from, int64_t to)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t r = from; values && r < to; r++)
        if (curve_drawable(values[r])) {
            sum += values[r];
            count++;
        }
    return count > 0 ? sum / (double)count : NAN;
}

static bool mean_parts(const struct run_data *run, int64_t from, int64_t to, struct parts *parts)
{
    double rest = 0;
    for (int k = 0; k < OTHER; k++)
        parts->ms[k] = mean_of(time_column(run, part_metrics[k]), from, to);
    double exposed_ms = fmax(0, parts->ms[COMM]);
    if (!isnan(parts->ms[STRAGGLER])) {
        parts->ms[STRAGGLER] = fmin(fmax(0, parts->ms[STRAGGLER]), exposed_ms);
        parts->ms[COMM] = exposed_ms - parts->ms[STRAGGLER];
    }
    for (int k = 0; k < OTHER; k++)
        rest += parts->ms[k] > 0 ? parts->ms[k] : 0;
    for (int k = 0; k < BESIDE; k++)
        parts->beside_ms[k] = mean_of(time_column(run, beside_names[k]), from, to);
    parts->step_ms = mean_of(time_column(run, "step"), from, to);
    if (!(parts->step_ms > 0))
        parts->step_ms = rest;
    parts->ms[OTHER] = fmax(0, parts->step_ms - rest);
    return parts->step_ms > 0;
}

/* The second half: past compilation, cold caches and the first files. */
static bool settled_parts(const struct run_data *run, struct parts *parts)
{
    return mean_parts(run, run->row_count / 2, run->row_count, parts);
}

static void draw_bar(FILE *out, const struct parts *parts, double longest_ms)
{
    fputs("<div class=\"bar\">", out);
    for (int k = 0; k < PARTS; k++)
        if (parts->ms[k] > 0)
            fprintf(out, "<i class=\"t%d\" style=\"width:%.2f%%\" title=\"%s %.3g ms (%.1f%%)\"></i>", k,
                    100 * parts->ms[k] / longest_ms, part_names[k], parts->ms[k], 100 * parts->ms[k] / parts->step_ms);
    fputs("</div>", out);
}

static void draw_bars(FILE *out, const struct runs *runs)
{
    struct parts parts;
    double longest_ms = 0;
    for (int i = 0; i < runs->count; i++)
        if (settled_parts(runs->run[i], &parts)) {
            double sum = 0;
            for (int k = 0; k < PARTS; k++)
                sum += parts.ms[k] > 0 ? parts.ms[k] : 0;
            longest_ms = fmax(longest_ms, sum);
        }
    fputs("<div class=\"keys\">", out);
    for (int k = 0; k < PARTS; k++)
        fprintf(out, "<span><i class=\"dot t%d\"></i>%s</span>", k, part_names[k]);
    fputs("</div>\n<div class=\"bars\">\n", out);
    for (int i = 0; i < runs->count; i++) {
        if (!settled_parts(runs->run[i], &parts))
            continue;
        fputs("<div>", out);
        report_run_name(out, runs, i);
        fputs("</div>", out);
        draw_bar(out, &parts, longest_ms);
        fprintf(out, "<div>%.4g ms</div>\n", parts.step_ms);
    }
    fputs("</div>\n", out);
}

static void table_cell(FILE *out, double ms, double step_ms)
{
    if (isnan(ms))
        fputs("<td>–</td>", out);
    else if (step_ms > 0)
        fprintf(out, "<td>%.3g <small>%.0f%%</small></td>", ms, 100 * ms / step_ms);
    else
        fprintf(out, "<td>%.3g</td>", ms);
}

static void draw_table(FILE *out, const struct runs *runs)
{
    struct parts parts;
    fputs("<div class=\"scroll\"><table><thead><tr><th>ms of a step</th><th>step</th>", out);
    for (int k = 0; k < PARTS; k++)
        fprintf(out, "<th>%s</th>", part_names[k]);
    for (int k = 0; k < BESIDE; k++)
        fprintf(out, "<th>%s*</th>", beside_names[k]);
    fputs("</tr></thead><tbody>\n", out);
    for (int i = 0; i < runs->count; i++) {
        if (!settled_parts(runs->run[i], &parts))
            continue;
        fputs("<tr><th>", out);
        report_run_name(out, runs, i);
        fputs("</th>", out);
        table_cell(out, parts.step_ms, 0);
        for (int k = 0; k < PARTS; k++)
            table_cell(out, parts.ms[k], parts.step_ms);
        for (int k = 0; k < BESIDE; k++)
            table_cell(out, parts.beside_ms[k], 0);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n<p class=\"dim\">Means over the second half of each run. comm is what "
          "time/comm_exposed_ms "
          "leaves without straggler, the wait for the slowest rank. * summed over the loader's threads, beside the "
          "step: they cost "
          "time only as data wait.</p>\n",
          out);
}

/* Means over up to COLUMNS_MAX groups of rows that have a step time. */
static void draw_stack(FILE *out, const struct run_data *run)
{
    static const int colours[PARTS] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t group = run->row_count / COLUMNS_MAX + 1, columns = 0;
    double *x = calloc((PARTS + 1) * (size_t)(run->row_count / group + 1), sizeof *x);
    const double *values[PARTS];
    VT_CHECK(x);
    for (int k = 0; k < PARTS; k++)
        values[k] = x + (k + 1) * (run->row_count / group + 1);
    for (int64_t from = 0; from < run->row_count; from += group) {
        struct parts parts;
        int64_t to = from + group < run->row_count ? from + group : run->row_count;
        if (!mean_parts(run, from, to, &parts))
            continue;
        x[columns] = (double)run->rows[to - 1].step;
        for (int k = 0; k < PARTS; k++)
            x[(k + 1) * (run->row_count / group + 1) + columns] = parts.ms[k];
        columns++;
    }
    char title[256];
    snprintf(title, sizeof title, "%s: ms of a step", run->label);
    struct svg_stack stack = {.title = title,
                              .x_label = "steps",
                              .x_number = SVG_COUNT,
                              .width = 560,
                              .height = 300,
                              .layer_count = PARTS,
                              .labels = part_names,
                              .colours = colours,
                              .count = columns,
                              .x = x,
                              .values = values};
    fputs("<figure class=\"card\">", out);
    svg_draw_stack(out, &stack);
    fputs("</figure>\n", out);
    free(x);
}

void report_time(FILE *out, const struct runs *runs)
{
    struct parts parts;
    int known = 0, drawn = 0;
    for (int i = 0; i < runs->count; i++)
        known += settled_parts(runs->run[i], &parts);
    if (known == 0)
        return;
    fputs("<h2>Time of a step</h2>\n<div class=\"card\">\n", out);
    draw_bars(out, runs);
    draw_table(out, runs);
    fputs("</div>\n<p></p>\n<div class=\"grid\">\n", out);
    for (int i = 0; i < runs->count && drawn < STACKS_MAX; i++)
        if (settled_parts(runs->run[i], &parts) && runs->run[i]->row_count > 1) {
            draw_stack(out, runs->run[i]);
            drawn++;
        }
    fputs("</div>\n", out);
}
