#include "train/step_clock.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "train/trainer.h"

/* The step being enqueued, the one being read, and the one before that, whose end is where the latter begins. */
enum { STEPS_KEPT = 3 };

struct marks {
    int64_t step; /* 0 = none */
    int count;
    bool follows; /* at once upon the step before */
    struct event **events;
    enum step_part *parts;
};

struct step_clock {
    struct backend *be;
    int capacity;
    bool paused;
    struct marks steps[STEPS_KEPT], *now;
};

vt_status step_clock_open(struct backend *be, int micro_count, struct step_clock **out)
{
    *out = NULL;
    if (!be->event_elapsed)
        return VT_OK;
    struct step_clock *clock = calloc(1, sizeof *clock);
    if (!clock)
        return VT_FAIL(VT_E_MEMORY, "no memory for the clock of a step");
    *clock = (struct step_clock){.be = be, .capacity = 3 * micro_count + 2, .paused = true};
    *out = clock;
    for (int s = 0; s < STEPS_KEPT; s++) {
        struct marks *marks = &clock->steps[s];
        marks->events = calloc((size_t)clock->capacity, sizeof *marks->events);
        marks->parts = calloc((size_t)clock->capacity, sizeof *marks->parts);
        if (!marks->events || !marks->parts)
            return VT_FAIL(VT_E_MEMORY, "no memory for the clock of a step");
        for (int i = 0; i < clock->capacity; i++)
            marks->events[i] = be->event_new(be);
    }
    return VT_OK;
}

void step_clock_close(struct step_clock **clock)
{
    struct step_clock *c = *clock;
    if (!c)
        return;
    for (int s = 0; s < STEPS_KEPT; s++) {
        for (int i = 0; c->steps[s].events && i < c->capacity; i++)
            if (c->steps[s].events[i])
                c->be->event_free(c->be, c->steps[s].events[i]);
        free(c->steps[s].events);
        free(c->steps[s].parts);
    }
    free(c);
    *clock = NULL;
}

void step_clock_begin(struct step_clock *c, int64_t step)
{
    if (!c)
        return;
    c->now = &c->steps[step % STEPS_KEPT];
    c->now->step = step;
    c->now->count = 0;
    c->now->follows = !c->paused;
    c->paused = false;
}

void step_clock_mark(struct step_clock *c, enum step_part part)
{
    if (!c)
        return;
    VT_CHECK(c->now && c->now->count < c->capacity);
    c->now->parts[c->now->count] = part;
    c->be->event_record(c->be, STREAM_COMPUTE, c->now->events[c->now->count++]);
}

void step_clock_pause(struct step_clock *c)
{
    if (c)
        c->paused = true;
}

vt_status step_clock_read(struct step_clock *c, int64_t step, struct step_times *times)
{
    double sums[PART_COUNT] = {0}, ms, before = times->data_wait + times->copy, idle;
    if (!c)
        return VT_OK;
    struct marks *marks = &c->steps[step % STEPS_KEPT], *last = &c->steps[(step + STEPS_KEPT - 1) % STEPS_KEPT];
    VT_CHECK(marks->step == step && marks->count > 1 && marks->parts[marks->count - 1] == PART_IDLE);
    for (int i = 0; i + 1 < marks->count; i++) {
        VT_TRY(c->be->event_elapsed(c->be, marks->events[i], marks->events[i + 1], &ms));
        sums[marks->parts[i]] += ms;
    }
    if (marks->follows && last->step == step - 1)
        VT_TRY(c->be->event_elapsed(c->be, last->events[last->count - 1], marks->events[0], &before));
    idle = before + sums[PART_IDLE];
    times->forward = sums[PART_FORWARD];
    times->backward = sums[PART_BACKWARD];
    times->comm_exposed = sums[PART_SUMS];
    times->optimizer = sums[PART_OPTIMIZER];
    times->busy = times->forward + times->backward + times->optimizer;
    times->step = idle + times->busy + times->comm_exposed;
    times->data_wait = fmin(times->data_wait, idle);
    times->copy = fmin(times->copy, idle - times->data_wait);
    return VT_OK;
}
