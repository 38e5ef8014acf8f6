#include "convert/position_resize.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

/* The cubic convolution kernel with a = -0.5; support 2. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* weights[to][from]: row i of the 1-d resize. Shrinking widens the kernel by the scale (antialiasing). */
static void resize_weights(int from, int to, double *weights)
{
    const double scale = (double)from / to, stretch = scale > 1 ? scale : 1, support = 2 * stretch;
    for (int i = 0; i < to; i++) {
        const double centre = scale * (i + 0.5);
        int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        last = last > from ? from : last;
        double total = 0, *row = weights + (long)i * from;
        for (int j = first; j < last; j++)
            total += row[j] = cubic((j - centre + 0.5) / stretch);
        for (int j = first; j < last; j++)
            row[j] /= total;
    }
}

void position_resize(const float *source, int from, int to, int width, float *target)
{
    double *weights = calloc((size_t)from * (size_t)to, sizeof *weights);
    double *row = calloc((size_t)from * (size_t)width, sizeof *row);
    VT_CHECK(weights && row);
    resize_weights(from, to, weights);
    for (int y = 0; y < to; y++) {
        for (int i = 0; i < from * width; i++) { /* one target row: the columns of all source rows mixed */
            row[i] = 0;
            for (int j = 0; j < from; j++)
                row[i] += weights[(long)y * from + j] * (double)source[(long)j * from * width + i];
        }
        for (int x = 0; x < to; x++)
            for (int d = 0; d < width; d++) {
                double sum = 0;
                for (int j = 0; j < from; j++)
                    sum += weights[(long)x * from + j] * row[j * width + d];
                target[((long)y * to + x) * width + d] = (float)sum;
            }
    }
    free(weights);
    free(row);
}
