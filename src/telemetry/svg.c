#include "telemetry/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "telemetry/curve.h"

enum {
    LEFT = 50,
    RIGHT = 16,
    BOTTOM = 40,
    TITLE_Y = 18,
    LEGEND_Y = 37,
    LEGEND_ROW = 16,
    TICKS_MAX = 24,
    LABEL_MAX = 28
};

struct range {
    double low, high;
};

/* The plot area within the drawing, and what its edges mean. */
struct frame {
    double left, top, width, height;
    struct range x, y;
};

static void include(struct range *range, double value)
{
    if (!curve_drawable(value))
        return;
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

static bool is_empty(const struct range *range)
{
    return range->low > range->high;
}

/* A range of one value still needs a width. */
static void widen(struct range *range)
{
    double size = fmax(fabs(range->low), fabs(range->high));
    if (range->high - range->low > 1e-9 * size && range->high - range->low > 1e-30)
        return;
    double by = size > 1e-20 ? 0.1 * size : 1;
    range->low -= by;
    range->high += by;
}

/* Training starts at 0: show it when the data begin close to it. */
static void settle_x(struct range *range)
{
    if (range->low > 0 && range->low < 0.1 * range->high)
        range->low = 0;
    widen(range);
}

static void pad(struct range *range, bool from_zero)
{
    bool positive = range->low >= 0;
    if (from_zero)
        range->low = fmin(range->low, 0);
    widen(range);
    double by = 0.06 * (range->high - range->low);
    range->high += by;
    range->low = from_zero && positive ? 0 : positive ? fmax(0, range->low - by) : range->low - by;
}

static double place_x(const struct frame *frame, double x)
{
    return (x - frame->x.low) / (frame->x.high - frame->x.low) * frame->width;
}

static double place_y(const struct frame *frame, double y)
{
    /* Far outside values are cut by the plot's edge; keep their text short. */
    double at = frame->height * (1 - (y - frame->y.low) / (frame->y.high - frame->y.low));
    return fmin(fmax(at, -4 * frame->height), 5 * frame->height);
}

static void draw_grid(FILE *out, const struct frame *frame, enum svg_number x_number, enum svg_number y_number)
{
    char text[48];
    double step = svg_tick_step(frame->y.high - frame->y.low, (int)(frame->height / 38));
    double tick = ceil(frame->y.low / step) * step;
    for (int i = 0; i < TICKS_MAX && tick <= frame->y.high + 1e-9 * step; i++, tick += step) {
        double y = frame->top + place_y(frame, tick);
        svg_format(tick, step, y_number, text, sizeof text);
        fprintf(out,
                "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"end\">%s</text>\n",
                frame->left, y, frame->width, frame->left - 7, y + 3.5, text);
    }
    step = svg_tick_step(frame->x.high - frame->x.low, (int)(frame->width / 75));
    tick = ceil(frame->x.low / step) * step;
    for (int i = 0; i < TICKS_MAX && tick <= frame->x.high + 1e-9 * step; i++, tick += step) {
        double x = frame->left + place_x(frame, tick);
        svg_format(tick, step, x_number, text, sizeof text);
        fprintf(out,
                "<path class=\"axis\" d=\"M%.1f %.1fv4\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">%s</text>\n",
                x, frame->top + frame->height, x, frame->top + frame->height + 16, text);
    }
    fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fh%.1f\"/>\n", frame->left, frame->top + frame->height,
            frame->width);
}

/* Cut at LABEL_MAX characters, on a UTF-8 boundary. */
static int shorten(const char *label, char *text, size_t bytes)
{
    int characters = 0;
    size_t used = 0;
    for (; label[used] && used + 8 < bytes; used++) {
        bool starts = ((unsigned char)label[used] & 0xc0) != 0x80;
        if (starts && characters == LABEL_MAX)
            break;
        characters += starts;
        text[used] = label[used];
    }
    snprintf(text + used, bytes - used, label[used] ? "…" : "");
    return characters + (label[used] != '\0');
}

struct legend {
    double x;
    int row, width;
};

/* One swatch and its label at the legend's next place; with out NULL only the place moves. */
static void legend_entry(FILE *out, struct legend *legend, const char *label, const char *class, int colour)
{
    char text[160];
    double width = 22 + 6.3 * shorten(label, text, sizeof text) + 14;
    if (legend->x > LEFT && legend->x + width > legend->width - 4) {
        legend->x = LEFT;
        legend->row++;
    }
    if (out) {
        double y = LEGEND_Y + LEGEND_ROW * legend->row;
        fprintf(out, "<path class=\"%s%d%s\" d=\"M%.1f %.1fh14\"/><text class=\"label\" x=\"%.1f\" y=\"%.1f\">", class,
                colour % SVG_COLOURS, colour >= SVG_COLOURS ? " dash" : "", legend->x, y - 4, legend->x + 20, y);
        svg_escape(out, text);
        fputs("</text>\n", out);
    }
    legend->x += width;
}

