/* The accuracy of classes, from eval.json. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "telemetry/curve.h"
#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

enum { CLASSES_ALL = 60, CLASSES_WORST = 30, CLASSES_BEST = 10, HISTOGRAM_BINS = 20 };

static double accuracy_of(const struct run_class *class)
{
    return (double)class->correct / (double)class->count;
}

/* Best first; equal ones by name, so that two reports agree. */
static int compare_classes(const void *a, const void *b)
{
    const struct run_class *x = *(const struct run_class *const *)a, *y = *(const struct run_class *const *)b;
    double difference = accuracy_of(y) - accuracy_of(x);
    return difference != 0 ? (difference > 0 ? 1 : -1) : strcmp(x->name, y->name);
}

static void put_class_rows(FILE *out, const struct run_class *const *classes, int from, int to, int colour)
{
    fputs("<div class=\"classes\">\n", out);
    for (int k = from; k < to; k++) {
        fputs("<div class=\"class\"><span>", out);
        svg_escape(out, classes[k]->name);
        fprintf(out,
                "</span><div class=\"bar\"><i class=\"s%d\" style=\"width:%.1f%%\"></i></div><span>%.1f%% "
                "(%lld/%lld)</span></div>\n",
                colour, 100 * accuracy_of(classes[k]), 100 * accuracy_of(classes[k]), (long long)classes[k]->correct,
                (long long)classes[k]->count);
    }
    fputs("</div>\n", out);
}

static void put_histogram(FILE *out, const struct run_class *const *classes, int count, int colour)
{
    int bins[HISTOGRAM_BINS] = {0}, highest = 1;
    for (int k = 0; k < count; k++) {
        int bin = (int)(accuracy_of(classes[k]) * HISTOGRAM_BINS);
        bin = bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1;
        highest = ++bins[bin] > highest ? bins[bin] : highest;
    }
    fprintf(out, "<h3>Classes by accuracy</h3><div class=\"hist s%d\">", colour);
    for (int b = 0; b < HISTOGRAM_BINS; b++)
        fprintf(out, "<i style=\"height:%.1f%%\" title=\"%d classes from %d%% to %d%%\"></i>",
                100.0 * bins[b] / highest, bins[b], b * 100 / HISTOGRAM_BINS, (b + 1) * 100 / HISTOGRAM_BINS);
    fputs("</div><div class=\"ends\"><span>0%</span><span>50%</span><span>100%</span></div>\n", out);
}

static void put_run_classes(FILE *out, const struct runs *runs, int index)
{
    const struct run_data *run = runs->run[index];
    const struct run_class **sorted = calloc((size_t)run->class_count + 1, sizeof *sorted);
    int count = 0, colour = index % SVG_COLOURS;
    VT_CHECK(sorted);
    for (int k = 0; k < run->class_count; k++)
        if (run->classes[k].count > 0)
            sorted[count++] = &run->classes[k];
    qsort(sorted, (size_t)count, sizeof *sorted, compare_classes);
    fputs("<div class=\"card\"><h3>", out);
    report_run_name(out, runs, index);
    if (curve_drawable(run->eval_top1))
        fprintf(out, " <span class=\"dim\">top-1 %.2f%% over %d classes</span>", 100 * run->eval_top1, count);
    fputs("</h3>\n", out);
    if (count <= CLASSES_ALL) {
        put_class_rows(out, sorted, 0, count, colour);
    } else {
        put_histogram(out, sorted, count, colour);
        fprintf(out, "<h3>Best %d</h3>", CLASSES_BEST);
        put_class_rows(out, sorted, 0, CLASSES_BEST, colour);
        fprintf(out, "<h3 style=\"margin-top:14px\">Worst %d</h3>", CLASSES_WORST);
        put_class_rows(out, sorted, count - CLASSES_WORST, count, colour);
    }
    fputs("</div><p></p>\n", out);
    free(sorted);
}

void report_classes(FILE *out, const struct runs *runs)
{
    bool headed = false;
    for (int i = 0; i < runs->count; i++) {
        if (runs->run[i]->class_count == 0)
            continue;
        if (!headed)
            fputs("<h2>Accuracy by class</h2>\n", out);
        headed = true;
        put_run_classes(out, runs, i);
    }
}
