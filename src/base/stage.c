#include "base/stage.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row is free, being named by its new owner, or live. Only the owner writes stage, since and step. A reader may see a
 * stage with the neighbouring `since`: a wrong duration for one reading, harmless to a watchdog that looks again. */
enum row_state { ROW_FREE, ROW_NAMING, ROW_LIVE };

struct row {
    _Alignas(64) atomic_int state; /* a cache line each: the step path writes here */
    atomic_int stage;
    atomic_llong since_ns, step;
    atomic_ullong name[3]; /* the 24 bytes of the thread's name, so that readers race with no plain memory */
};

static struct row rows[STAGE_ROWS];
static _Thread_local struct row *mine;

static const char *const names[STAGE_COUNT] = {
    [STAGE_IDLE] = "idle",     [STAGE_START] = "start",           [STAGE_READ] = "read",
    [STAGE_DECODE] = "decode", [STAGE_AUGMENT] = "augment",       [STAGE_DATA_WAIT] = "data wait",
    [STAGE_COPY] = "copy",     [STAGE_FORWARD] = "forward",       [STAGE_BACKWARD] = "backward",
    [STAGE_COMM] = "comm",     [STAGE_COMM_WAIT] = "comm wait",   [STAGE_OPTIMIZER] = "optimizer",
    [STAGE_EVAL] = "eval",     [STAGE_CHECKPOINT] = "checkpoint", [STAGE_LOG] = "log",
};

const char *stage_name(enum stage stage)
{
    return (unsigned)stage < STAGE_COUNT ? names[stage] : "unknown";
}

static void row_set_name(struct row *row, const char *thread_name)
{
    char padded[24] = {0};
    snprintf(padded, sizeof padded, "%s", thread_name);
    for (int i = 0; i < 3; i++) {
        unsigned long long word;
        memcpy(&word, padded + 8 * i, 8);
        atomic_store_explicit(&row->name[i], word, memory_order_relaxed);
    }
}

void stage_register(const char *thread_name)
{
    if (mine) {
        row_set_name(mine, thread_name);
        return;
    }
    for (int i = 0; i < STAGE_ROWS; i++) {
        int expected = ROW_FREE;
        if (!atomic_compare_exchange_strong(&rows[i].state, &expected, ROW_NAMING))
            continue;
        row_set_name(&rows[i], thread_name);
        atomic_store_explicit(&rows[i].stage, STAGE_START, memory_order_relaxed);
        atomic_store_explicit(&rows[i].step, -1, memory_order_relaxed);
        atomic_store_explicit(&rows[i].since_ns, clock_ns(), memory_order_relaxed);
        atomic_store_explicit(&rows[i].state, ROW_LIVE, memory_order_release);
        mine = &rows[i];
        return;
    }
    /* A full board costs this thread its row, nothing else. */
}

void stage_unregister(void)
{
    if (mine)
        atomic_store_explicit(&mine->state, ROW_FREE, memory_order_release);
    mine = NULL;
}

enum stage stage_enter(enum stage stage)
{
    if (!mine)
        return STAGE_IDLE;
    enum stage left = (enum stage)atomic_load_explicit(&mine->stage, memory_order_relaxed);
    atomic_store_explicit(&mine->since_ns, clock_ns(), memory_order_relaxed);
    atomic_store_explicit(&mine->stage, (int)stage, memory_order_relaxed);
    return left;
}

void stage_set_step(int64_t step)
{
    if (mine)
        atomic_store_explicit(&mine->step, step, memory_order_relaxed);
}

int64_t stage_step(void)
{
    return mine ? atomic_load_explicit(&mine->step, memory_order_relaxed) : -1;
}

int stage_snapshot(struct stage_view *views, int capacity)
{
    int64_t now = clock_ns();
    int count = 0;
    for (int i = 0; i < STAGE_ROWS && count < capacity; i++) {
        struct row *row = &rows[i];
        if (atomic_load_explicit(&row->state, memory_order_acquire) != ROW_LIVE)
            continue;
        struct stage_view *view = &views[count++];
        for (int w = 0; w < 3; w++) {
            unsigned long long word = atomic_load_explicit(&row->name[w], memory_order_relaxed);
            memcpy(view->thread + 8 * w, &word, 8);
        }
        view->thread[sizeof view->thread - 1] = '\0';
        view->stage = (enum stage)atomic_load_explicit(&row->stage, memory_order_relaxed);
        view->step = atomic_load_explicit(&row->step, memory_order_relaxed);
        double seconds = (double)(now - atomic_load_explicit(&row->since_ns, memory_order_relaxed)) * 1e-9;
        view->seconds = seconds > 0 ? seconds : 0;
    }
    return count;
}

static int longest_first(const void *a, const void *b)
{
    double x = ((const struct stage_view *)a)->seconds, y = ((const struct stage_view *)b)->seconds;
    return (x < y) - (x > y);
}

void stage_describe(char *text, int bytes)
{
    struct stage_view views[STAGE_ROWS];
    int count = stage_snapshot(views, STAGE_ROWS), used = 0;
    qsort(views, (size_t)count, sizeof *views, longest_first);
    if (bytes > 0)
        text[0] = '\0';
    for (int i = 0; i < count && used < bytes; i++) {
        used += snprintf(text + used, (size_t)(bytes - used), "%s%s: %s %.1f s", i ? ", " : "", views[i].thread,
                         stage_name(views[i].stage), views[i].seconds);
        if (views[i].step >= 0 && used < bytes)
            used += snprintf(text + used, (size_t)(bytes - used), " (step %lld)", (long long)views[i].step);
    }
}