static int legend_rows(const struct legend *legend)
{
    return legend->x > LEFT ? legend->row + 1 : 0;
}

static void open_svg(FILE *out, int width, int height, const char *title)
{
    fprintf(
        out,
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
        width, height);
    svg_escape(out, title);
    fputs("\">\n", out);
}

static void draw_text(FILE *out, const char *class, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y, anchor);
    svg_escape(out, text);
    fputs("</text>\n", out);
}

static void draw_empty(FILE *out, int width, int height)
{
    draw_text(out, "note", width / 2.0, height / 2.0, "middle", "no data");
}

/* The frame left over below title and legend rows. */
static struct frame make_frame(int width, int height, int rows)
{
    double top = LEGEND_Y - 6 + LEGEND_ROW * rows;
    return (struct frame){.left = LEFT, .top = top, .width = width - LEFT - RIGHT, .height = height - BOTTOM - top};
}

/* Opens a nested <svg>: what is drawn in it is cut at the plot's edge, with a little room for dots on its sides. */
static void open_plot(FILE *out, const struct frame *frame)
{
    fprintf(out, "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" viewBox=\"-4 0 %.1f %.1f\">\n",
            frame->left - 4, frame->top, frame->width + 8, frame->height, frame->width + 8, frame->height);
}

static void draw_line(FILE *out, const struct frame *frame, const struct svg_line *line)
{
    bool drawing = false;
    fprintf(out, "<path class=\"s%d%s%s\" d=\"", line->colour % SVG_COLOURS, line->colour >= SVG_COLOURS ? " dash" : "",
            line->faint ? " faint" : "");
    for (int64_t i = 0; i < line->count; i++) {
        if (!curve_drawable(line->x[i]) || !curve_drawable(line->y[i]))
            continue;
        fprintf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', place_x(frame, line->x[i]), place_y(frame, line->y[i]));
        drawing = true;
    }
    fputs("\"/>\n", out);
}

static void draw_dots(FILE *out, const struct frame *frame, const struct svg_line *line, const struct svg_chart *chart)
{
    char x[48], y[48];
    for (int64_t i = 0; i < line->count; i++) {
        if (!curve_drawable(line->x[i]) || !curve_drawable(line->y[i]))
            continue;
        svg_format(line->x[i], 0, chart->x_number, x, sizeof x);
        svg_format(line->y[i], 0, chart->y_number, y, sizeof y);
        fprintf(out, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"><title>%s at %s</title></circle>\n",
                line->colour % SVG_COLOURS, place_x(frame, line->x[i]), place_y(frame, line->y[i]), y, x);
    }
}

static void find_ranges(const struct svg_chart *chart, struct frame *frame)
{
    frame->x = frame->y = (struct range){INFINITY, -INFINITY};
    for (int k = 0; k < chart->line_count; k++) {
        const struct svg_line *line = &chart->lines[k];
        for (int64_t i = 0; i < line->count; i++) {
            if (!curve_drawable(line->x[i]) || !curve_drawable(line->y[i]))
                continue;
            include(&frame->x, line->x[i]);
            if (!line->faint)
                include(&frame->y, line->y[i]);
        }
        if (line->faint) {
            include(&frame->y, line->low);
            include(&frame->y, line->high);
        }
    }
}

