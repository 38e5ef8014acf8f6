#include "train/op_time.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/philox.h"

enum { READINGS_MAX = 64, DEVICE_RUNS_MIN = 10, DEVICE_RUNS_MAX = 200, HOST_RUNS_MAX = 1000 };
static const double READING_SECONDS = 1e-3; /* long enough for either clock */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

/* Random values; past the first million they repeat. */
vt_status bench_buffer(struct backend *be, size_t bytes, enum dtype dtype, void **out)
{
    enum { PATTERN = 1 << 20 };
    VT_TRY(be->alloc(be, MEMORY_DEVICE, bytes, "bench", out));
    size_t element = dtype_bytes(dtype), count = bytes / element < PATTERN ? bytes / element : PATTERN;
    float *values = malloc((count + 1) * sizeof(float));
    if (!values)
        return VT_FAIL(VT_E_MEMORY, "no memory for bench data");
    for (size_t i = 0; i < count; i++)
        values[i] = draw_uniform(1, DRAW_SYNTHETIC, bytes, (uint32_t)i) - 0.5f;
    if (dtype == DTYPE_BF16)
        for (size_t i = 0; i < count; i++)
            ((bf16_t *)values)[i] = bf16_from_float(values[i]);
    for (size_t done = 0; done < bytes && count; done += count * element)
        be->upload(be, STREAM_COMPUTE, (char *)*out + done, values, bytes - done < count * element ? bytes - done : count * element);
    vt_status status = be->synchronise(be);
    free(values);
    return status;
}

/* The two ends of a reading. */
struct stopwatch {
    struct backend *be;
    struct event *from, *to; /* NULL: the host's clock */
};

/* Seconds of `runs` enqueues. */
static vt_status read_once(const struct stopwatch *w, void (*enqueue)(void *context), void *context, int runs, double *seconds)
{
    struct backend *be = w->be;
    int64_t start = clock_ns();
    if (w->from)
        be->event_record(be, STREAM_COMPUTE, w->from);
    for (int i = 0; i < runs; i++)
        enqueue(context);
    if (!w->from) {
        VT_TRY(be->synchronise(be));
        *seconds = (double)(clock_ns() - start) * 1e-9;
        return VT_OK;
    }
    be->event_record(be, STREAM_COMPUTE, w->to);
    VT_TRY(be->event_wait(be, w->to));
    VT_TRY(be->event_elapsed(be, w->from, w->to, seconds));
    *seconds *= 1e-3;
    return VT_OK;
}

static int runs_of(double seconds_each, int least, int most)
{
    double runs = READING_SECONDS / (seconds_each > 1e-9 ? seconds_each : 1e-9) + 1;
    return runs < least ? least : runs > most ? most : (int)runs;
}

vt_status op_time(struct backend *be, void (*enqueue)(void *context), void *context, int repetitions, double *seconds)
{
    struct stopwatch w = {.be = be};
    double times[READINGS_MAX], once;
    vt_status status;
    const bool device = be->event_elapsed != NULL;
    int first = device ? DEVICE_RUNS_MIN : 1;
    repetitions = repetitions < 1 ? 1 : repetitions > READINGS_MAX ? READINGS_MAX : repetitions;
    if (device) {
        w.from = be->event_new(be);
        w.to = be->event_new(be);
    }
    enqueue(context);
    VT_TRY_OUT(be->synchronise(be));
    VT_TRY_OUT(read_once(&w, enqueue, context, first, &once));
    int runs = device ? runs_of(once / first, DEVICE_RUNS_MIN, DEVICE_RUNS_MAX) : runs_of(once, 1, HOST_RUNS_MAX);
    for (int i = 0; i < repetitions; i++) {
        VT_TRY_OUT(read_once(&w, enqueue, context, runs, &times[i]));
        times[i] /= runs;
    }
    *seconds = bench_median(times, repetitions);
out:
    if (device) {
        be->event_free(be, w.from);
        be->event_free(be, w.to);
    }
    return status;
}
