#include "telemetry/curve.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

/* Backwards first: out[i] = sum of keep^(k-i) y[k] over k > i, weights likewise; then forwards, adding k <= i. */
void curve_smooth(const double *y, int64_t count, double window, double *out)
{
    double keep = 1 - 1 / (window < 1 ? 1 : window), sum = 0, weight = 0;
    double *weights = malloc((size_t)(count + 1) * sizeof *weights);
    VT_CHECK(weights);
    for (int64_t i = count - 1; i >= 0; i--) {
        out[i] = sum * keep;
        weights[i] = weight * keep;
        if (!curve_drawable(y[i]))
            continue;
        sum = keep * sum + y[i];
        weight = keep * weight + 1;
    }
    sum = weight = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!curve_drawable(y[i])) {
            out[i] = NAN;
            continue;
        }
        sum = keep * sum + y[i];
        weight = keep * weight + 1;
        out[i] = (sum + out[i]) / (weight + weights[i]);
    }
    free(weights);
}

double curve_window(int64_t count)
{
    if (count < 100)
        return 1;
    return fmin((double)count / 50, 200);
}

static int64_t copy_finite(const double *x, const double *y, int64_t count, double *xs, double *ys)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!curve_drawable(x[i]) || !curve_drawable(y[i]))
            continue;
        xs[used] = x[i];
        ys[used++] = y[i];
    }
    return used;
}

/* Points low and high of one bucket, the earlier one first. */
static int64_t put_bucket(const double *x, const double *y, int64_t low, int64_t high, double *xs, double *ys,
                          int64_t used)
{
    int64_t first = low < high ? low : high, second = low < high ? high : low;
    xs[used] = x[first];
    ys[used++] = y[first];
    if (second != first) {
        xs[used] = x[second];
        ys[used++] = y[second];
    }
    return used;
}

int64_t curve_thin(const double *x, const double *y, int64_t count, int buckets, double *xs, double *ys)
{
    VT_CHECK(buckets > 0);
    int64_t first = -1, last = -1, finite = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!curve_drawable(x[i]) || !curve_drawable(y[i]))
            continue;
        first = first < 0 ? i : first;
        last = i;
        finite++;
    }
    if (finite <= 2 * (int64_t)buckets || !(x[last] > x[first]))
        return copy_finite(x, y, finite <= 2 * (int64_t)buckets ? count : first + 1, xs, ys);
    double scale = buckets / (x[last] - x[first]);
    int64_t used = 0, low = first, high = first;
    int current = 0;
    xs[used] = x[first];
    ys[used++] = y[first];
    for (int64_t i = first; i <= last; i++) {
        if (!curve_drawable(x[i]) || !curve_drawable(y[i]))
            continue;
        int bucket = (int)fmin((x[i] - x[first]) * scale, buckets - 1);
        if (bucket != current) {
            used = put_bucket(x, y, low, high, xs, ys, used);
            current = bucket;
            low = high = i;
        }
        low = y[i] < y[low] ? i : low;
        high = y[i] > y[high] ? i : high;
    }
    used = put_bucket(x, y, low, high, xs, ys, used);
    xs[used] = x[last];
    ys[used++] = y[last];
    return used;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double curve_quantile(const double *y, int64_t count, double fraction)
{
    double *sorted = malloc((size_t)(count + 1) * sizeof *sorted), value = NAN;
    VT_CHECK(sorted);
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++)
        if (curve_drawable(y[i]))
            sorted[used++] = y[i];
    if (used > 0) {
        qsort(sorted, (size_t)used, sizeof *sorted, compare_doubles);
        value = sorted[(int64_t)(fraction * (double)(used - 1) + 0.5)];
    }
    free(sorted);
    return value;
}
