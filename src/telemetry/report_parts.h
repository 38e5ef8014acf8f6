/* The parts of the report page, in its order. Each writes a whole block of HTML, or nothing when the runs have nothing
 * for it. */
#ifndef VT_TELEMETRY_REPORT_PARTS_H
#define VT_TELEMETRY_REPORT_PARTS_H

#include <stdbool.h>
#include <stdio.h>

#include "telemetry/run_data.h"

/* Style sheets: of charts (also in stand-alone SVG), and of the page around them. */
extern const char report_chart_style[], report_page_style[];

struct runs {
    int count;
    struct run_data **run; /* [count] */
};

/* What a chart's horizontal axis counts. */
enum report_axis { AXIS_STEP, AXIS_IMAGES, AXIS_HOURS, AXIS_FLOPS, AXIS_COUNT };
extern const char *const report_axis_ids[AXIS_COUNT];    /* "step", for element names */
extern const char *const report_axis_labels[AXIS_COUNT]; /* "steps", for people */
/* NaN where the run does not know. */
double report_axis_value(const struct run_data *run, int64_t row, enum report_axis axis);
/* Does any run know it? */
bool report_has_axis(const struct runs *runs, enum report_axis axis);
bool report_has_metric(const struct runs *runs, const char *name);

/* One metric, all runs, over one axis: a whole <svg>, or within another at (left, top). */
void report_metric_chart(FILE *out, const struct runs *runs, const char *metric, enum report_axis axis, int width,
                         int height);
void report_metric_chart_at(FILE *out, const struct runs *runs, const char *metric, int width, int height, int left,
                            int top);

void report_run_table(FILE *out, const struct runs *runs);
void report_curves(FILE *out, const struct runs *runs);
void report_time(FILE *out, const struct runs *runs);
void report_classes(FILE *out, const struct runs *runs);
void report_config(FILE *out, const struct runs *runs);

/* A run's name with its colour, as a table's row heading. */
void report_run_name(FILE *out, const struct runs *runs, int index);

#endif
