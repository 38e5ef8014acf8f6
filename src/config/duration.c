#include "config/duration.h"
#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum duration_unit unit;
} units[] = {
    {"ep", DURATION_EPOCHS},  {"epoch", DURATION_EPOCHS},  {"epochs", DURATION_EPOCHS}, {"steps", DURATION_STEPS},
    {"step", DURATION_STEPS}, {"images", DURATION_IMAGES}, {"image", DURATION_IMAGES},  {"%", DURATION_PERCENT},
};

static int find_unit(const char *name, enum duration_unit *unit)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(name, units[i].name) == 0) {
            *unit = units[i].unit;
            return 1;
        }
    }
    return 0;
}

vt_status duration_parse(const char *text, struct duration *out)
{
    static const char expected[] = "expected a length with its unit, as 90ep, 10ksteps, 1.2Mimages or 3%";
    char *end;
    double value = isdigit((unsigned char)text[0]) || text[0] == '.' ? strtod(text, &end) : -1;
    if (value < 0 || !isfinite(value) || memchr(text, 'x', (size_t)(end - text)))
        return VT_FAIL(VT_E_USAGE, "\"%.60s\": %s", text, expected);
    while (*end == ' ')
        end++;
    struct duration duration = {value, DURATION_STEPS};
    if (*end == '\0') {
        if (value != 0)
            return VT_FAIL(VT_E_USAGE, "\"%.60s\" has no unit: %s", text, expected);
    } else if (!find_unit(end, &duration.unit)) {
        double scale = *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : *end == 'G' ? 1e9 : 0;
        if (scale == 0 || !find_unit(end + 1, &duration.unit) || duration.unit == DURATION_PERCENT)
            return VT_FAIL(VT_E_USAGE, "\"%.60s\": unknown unit \"%.40s\": %s", text, end, expected);
        duration.value *= scale;
    }
    if (duration.unit == DURATION_PERCENT && duration.value > 100)
        return VT_FAIL(VT_E_USAGE, "\"%.60s\" is more than 100%%", text);
    *out = duration;
    return VT_OK;
}

void duration_format(struct duration duration, char *text, size_t bytes)
{
    static const char *const names[] = {
        [DURATION_STEPS] = "steps", [DURATION_EPOCHS] = "ep", [DURATION_IMAGES] = "images", [DURATION_PERCENT] = "%"};
    char number[40];
    if (duration.value == 0) {
        snprintf(text, bytes, "0");
        return;
    }
    if (duration.value < 1e15 && duration.value == floor(duration.value))
        snprintf(number, sizeof number, "%.0f", duration.value); /* 1200000, not 1.2e+06 */
    else
        text_format_double(duration.value, number, sizeof number);
    snprintf(text, bytes, "%s%s", number, names[duration.unit]);
}

/* Not rounded. */
static double exact_steps(struct duration duration, int64_t batch, int64_t images_per_epoch, int64_t total_steps)
{
    switch (duration.unit) {
    case DURATION_STEPS:
        return duration.value;
    case DURATION_EPOCHS:
        return duration.value * (double)images_per_epoch / (double)batch;
    case DURATION_IMAGES:
        return duration.value / (double)batch;
    case DURATION_PERCENT:
        return duration.value * 0.01 * (double)total_steps;
    }
    return 0;
}

int64_t duration_steps(struct duration duration, int64_t batch, int64_t images_per_epoch, int64_t total_steps)
{
    double steps = exact_steps(duration, batch, images_per_epoch, total_steps);
    if (duration.value == 0)
        return 0;
    if (!(steps < 0x1p62))
        return INT64_MAX / 2;
    int64_t nearest = llround(steps);
    return nearest < 1 ? 1 : nearest;
}

bool duration_due(struct duration every, int64_t step, int64_t batch, int64_t images_per_epoch, int64_t total_steps)
{
    double steps = exact_steps(every, batch, images_per_epoch, total_steps);
    if (step == total_steps || every.value == 0)
        return step == total_steps;
    if (steps < 1.5)
        return true;
    double times = round((double)step / steps);
    struct duration passed = {times * every.value, every.unit};
    return times >= 1 && step != total_steps - 1 && duration_steps(passed, batch, images_per_epoch, total_steps) == step;
}
