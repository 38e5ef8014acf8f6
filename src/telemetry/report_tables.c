/* The table of runs: one row each, final and best metrics. */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/text.h"
#include "telemetry/curve.h"
#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

void report_run_name(FILE *out, const struct runs *runs, int index)
{
    fprintf(out, "<span class=\"run\" title=\"");
    svg_escape(out, runs->run[index]->dir);
    fprintf(out, "\"><i class=\"dot s%d\"></i>", index % SVG_COLOURS);
    svg_escape(out, runs->run[index]->label);
    fputs("</span>", out);
}

/* Row of a metric's last value, or of its highest (sign 1) or lowest (sign -1); -1 without one. */
static int64_t find_row(const struct run_data *run, const char *metric, int sign)
{
    const double *values = run_data_column(run, metric);
    int64_t found = -1;
    for (int64_t r = 0; values && r < run->row_count; r++)
        if (curve_drawable(values[r]) && (sign == 0 || found < 0 || sign * values[r] > sign * values[found]))
            found = r;
    return found;
}

static void put_metric(FILE *out, const struct run_data *run, const char *metric, int sign, enum svg_number number)
{
    int64_t row = find_row(run, metric, sign);
    if (row < 0)
        return;
    char text[48];
    double value = run_data_column(run, metric)[row];
    if (number == SVG_PERCENT)
        snprintf(text, sizeof text, "%.2f%%", 100 * value);
    else
        snprintf(text, sizeof text, "%.4f", value);
    fputs(text, out);
    if (sign != 0)
        fprintf(out, " <small>at %lld</small>", (long long)run->rows[row].step);
}

static void put_count(FILE *out, double value)
{
    char text[48];
    if (!curve_drawable(value))
        return;
    text_format_count(value, text, sizeof text);
    fputs(text, out);
}

/* One column of the table of runs; writes nothing where the run does not know. */
struct column {
    const char *title;
    void (*put)(FILE *out, const struct run_data *run, const struct run_row *last);
};

static void put_steps(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)run;
    fprintf(out, "%lld", (long long)last->step);
}
static void put_epochs(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)run;
    if (curve_drawable(last->epoch))
        fprintf(out, "%.4g", last->epoch);
}
static void put_images(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)run;
    put_count(out, last->images);
}
static void put_hours(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)run;
    char text[48];
    text_format_seconds(3600 * last->hours, text, sizeof text);
    if (last->hours > 0)
        fputs(text, out);
}
static void put_train_loss(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    const double *values = run_data_column(run, "train/loss");
    double sum = 0;
    int64_t used = 0, wanted = (run->row_count + 19) / 20; /* the last 5 % of the points */
    for (int64_t r = run->row_count - 1; values && r >= 0 && used < wanted; r--)
        if (curve_drawable(values[r])) {
            sum += values[r];
            used++;
        }
    if (used > 0)
        fprintf(out, "%.4f", sum / (double)used);
}
static void put_val_loss(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    put_metric(out, run, "val/loss", 0, SVG_PLAIN);
}
static void put_val_top1(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    put_metric(out, run, "val/top1", 0, SVG_PERCENT);
}
static void put_best_top1(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    put_metric(out, run, "val/top1", 1, SVG_PERCENT);
}
static void put_rate(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    const double *values = run_data_column(run, "perf/images_per_s");
    put_count(out, values ? curve_quantile(values, run->row_count, 0.5) : NAN);
}
static void put_mfu(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    const double *values = run_data_column(run, "perf/mfu");
    double value = values ? curve_quantile(values, run->row_count, 0.5) : NAN;
    if (curve_drawable(value))
        fprintf(out, "%.1f%%", 100 * value);
}
static void put_attempts(FILE *out, const struct run_data *run, const struct run_row *last)
{
    (void)last;
    int resumed = 0;
    for (int64_t r = 1; r < run->row_count; r++)
        resumed += run->rows[r].attempt != run->rows[r - 1].attempt;
    if (resumed > 0)
        fprintf(out, "%d", resumed);
}

static const struct column columns[] = {
    {"steps", put_steps},
    {"epochs", put_epochs},
    {"images", put_images},
    {"time", put_hours},
    {"train/loss, last 5%", put_train_loss},
    {"val/loss", put_val_loss},
    {"val/top1", put_val_top1},
    {"best val/top1", put_best_top1},
    {"images/s, median", put_rate},
    {"MFU, median", put_mfu},
    {"resumed", put_attempts},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* What a column says of a run, malloc'ed; "" for nothing. */
static char *cell_text(const struct column *column, const struct run_data *run)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    VT_CHECK(out);
    if (run->row_count > 0)
        column->put(out, run, &run->rows[run->row_count - 1]);
    VT_CHECK(fclose(out) == 0);
    return text;
}

static bool column_says_something(const struct column *column, const struct runs *runs)
{
    bool any = false;
    for (int i = 0; i < runs->count && !any; i++) {
        char *text = cell_text(column, runs->run[i]);
        any = *text != '\0';
        free(text);
    }
    return any;
}

static void put_notes(FILE *out, const struct runs *runs)
{
    for (int i = 0; i < runs->count; i++) {
        const struct run_data *run = runs->run[i];
        bool words = run->environment && *run->environment;
        if (!words && run->skipped_lines == 0 && run->superseded_rows == 0)
            continue;
        fputs("<p class=\"dim\">", out);
        report_run_name(out, runs, i);
        fputs(": ", out);
        if (words)
            svg_escape(out, run->environment);
        if (run->superseded_rows > 0)
            fprintf(out, "%s%lld records were superseded after a resume", words ? " · " : "",
                    (long long)run->superseded_rows);
        if (run->skipped_lines > 0)
            fprintf(out, "%s%lld of %lld lines of metrics.jsonl could not be read and are left out",
                    words || run->superseded_rows > 0 ? " · " : "", (long long)run->skipped_lines,
                    (long long)run->lines);
        fputs("</p>\n", out);
    }
}

void report_run_table(FILE *out, const struct runs *runs)
{
    bool shown[COLUMNS];
    fputs("<div class=\"card\"><div class=\"scroll\"><table><thead><tr><th>run</th>", out);
    for (int c = 0; c < COLUMNS; c++) {
        shown[c] = column_says_something(&columns[c], runs);
        if (shown[c])
            fprintf(out, "<th>%s</th>", columns[c].title);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (int i = 0; i < runs->count; i++) {
        fputs("<tr><th>", out);
        report_run_name(out, runs, i);
        fputs("</th>", out);
        for (int c = 0; c < COLUMNS; c++) {
            if (!shown[c])
                continue;
            char *text = cell_text(&columns[c], runs->run[i]);
            fprintf(out, "<td>%s</td>", *text ? text : "–");
            free(text);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div></div>\n", out);
    put_notes(out, runs);
}
