/* The antialiased separable resize of Pillow (libImaging/Resample.c): same coefficients, same rounding, same order,
 * hence the same bits. Horizontal pass first, over the source rows the vertical pass needs; 8 bits in between. */
#include "image/resize.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "image/image.h"

enum { CACHED_AXES = 16, MAX_TAPS = 1 << 20 };

struct axis_key {
    int in, out;
    float from, to;
    enum filter filter;
};

struct cached_axis {
    struct axis_key key;
    struct resize_axis axis;
    uint64_t used;
};

/* Kept per thread, freed when it ends. */
struct scratch {
    struct cached_axis axes[CACHED_AXES];
    uint64_t clock;
    uint8_t *between; /* after the horizontal pass */
    size_t between_bytes;
    uint8_t *edge; /* copies of the last rows, with slack behind them */
    size_t edge_bytes;
    int scalar;
};

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void axis_free(struct resize_axis *axis)
{
    free(axis->first);
    free(axis->k);
    memset(axis, 0, sizeof *axis);
}

static void scratch_free(void *pointer)
{
    struct scratch *scratch = pointer;
    for (int i = 0; i < CACHED_AXES; i++)
        axis_free(&scratch->axes[i].axis);
    free(scratch->between);
    free(scratch->edge);
    free(scratch);
}

static void scratch_free_main(void)
{
    struct scratch *scratch = pthread_getspecific(scratch_key);
    if (scratch)
        scratch_free(scratch);
    pthread_setspecific(scratch_key, NULL);
}

static void make_key(void)
{
    VT_CHECK(pthread_key_create(&scratch_key, scratch_free) == 0);
    atexit(scratch_free_main); /* key destructors do not run for the thread that calls exit */
}

static struct scratch *scratch_get(void)
{
    pthread_once(&scratch_once, make_key);
    struct scratch *scratch = pthread_getspecific(scratch_key);
    if (!scratch) {
        scratch = calloc(1, sizeof *scratch);
        if (scratch && pthread_setspecific(scratch_key, scratch) != 0) {
            free(scratch);
            scratch = NULL;
        }
    }
    return scratch;
}

