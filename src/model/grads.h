/* The one seam through which backward writes parameter gradients: where a row's gradient goes, whether it adds, and
 * when it is final. Today a row is written straight into the flat fp32 buffer; an exact accumulator hands out staging
 * memory here and adds it in grads_final. Private to this room. */
#ifndef VT_MODEL_GRADS_H
#define VT_MODEL_GRADS_H

#include <stddef.h>

#include "model/vit.h"

struct grads {
    const struct param_table *table; /* borrowed */
    float *values;                   /* device, flat */
    bool accumulate;                 /* passed to every op that writes a gradient */
    vit_grad_ready ready;            /* may be NULL */
    void *context;
};

/* Where the row's gradient is written; NULL for row -1. */
static inline float *grad_of(const struct grads *grads, int row)
{
    return row < 0 ? NULL : grads->values + grads->table->rows[row].offset;
}

/* Every row from this one to the end of the table is final. */
static inline void grads_final(const struct grads *grads, int first_row)
{
    if (grads->ready)
        grads->ready(grads->context, grads->table->rows[first_row].offset);
}

#endif
