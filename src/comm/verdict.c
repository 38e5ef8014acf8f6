#include "comm/verdict.h"

#include <stdio.h>
#include <string.h>

static const struct stage_view *find_view(const struct stage_view *views, int count, const char *thread)
{
    for (int i = 0; i < count; i++)
        if (strcmp(views[i].thread, thread) == 0)
            return &views[i];
    return NULL;
}

/* The loader thread that works longest on something, when the main thread waits for data. */
static const struct stage_view *slowest_loader(const struct stage_view *views, int count)
{
    const struct stage_view *slowest = NULL;
    for (int i = 0; i < count; i++) {
        bool works = views[i].stage == STAGE_READ || views[i].stage == STAGE_DECODE || views[i].stage == STAGE_AUGMENT;
        if (works && (!slowest || views[i].seconds > slowest->seconds))
            slowest = &views[i];
    }
    return slowest;
}

void report_own(struct rank_report *report)
{
    struct stage_view views[STAGE_ROWS];
    int count = stage_snapshot(views, STAGE_ROWS);
    const struct stage_view *main_view = find_view(views, count, "main"), *busy = main_view;
    report->waiting = false;
    report->step = -1;
    report->stage = STAGE_IDLE;
    report->stage_s = 0;
    snprintf(report->thread, sizeof report->thread, "main");
    if (!main_view)
        return;
    if (main_view->stage == STAGE_DATA_WAIT) {
        const struct stage_view *loader = slowest_loader(views, count);
        busy = loader ? loader : main_view;
    } else if (main_view->stage == STAGE_COMM) {
        report->waiting = true;
    } else if (main_view->stage == STAGE_COMM_WAIT) {
        /* Waiting for the communication thread, which may itself wait for this rank's device. */
        const struct stage_view *comm = find_view(views, count, "comm");
        report->waiting = !comm || comm->stage == STAGE_COMM || comm->stage == STAGE_IDLE;
        busy = report->waiting ? main_view : comm;
    }
    report->step = main_view->step;
    report->stage = busy->stage;
    report->stage_s = busy->seconds;
    memcpy(report->thread, busy->thread, sizeof report->thread);
}

static bool is_silent(const struct rank_report *report, double limit_s)
{
    return report->heard && !report->left && report->silent_s > limit_s;
}

/* More likely the one the others wait for? Silent first, then busy before waiting, then the lower step, then the longer
 * time at it. */
static bool worse(const struct rank_report *a, const struct rank_report *b, double limit_s)
{
    if (is_silent(a, limit_s) != is_silent(b, limit_s))
        return is_silent(a, limit_s);
    if (is_silent(a, limit_s) && a->silent_s != b->silent_s)
        return a->silent_s > b->silent_s;
    if (a->waiting != b->waiting)
        return b->waiting;
    if (a->step != b->step)
        return a->step < b->step;
    return a->stage_s > b->stage_s;
}

/* "ranks 0-2,5 wait for it", of those that wait or have no progress. */
static void list_waiting(const struct rank_report *reports, int size, int culprit, char *text, size_t bytes)
{
    size_t at = 0;
    int listed = 0, alone = -1;
    text[0] = 0;
    for (int r = 0; r < size && at + 40 < bytes; r++) {
        int first = r;
        while (r < size && r != culprit && reports[r].heard && reports[r].waiting && !reports[r].left)
            r++;
        if (r == first)
            continue;
        const char *form = r - first == 1 ? "%s%d" : r - first == 2 ? "%s%d,%d" : "%s%d-%d";
        at += (size_t)snprintf(text + at, bytes - at, form, listed ? "," : "", first, r - 1);
        alone = first;
        listed += r - first;
        r--;
    }
    if (!listed)
        return;
    char list[256];
    snprintf(list, sizeof list, "%s", text);
    if (listed == 1)
        snprintf(text, bytes, "; rank %d waits for it", alone);
    else
        snprintf(text, bytes, "; ranks %s wait for it", list);
}

static void describe(const struct rank_report *reports, int size, int culprit, double limit_s, char *text, size_t bytes)
{
    const struct rank_report *c = &reports[culprit];
    char where[160], waiting[320], thread[40] = "";
    if (strcmp(c->thread, "main") != 0)
        snprintf(thread, sizeof thread, " (thread %.23s)", c->thread);
    if (c->step >= 0)
        snprintf(where, sizeof where, " at step %lld", (long long)c->step);
    else
        snprintf(where, sizeof where, " before the first step");
    list_waiting(reports, size, culprit, waiting, sizeof waiting);
    if (is_silent(c, limit_s))
        snprintf(text, bytes,
                 "watchdog: rank %d (host %s) is silent since %.0f s, last in stage %s%s%s: stopped, dead or cut off%s",
                 culprit, c->host, c->silent_s, stage_name(c->stage), thread, where, waiting);
    else if (c->stage_s < c->stalled_s / 2) /* it changes stages, and gets nowhere */
        snprintf(text, bytes, "watchdog: rank %d (host %s) has made no progress for %.0f s, now in stage %s%s%s%s",
                 culprit, c->host, c->stalled_s, stage_name(c->stage), thread, where, waiting);
    else
        snprintf(text, bytes, "watchdog: rank %d (host %s) is stuck in stage %s%s since %.0f s%s%s", culprit, c->host,
                 stage_name(c->stage), thread, c->stage_s, where, waiting);
}

/* "; never heard since the start: ranks 3,7 and 12 more", or nothing. */
static void list_unheard(const struct rank_report *reports, int size, char *text, size_t bytes)
{
    enum { NAMED_MAX = 8 };
    int unheard = 0;
    size_t at = 0;
    text[0] = 0;
    for (int r = 0; r < size; r++) {
        if (reports[r].heard || unheard++ >= NAMED_MAX)
            continue;
        at += (size_t)snprintf(text + at, bytes - at, "%s%d (host %.40s)",
                               unheard > 1 ? ", " : "; never heard since the start: rank ", r, reports[r].host);
    }
    if (unheard > NAMED_MAX)
        snprintf(text + at, bytes - at, " and %d more", unheard - NAMED_MAX);
}

bool verdict_find(const struct rank_report *reports, int size, double silence_limit_s, int *culprit, char *text,
                  size_t bytes)
{
    int worst = -1;
    char unheard[640];
    for (int r = 0; r < size; r++)
        if (reports[r].heard && !reports[r].left && (worst < 0 || worse(&reports[r], &reports[worst], silence_limit_s)))
            worst = r;
    if (worst < 0)
        return false;
    bool silent = is_silent(&reports[worst], silence_limit_s);
    if (!silent && !reports[worst].overdue)
        return false;
    *culprit = worst;
    if (silent || !reports[worst].waiting) {
        describe(reports, size, worst, silence_limit_s, text, bytes);
        return true;
    }
    *culprit = -1;
    if (size == 1) {
        snprintf(text, bytes, "watchdog: no progress for %.0f s, waiting in stage %s at step %lld",
                 reports[worst].stalled_s, stage_name(reports[worst].stage), (long long)reports[worst].step);
        return true;
    }
    list_unheard(reports, size, unheard, sizeof unheard);
    snprintf(text, bytes,
             "watchdog: no progress for %.0f s: every rank that can be heard waits in collectives (rank %d furthest "
             "back, at step %lld)%s",
             reports[worst].stalled_s, worst, (long long)reports[worst].step, unheard);
    return true;
}