void resize_force_scalar(int on)
{
    struct scratch *scratch = scratch_get();
    VT_CHECK(scratch != NULL);
    scratch->scalar = on;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static int32_t to_fixed(double k)
{
    return k < 0 ? (int32_t)(-0.5 + k * (1 << RESIZE_BITS)) : (int32_t)(0.5 + k * (1 << RESIZE_BITS));
}

static vt_status axis_alloc(struct resize_axis *axis, int out, int taps)
{
    size_t cells = (size_t)out * (size_t)taps;
    axis->out = out;
    axis->taps = taps;
    axis->first = malloc(2 * (size_t)out * sizeof *axis->first);
    axis->k = calloc(cells * 2 + 16, sizeof *axis->k); /* k, then high and low in the space of one more; + slack */
    if (!axis->first || !axis->k) {
        axis_free(axis);
        return VT_FAIL(VT_E_MEMORY, "resize: no memory for %d x %d coefficients", out, taps);
    }
    axis->count = axis->first + out;
    axis->high = (int16_t *)(axis->k + cells);
    axis->low = axis->high + cells;
    return VT_OK;
}

/* Coefficients of output i around its centre, summing to 1. */
static void axis_fill(struct resize_axis *axis, const struct axis_key *key, int i, double scale, double filter_scale,
                      double support, double *weights)
{
    double centre = (double)key->from + (i + 0.5) * scale, inverse = 1.0 / filter_scale, total = 0.0;
    int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > key->in ? key->in : end;
    int count = end - first;
    for (int t = 0; t < count; t++) {
        double x = (t + first - centre + 0.5) * inverse;
        weights[t] = key->filter == FILTER_BICUBIC ? bicubic(x) : bilinear(x);
        total += weights[t];
    }
    axis->first[i] = first;
    axis->count[i] = count;
    size_t cell = (size_t)i * (size_t)axis->taps;
    for (int t = 0; t < count; t++) {
        int32_t k = to_fixed(total != 0.0 ? weights[t] / total : weights[t]);
        int32_t high = (k + (1 << (RESIZE_LOW_BITS - 1))) >> RESIZE_LOW_BITS;
        axis->k[cell + (size_t)t] = k;
        axis->high[cell + (size_t)t] = (int16_t)high;
        axis->low[cell + (size_t)t] = (int16_t)(k - high * (1 << RESIZE_LOW_BITS));
    }
}

static vt_status axis_build(struct resize_axis *axis, const struct axis_key *key)
{
    double scale = (double)(key->to - key->from) / key->out;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = (key->filter == FILTER_BICUBIC ? 2.0 : 1.0) * filter_scale;
    int taps = (int)ceil(support) * 2 + 1;
    taps = (taps + RESIZE_TAP_ALIGN - 1) / RESIZE_TAP_ALIGN * RESIZE_TAP_ALIGN;
    if (taps > MAX_TAPS)
        return VT_FAIL(VT_E_LIMIT, "resize: %d to %d pixels needs %d taps", key->in, key->out, taps);
    double *weights = malloc((size_t)taps * sizeof *weights);
    if (!weights)
        return VT_FAIL(VT_E_MEMORY, "resize: no memory for %d taps", taps);
    vt_status status = axis_alloc(axis, key->out, taps);
    if (status == VT_OK)
        for (int i = 0; i < key->out; i++)
            axis_fill(axis, key, i, scale, filter_scale, support, weights);
    free(weights);
    return status;
}

static vt_status axis_get(struct scratch *scratch, const struct axis_key *key, const struct resize_axis **out)
{
    struct cached_axis *oldest = &scratch->axes[0];
    scratch->clock++;
    for (int i = 0; i < CACHED_AXES; i++) {
        struct cached_axis *cached = &scratch->axes[i];
        if (cached->axis.k && cached->key.in == key->in && cached->key.out == key->out &&
            cached->key.from == key->from && cached->key.to == key->to && cached->key.filter == key->filter) {
            cached->used = scratch->clock;
            *out = &cached->axis;
            return VT_OK;
        }
        if (cached->used < oldest->used)
            oldest = cached;
    }
    axis_free(&oldest->axis);
    oldest->used = 0;
    VT_TRY(axis_build(&oldest->axis, key));
    oldest->key = *key;
    oldest->used = scratch->clock;
    *out = &oldest->axis;
    return VT_OK;
}

static vt_status grow(uint8_t **bytes, size_t *capacity, size_t needed)
{
    if (*capacity >= needed)
        return VT_OK;
    free(*bytes);
    *bytes = malloc(needed);
    *capacity = *bytes ? needed : 0;
    return *bytes ? VT_OK : VT_FAIL(VT_E_MEMORY, "resize: no memory for %zu bytes", needed);
}

/* Rows first..first+count-1 of src, resized to axis->out pixels, into `between`. */
static vt_status horizontal(struct scratch *scratch, const struct resize_kernels *kernels,
                            const struct resize_axis *axis, const struct image *src, int first, int count,
                            uint8_t *between)
{
    size_t row_bytes = (size_t)src->width * (size_t)src->channels,
           out_bytes = (size_t)axis->out * (size_t)src->channels;
    size_t slack = RESIZE_SLACK; /* padded taps and whole-register loads reach past the last source pixel */
    const uint8_t *end = src->pixels + row_bytes * (size_t)src->height;
    VT_TRY(grow(&scratch->edge, &scratch->edge_bytes, 4 * (row_bytes + slack)));
    for (int y = 0; y < count; y += 4) {
        const uint8_t *rows[4];
        uint8_t *outs[4];
        for (int i = 0; i < 4; i++) {
            int row = y + i < count ? y + i : count - 1; /* the last group repeats its last row */
            rows[i] = src->pixels + row_bytes * (size_t)(first + row);
            outs[i] = between + out_bytes * (size_t)row;
            if ((size_t)(end - rows[i]) < row_bytes + slack) {
                uint8_t *copy = scratch->edge + (size_t)i * (row_bytes + slack);
                memcpy(copy, rows[i], row_bytes);
                memset(copy + row_bytes, 0, slack);
                rows[i] = copy;
            }
        }
        kernels->rows(axis, src->channels, rows, outs);
    }
    return VT_OK;
}

static vt_status run(struct scratch *scratch, const struct image *src, const struct axis_key *across,
                     const struct axis_key *down, struct image *dst)
{
    const struct resize_kernels *kernels = scratch->scalar ? &resize_scalar : resize_best();
    const struct resize_axis *columns = NULL, *rows = NULL;
    VT_TRY(axis_get(scratch, across, &columns));
    VT_TRY(axis_get(scratch, down, &rows));
    int need_across = across->in != across->out || across->from != 0 || across->to != (float)across->out;
    int need_down = down->in != down->out || down->from != 0 || down->to != (float)down->out;
    size_t channels = (size_t)src->channels, out_bytes = (size_t)across->out * channels;
    const uint8_t *middle = src->pixels;
    int first = 0; /* source row at `middle` */
    if (need_across) {
        int last = rows->out - 1;
        first = need_down ? rows->first[0] : 0;
        int end = need_down ? rows->first[last] + rows->count[last] : src->height;
        uint8_t *between = dst->pixels;
        if (need_down) {
            VT_TRY(grow(&scratch->between, &scratch->between_bytes, out_bytes * (size_t)(end - first) + RESIZE_SLACK));
            between = scratch->between;
        }
        VT_TRY(horizontal(scratch, kernels, columns, src, first, end - first, between));
        middle = between;
    }
    if (need_down)
        for (int y = 0; y < rows->out; y++)
            kernels->column(rows, y, middle + out_bytes * (size_t)(rows->first[y] - first), out_bytes,
                            dst->pixels + out_bytes * (size_t)y);
    else if (!need_across)
        memcpy(dst->pixels, src->pixels, out_bytes * (size_t)dst->height);
    return VT_OK;
}

vt_status image_resize(const struct image *src, struct image_box box, enum filter filter, int width, int height,
                       struct image *dst)
{
    VT_CHECK(src != dst && src->width > 0 && src->height > 0 && (src->channels == 1 || src->channels == 3));
    if (!(box.left >= 0 && box.top >= 0 && box.right <= (float)src->width && box.bottom <= (float)src->height &&
          box.right > box.left && box.bottom > box.top))
        return VT_FAIL(VT_E_USAGE, "resize: box %g,%g,%g,%g is not inside the image of %d x %d", (double)box.left,
                       (double)box.top, (double)box.right, (double)box.bottom, src->width, src->height);
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return VT_FAIL(VT_E_USAGE, "resize: to %d x %d, expected 1..%d per side", width, height, IMAGE_MAX_SIDE);
    struct scratch *scratch = scratch_get();
    if (!scratch)
        return VT_FAIL(VT_E_MEMORY, "resize: no memory for the tables");
    VT_TRY(image_resize_storage(dst, width, height, src->channels));
    struct axis_key across = {src->width, width, box.left, box.right, filter};
    struct axis_key down = {src->height, height, box.top, box.bottom, filter};
    return run(scratch, src, &across, &down, dst);
}
