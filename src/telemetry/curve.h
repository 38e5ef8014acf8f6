/* Pure work on the points of a curve: smoothing and thinning before it is drawn. */
#ifndef VT_TELEMETRY_CURVE_H
#define VT_TELEMETRY_CURVE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Finite and of a size that axes can show: what the functions here call a point. */
static inline bool curve_drawable(double value)
{
    return fabs(value) < 1e30;
}

/* Exponential moving average to both sides: out[i] = sum of keep^|k-i| y[k] / sum of keep^|k-i| over the drawable
 * points k, with keep = 1 - 1 / window; so it does not trail behind the curve as a one-sided average does. Distances
 * count drawable points only; others come out NaN. out is not y. */
void curve_smooth(const double *y, int64_t count, double window, double *out);
/* The window for a curve of so many points; below 2 means: do not smooth. */
double curve_window(int64_t count);
/* Keep the drawable points, and of each of `buckets` equal ranges of x at most the lowest and the highest, in their
 * order. Writes at most 2 * buckets + 2 points (first and last stay). Returns how many. */
int64_t curve_thin(const double *x, const double *y, int64_t count, int buckets, double *xs, double *ys);
/* The value below which `fraction` of the drawable values lie; NaN when there are none. */
double curve_quantile(const double *y, int64_t count, double fraction);

#endif
