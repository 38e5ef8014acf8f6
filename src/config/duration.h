/* Lengths of a run with their unit: "90ep", "10ksteps", "1.2Mimages", "3%", or "0" (none). */
#ifndef VT_CONFIG_DURATION_H
#define VT_CONFIG_DURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum duration_unit { DURATION_STEPS, DURATION_EPOCHS, DURATION_IMAGES, DURATION_PERCENT };

struct duration {
    double value; /* >= 0, finite; 0 = none, whatever the unit */
    enum duration_unit unit;
};

/* NUMBER[k|M|G]UNIT, UNIT one of ep epoch epochs, step steps, image images, %. A bare number is refused, except 0. */
VT_MUST_CHECK vt_status duration_parse(const char *text, struct duration *out);
/* The text duration_parse reads back to the same value: "90ep", "10000steps". */
void duration_format(struct duration duration, char *text, size_t bytes);
/* In optimizer steps, to the nearest; at least 1 unless the value is 0. `batch` is the global batch (images of a step),
 * `total_steps` the length of the run, used by percentages only. Saturates at INT64_MAX / 2. */
int64_t duration_steps(struct duration duration, int64_t batch, int64_t images_per_epoch, int64_t total_steps);
/* Whether what is done every `every`, and at the end of the run, is due after `step` steps: the k-th time is k lengths rounded
 * once, so that the 18th of 18 epochs is the end however many steps an epoch has. A time one step before the end is left to
 * the end, unless every step has one. A length under 1.5 steps: every step. A length of 0: only the end. */
bool duration_due(struct duration every, int64_t step, int64_t batch, int64_t images_per_epoch, int64_t total_steps);

#endif