static void draw_chart_body(FILE *out, const struct svg_chart *chart)
{
    struct legend legend = {.x = LEFT, .width = chart->width};
    for (int k = 0; k < chart->line_count; k++)
        if (chart->lines[k].label)
            legend_entry(NULL, &legend, chart->lines[k].label, "s", 0);
    struct frame frame = make_frame(chart->width, chart->height, legend_rows(&legend));
    legend = (struct legend){.x = LEFT, .width = chart->width};
    for (int k = 0; k < chart->line_count; k++)
        if (chart->lines[k].label)
            legend_entry(out, &legend, chart->lines[k].label, "s", chart->lines[k].colour);
    draw_text(out, "title", LEFT, TITLE_Y, "start", chart->title);
    find_ranges(chart, &frame);
    if (is_empty(&frame.x) || is_empty(&frame.y)) {
        draw_empty(out, chart->width, chart->height);
        return;
    }
    settle_x(&frame.x);
    pad(&frame.y, chart->from_zero);
    draw_grid(out, &frame, chart->x_number, chart->y_number);
    open_plot(out, &frame);
    for (int m = 0; m < chart->mark_count; m++)
        if (chart->marks[m] >= frame.x.low && chart->marks[m] <= frame.x.high)
            fprintf(out, "<path class=\"mark\" d=\"M%.1f 0v%.1f\"><title>resumed</title></path>\n",
                    place_x(&frame, chart->marks[m]), frame.height);
    for (int k = 0; k < chart->line_count; k++) {
        draw_line(out, &frame, &chart->lines[k]);
        if (chart->lines[k].dots)
            draw_dots(out, &frame, &chart->lines[k], chart);
    }
    fputs("</svg>\n", out);
    draw_text(out, "tick", chart->width - RIGHT, chart->height - 6, "end", chart->x_label);
}

void svg_draw_chart(FILE *out, const struct svg_chart *chart)
{
    open_svg(out, chart->width, chart->height, chart->title);
    draw_chart_body(out, chart);
    fputs("</svg>\n", out);
}

void svg_draw_chart_at(FILE *out, const struct svg_chart *chart, int left, int top)
{
    fprintf(out, "<g transform=\"translate(%d %d)\">\n", left, top);
    draw_chart_body(out, chart);
    fputs("</g>\n", out);
}

/* The area between the sums of layers 0..k-1 and 0..k: along the upper edge, back along the lower. */
static void draw_layer(FILE *out, const struct frame *frame, const struct svg_stack *stack, double *lower,
                       double *upper, int k)
{
    int64_t n = stack->count;
    for (int64_t i = 0; i < n; i++)
        upper[i] = lower[i] + fmax(0, stack->values[k][i]);
    fprintf(out, "<path class=\"layer t%d\" d=\"", stack->colours[k] % SVG_COLOURS);
    for (int64_t i = 0; i < n; i++)
        fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', place_x(frame, stack->x[i]), place_y(frame, upper[i]));
    for (int64_t i = n - 1; i >= 0; i--)
        fprintf(out, "L%.1f %.1f", place_x(frame, stack->x[i]), place_y(frame, lower[i]));
    fputs("Z\"><title>", out);
    svg_escape(out, stack->labels[k]);
    fputs("</title></path>\n", out);
    memcpy(lower, upper, (size_t)n * sizeof *lower);
}

static void stack_ranges(const struct svg_stack *stack, struct frame *frame)
{
    frame->x = (struct range){INFINITY, -INFINITY};
    frame->y = (struct range){0, -INFINITY};
    double *totals = calloc((size_t)stack->count + 1, sizeof *totals);
    VT_CHECK(totals);
    for (int64_t i = 0; i < stack->count; i++) {
        include(&frame->x, stack->x[i]);
        for (int k = 0; k < stack->layer_count; k++)
            totals[i] += fmax(0, stack->values[k][i]);
    }
    /* One slow step (the first, an evaluation) must not flatten all others. */
    include(&frame->y, 1.15 * curve_quantile(totals, stack->count, 0.97));
    free(totals);
}

void svg_draw_stack(FILE *out, const struct svg_stack *stack)
{
    open_svg(out, stack->width, stack->height, stack->title);
    draw_text(out, "title", LEFT, TITLE_Y, "start", stack->title);
    struct legend legend = {.x = LEFT, .width = stack->width};
    for (int k = 0; k < stack->layer_count; k++)
        legend_entry(out, &legend, stack->labels[k], "sw t", stack->colours[k]);
    struct frame frame = make_frame(stack->width, stack->height, legend_rows(&legend));
    stack_ranges(stack, &frame);
    if (stack->count < 2 || !(frame.y.high > 0)) {
        draw_empty(out, stack->width, stack->height);
    } else {
        double *edges = calloc(2 * (size_t)stack->count, sizeof *edges);
        VT_CHECK(edges);
        settle_x(&frame.x);
        draw_grid(out, &frame, stack->x_number, SVG_PLAIN);
        open_plot(out, &frame);
        for (int k = 0; k < stack->layer_count; k++)
            draw_layer(out, &frame, stack, edges, edges + stack->count, k);
        fputs("</svg>\n", out);
        draw_text(out, "tick", stack->width - RIGHT, stack->height - 6, "end", stack->x_label);
        free(edges);
    }
    fputs("</svg>\n", out);
}
