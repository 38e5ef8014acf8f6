/* Charts as inline SVG: axes, ticks, grid, legend. Colours are classes (s0..s7 for runs, t0..t7 for layers) that the
 * style sheet of report_style.c sets for light and dark pages. All text is escaped here; callers pass it raw. */
#ifndef VT_TELEMETRY_SVG_H
#define VT_TELEMETRY_SVG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { SVG_COLOURS = 8 };

/* How an axis writes its numbers. */
enum svg_number { SVG_PLAIN, SVG_COUNT, SVG_PERCENT, SVG_SCIENTIFIC };

struct svg_line {
    const char *label; /* NULL: not in the legend */
    int colour;        /* any number >= 0; the palette repeats, then dashed */
    bool faint;        /* the raw curve behind a smoothed one */
    double low, high;  /* of a faint line: what the y axis shows of it, so that spikes do not flatten the rest */
    bool dots;
    int64_t count;
    const double *x, *y; /* [count], x not decreasing; points that are not drawable (curve.h) are left out */
};

struct svg_chart {
    const char *title, *x_label;
    enum svg_number x_number, y_number;
    bool from_zero;
    int width, height;
    int line_count;
    const struct svg_line *lines;
    int mark_count;
    const double *marks; /* x of vertical lines: restarts */
};

/* Layers on top of each other, first at the bottom: layer k at point i is values[k][i] >= 0. */
struct svg_stack {
    const char *title, *x_label;
    enum svg_number x_number;
    int width, height;
    int layer_count;
    const char *const *labels;
    const int *colours;
    int64_t count;
    const double *x, *const *values;
};

/* A whole <svg> element. Without a single point it says "no data". */
void svg_draw_chart(FILE *out, const struct svg_chart *chart);
void svg_draw_stack(FILE *out, const struct svg_stack *stack);
/* The same within another <svg>, its corner at (left, top). */
void svg_draw_chart_at(FILE *out, const struct svg_chart *chart, int left, int top);

/* Text with & < > " ' escaped, control characters replaced: fit for elements and quoted attributes. */
void svg_escape(FILE *out, const char *text);
/* A number as an axis writes it; `step` is the distance of its ticks (0 = three significant digits). */
void svg_format(double value, double step, enum svg_number kind, char *text, size_t bytes);
/* The 1, 2, 5 x 10^k step that gives about `wanted` ticks over `span` > 0. */
double svg_tick_step(double span, int wanted);

#endif
