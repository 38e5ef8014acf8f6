#include "tensor/params.h"

#include <math.h>

#include "base/check.h"
#include "base/philox.h"
#include "tensor/normal.h"

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

static void fill_random(const struct param *row, uint64_t seed, uint64_t index, float *values)
{
    struct initialiser init = row_initialiser(row);
    for (int64_t e = 0; e < row->count; e++) {
        double uniform = draw_uniform53(seed, DRAW_INIT, index, (uint32_t)e);
        values[e] = (float)(init.scale * (init.cut > 0 ? normal_truncated(uniform, init.cut) : 2 * uniform - 1));
    }
}

void param_table_initialise(const struct param_table *table, uint64_t seed, float *values)
{
    int64_t end = 0;
    for (int i = 0; i < table->count; i++) {
        const struct param *row = &table->rows[i];
        fill_constant(values + end, row->offset - end, 0); /* the gap before this row */
        float *own = values + row->offset;
        switch (row->init) {
        case INIT_ZERO:
            fill_constant(own, row->count, 0);
            break;
        case INIT_ONE:
            fill_constant(own, row->count, 1);
            break;
        case INIT_CONSTANT:
            fill_constant(own, row->count, row->init_value);
            break;
        default:
            fill_random(row, seed, (uint64_t)i, own);
        }
        end = row->offset + row->count;
    }
    fill_constant(values + end, table->total - end, 0);
}
