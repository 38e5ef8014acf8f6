/* Curves of metrics: which axis, smoothed or not, how numbers are written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "telemetry/curve.h"
#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

enum { RAW_BUCKETS = 240, SMOOTH_BUCKETS = 160, DOTS_MAX = 60, MARKS_MAX = 200 };

const char *const report_axis_ids[AXIS_COUNT] = {"step", "images", "hours", "flops"};
const char *const report_axis_labels[AXIS_COUNT] = {"steps", "images seen", "hours", "FLOPs"};

/* How a metric is drawn; a name ending in '/' stands for all that begin with it. */
struct look {
    const char *name, *title;
    enum svg_number number;
    bool smooth, from_zero, only_if_any; /* only_if_any: all zeros is good news, not a chart */
};
static const struct look looks[] = {
    {"val/top1", "val/top1: validation accuracy", SVG_PERCENT, false, false, false},
    {"val/top5", "val/top5: right answer among five", SVG_PERCENT, false, false, false},
    {"val/loss", "val/loss", SVG_PLAIN, false, false, false},
    {"train/loss", "train/loss", SVG_PLAIN, true, false, false},
    {"optim/lr", "optim/lr: learning rate", SVG_SCIENTIFIC, false, true, false},
    {"optim/grad_norm", "optim/grad_norm: gradient norm before clipping", SVG_PLAIN, true, false, false},
    {"optim/skipped", "optim/skipped: steps skipped as non-finite", SVG_PLAIN, false, true, true},
    {"perf/images_per_s", "perf/images_per_s", SVG_COUNT, true, true, false},
    {"perf/mfu", "perf/mfu: of the datasheet peak", SVG_PERCENT, true, true, false},
    {"perf/mfu_of_gemm_peak", "perf/mfu_of_gemm_peak: of the measured GEMM peak", SVG_PERCENT, true, true, false},
    {"train/", NULL, SVG_PLAIN, true, false, false},
    {"perf/", NULL, SVG_COUNT, true, true, false},
    {"", NULL, SVG_PLAIN, false, false, false},
};

static const struct look *look_of(const char *metric)
{
    const struct look *look = looks;
    for (;; look++) {
        size_t size = strlen(look->name);
        bool prefix = size == 0 || look->name[size - 1] == '/';
        if (prefix ? strncmp(metric, look->name, size) == 0 : strcmp(metric, look->name) == 0)
            return look;
    }
}

double report_axis_value(const struct run_data *run, int64_t row, enum report_axis axis)
{
    const struct run_row *at = &run->rows[row];
    switch (axis) {
    case AXIS_STEP:
        return (double)at->step;
    case AXIS_IMAGES:
        return at->images;
    case AXIS_HOURS:
        return run->rows[run->row_count - 1].hours > 0 ? at->hours : NAN;
    default:
        return at->images * run->flops_per_image;
    }
}

bool report_has_axis(const struct runs *runs, enum report_axis axis)
{
    for (int i = 0; i < runs->count; i++)
        if (runs->run[i]->row_count > 0 && report_axis_value(runs->run[i], runs->run[i]->row_count - 1, axis) > 0)
            return true;
    return false;
}

bool report_has_metric(const struct runs *runs, const char *name)
{
    for (int i = 0; i < runs->count; i++) {
        const double *values = run_data_column(runs->run[i], name);
        for (int64_t r = 0; values && r < runs->run[i]->row_count; r++)
            if (curve_drawable(values[r]))
                return true;
    }
    return false;
}

static bool is_ever_positive(const struct runs *runs, const char *name)
{
    for (int i = 0; i < runs->count; i++) {
        const double *values = run_data_column(runs->run[i], name);
        for (int64_t r = 0; values && r < runs->run[i]->row_count; r++)
            if (values[r] > 0)
                return true;
    }
    return false;
}

/* The lines of a chart while it is drawn; points[k] holds x, then y of line k. */
struct builder {
    struct svg_chart chart;
    struct svg_line *lines;
    double **points;
    double marks[MARKS_MAX];
};

static void add_line(struct builder *builder, struct svg_line line, const double *x, const double *y, int64_t count,
                     int buckets)
{
    int64_t capacity = 2 * (int64_t)buckets + 2;
    double *points = malloc(2 * (size_t)capacity * sizeof *points);
    VT_CHECK(points);
    line.count = curve_thin(x, y, count, buckets, points, points + capacity);
    line.x = points;
    line.y = points + capacity;
    line.dots = !line.faint && line.count <= DOTS_MAX;
    int k = builder->chart.line_count++;
    builder->points[k] = points;
    builder->lines[k] = line;
}

static void add_marks(struct builder *builder, const struct run_data *run, enum report_axis axis)
{
    for (int64_t r = 1; r < run->row_count && builder->chart.mark_count < MARKS_MAX; r++)
        if (run->rows[r].attempt != run->rows[r - 1].attempt)
            builder->marks[builder->chart.mark_count++] = report_axis_value(run, r, axis);
}

