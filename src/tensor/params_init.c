/* First values of parameters. A ViT-L has 300 million, 17 ns each: ranges of the flat buffer go to threads. */
#include "tensor/params.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/philox.h"
#include "tensor/normal.h"

enum { THREADS_MAX = 64, PART = 1 << 17 /* elements, some milliseconds */ };

/* Standard deviation of a standard normal truncated at 2 sigma. */
static const double LECUN_CORRECTION = 0.87962566103423978;

struct initialiser {
    double scale, cut; /* cut in sigmas; 0 = uniform in [-scale, scale] */
};

static void fill_constant(float *values, int64_t count, float value)
{
    for (int64_t e = 0; e < count; e++)
        values[e] = value;
}

static struct initialiser row_initialiser(const struct param *row)
{
    switch (row->init) {
    case INIT_NORMAL:
        return (struct initialiser){row->init_value, 40}; /* no draw of 53 bits is 40 sigmas out */
    case INIT_TRUNC_NORMAL:
        VT_CHECKF(row->init_value > 0, "%s: truncated normal without a deviation", row->name);
        return (struct initialiser){row->init_value, fmin(2.0 / row->init_value, 40)};
    case INIT_LECUN_NORMAL:
        VT_CHECKF(row->fan_in > 0, "%s: no fan_in", row->name);
        return (struct initialiser){sqrt(1.0 / (double)row->fan_in) / LECUN_CORRECTION, 2};
    case INIT_XAVIER_UNIFORM:
        VT_CHECKF(row->fan_in > 0 && row->fan_out > 0, "%s: no fan_in or fan_out", row->name);
        return (struct initialiser){sqrt(6.0 / (double)(row->fan_in + row->fan_out)), 0};
    default:
        VT_CHECKF(0, "%s: init %d", row->name, row->init);
    }
}

/* Elements [begin, end) of a row whose element 0 is at `values`: element e is draw_uniform53(..., e) made normal. Two of
 * them come from each block of the generator. */
static void fill_random(const struct param *row, uint64_t seed, uint64_t index, int64_t begin, int64_t end, float *values)
{
    struct initialiser init = row_initialiser(row);
    struct normal_cut normal = normal_cut(init.cut);
    for (int64_t pair = begin / 2 * 2; pair < end; pair += 2) {
        uint32_t words[4];
        draw4(seed, DRAW_INIT, index, (uint32_t)(pair / 2), words);
        for (int64_t e = pair < begin ? begin : pair; e < pair + 2 && e < end; e++) {
            double uniform = draw_to_uniform53(words[2 * (e - pair)], words[2 * (e - pair) + 1]);
            values[e] = (float)(init.scale * (init.cut > 0 ? normal_truncated(&normal, uniform) : 2 * uniform - 1));
        }
    }
}

/* Elements [begin, end) of row `index`, counted within the row; those past its count are the gap behind it. */
static void fill_row(const struct param_table *table, uint64_t seed, int index, int64_t begin, int64_t end, float *values)
{
    const struct param *row = &table->rows[index];
    int64_t filled = end < row->count ? end : row->count, gap = begin > row->count ? begin : row->count;
    if (begin < filled)
        switch (row->init) {
        case INIT_ZERO:
            fill_constant(values + begin, filled - begin, 0);
            break;
        case INIT_ONE:
            fill_constant(values + begin, filled - begin, 1);
            break;
        case INIT_CONSTANT:
            fill_constant(values + begin, filled - begin, row->init_value);
            break;
        default:
            fill_random(row, seed, (uint64_t)index, begin, filled, values);
        }
    if (gap < end)
        fill_constant(values + gap, end - gap, 0);
}

void param_table_initialise_range(const struct param_table *table, uint64_t seed, int64_t begin, int64_t end,
                                  float *values)
{
    VT_CHECK(0 <= begin && begin <= end && end <= table->total);
    for (int i = 0; i < table->count; i++) {
        int64_t first = table->rows[i].offset, next = i + 1 < table->count ? table->rows[i + 1].offset : table->total;
        int64_t from = begin > first ? begin : first, to = end < next ? end : next;
        if (from < to)
            fill_row(table, seed, i, from - first, to - first, values + first);
    }
}

struct job {
    const struct param_table *table;
    uint64_t seed;
    float *values;
    atomic_int_fast64_t taken; /* elements handed out so far */
};

static void *work(void *context)
{
    struct job *job = context;
    int64_t begin, total = job->table->total;
    while ((begin = atomic_fetch_add(&job->taken, PART)) < total)
        param_table_initialise_range(job->table, job->seed, begin, begin + PART < total ? begin + PART : total,
                                     job->values);
    return NULL;
}

void param_table_initialise(const struct param_table *table, uint64_t seed, int threads, float *values)
{
    struct job job = {.table = table, .seed = seed, .values = values};
    pthread_t helpers[THREADS_MAX];
    int64_t parts = (table->total + PART - 1) / PART;
    int started = 0, wanted = threads < THREADS_MAX ? threads : THREADS_MAX;
    VT_CHECK(threads >= 1);
    while (started + 1 < wanted && started + 1 < parts &&
           pthread_create(&helpers[started], NULL, work, &job) == 0)
        started++;
    work(&job);
    for (int i = 0; i < started; i++)
        pthread_join(helpers[i], NULL);
}