/* The points a run has of the metric: x and y of row_count places. */
static int64_t collect(const struct run_data *run, const double *values, enum report_axis axis, double *x, double *y)
{
    int64_t used = 0;
    for (int64_t r = 0; r < run->row_count; r++) {
        double at = report_axis_value(run, r, axis);
        if (!curve_drawable(values[r]) || !curve_drawable(at))
            continue;
        x[used] = at;
        y[used++] = values[r];
    }
    return used;
}

static void add_run(struct builder *builder, const struct runs *runs, int index, const char *metric,
                    enum report_axis axis)
{
    const struct run_data *run = runs->run[index];
    const double *values = run_data_column(run, metric);
    if (!values || run->row_count == 0)
        return;
    size_t n = (size_t)run->row_count;
    double *x = malloc(3 * n * sizeof *x), *y = x + n, *smooth = y + n;
    VT_CHECK(x);
    int64_t count = collect(run, values, axis, x, y);
    double window = look_of(metric)->smooth ? curve_window(count) : 1;
    struct svg_line line = {.label = runs->count > 1 ? run->label : NULL, .colour = index};
    if (window >= 2) {
        struct svg_line raw = {.colour = index,
                               .faint = true,
                               .low = curve_quantile(y, count, 0.01),
                               .high = curve_quantile(y, count, 0.99)};
        add_line(builder, raw, x, y, count, RAW_BUCKETS);
        curve_smooth(y, count, window, smooth);
        y = smooth;
    }
    if (count > 0) {
        add_line(builder, line, x, y, count, window >= 2 ? SMOOTH_BUCKETS : RAW_BUCKETS);
        add_marks(builder, run, axis);
    }
    free(x);
}

static void build(struct builder *builder, const struct runs *runs, const char *metric, enum report_axis axis)
{
    const struct look *look = look_of(metric);
    builder->lines = calloc(2 * (size_t)runs->count, sizeof *builder->lines);
    builder->points = calloc(2 * (size_t)runs->count, sizeof *builder->points);
    VT_CHECK(builder->lines && builder->points);
    for (int i = 0; i < runs->count; i++)
        add_run(builder, runs, i, metric, axis);
    builder->chart.title = look->title ? look->title : metric;
    builder->chart.x_label = report_axis_labels[axis];
    builder->chart.x_number = axis == AXIS_HOURS ? SVG_PLAIN : SVG_COUNT;
    builder->chart.y_number = look->number;
    builder->chart.from_zero = look->from_zero;
    builder->chart.lines = builder->lines;
    builder->chart.marks = builder->marks;
}

static void finish(struct builder *builder)
{
    for (int k = 0; k < builder->chart.line_count; k++)
        free(builder->points[k]);
    free(builder->points);
    free(builder->lines);
}

void report_metric_chart(FILE *out, const struct runs *runs, const char *metric, enum report_axis axis, int width,
                         int height)
{
    struct builder builder = {.chart = {.width = width, .height = height}};
    build(&builder, runs, metric, axis);
    svg_draw_chart(out, &builder.chart);
    finish(&builder);
}

void report_metric_chart_at(FILE *out, const struct runs *runs, const char *metric, int width, int height, int left,
                            int top)
{
    struct builder builder = {.chart = {.width = width, .height = height}};
    build(&builder, runs, metric, AXIS_STEP);
    svg_draw_chart_at(out, &builder.chart, left, top);
    finish(&builder);
}

static void draw_card(FILE *out, const struct runs *runs, const char *metric)
{
    fputs("<figure class=\"card\">\n", out);
    for (int axis = 0; axis < AXIS_COUNT; axis++) {
        if (!report_has_axis(runs, axis))
            continue;
        fprintf(out, "<div class=\"by-%s\">", report_axis_ids[axis]);
        report_metric_chart(out, runs, metric, axis, 560, 300);
        fputs("</div>\n", out);
    }
    fputs("</figure>\n", out);
}

static bool is_listed(const char *metric)
{
    return look_of(metric)->title != NULL;
}

/* Metrics of any run that the list does not name: evaluators by their own names, whatever a later version writes. */
static void draw_unlisted(FILE *out, const struct runs *runs)
{
    for (int i = 0; i < runs->count; i++)
        for (int c = 0; c < runs->run[i]->column_count; c++) {
            const char *name = runs->run[i]->columns[c].name;
            bool seen = is_listed(name) || strncmp(name, "time/", 5) == 0;
            for (int before = 0; before < i && !seen; before++)
                seen = run_data_column(runs->run[before], name) != NULL;
            if (!seen && report_has_metric(runs, name))
                draw_card(out, runs, name);
        }
}

void report_curves(FILE *out, const struct runs *runs)
{
    fputs("<h2>Curves</h2>\n<div class=\"grid\">\n", out);
    for (const struct look *look = looks; look->title; look++)
        if (report_has_metric(runs, look->name) && (!look->only_if_any || is_ever_positive(runs, look->name)))
            draw_card(out, runs, look->name);
    draw_unlisted(out, runs);
    fputs("</div>\n", out);
}
