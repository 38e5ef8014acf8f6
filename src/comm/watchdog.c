#include "comm/watchdog.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "comm/heartbeat.h"
#include "comm/thread.h"
#include "comm/verdict.h"

#define SILENCE_MAX_S 15.0
#define BEAT_MAX_S 0.5
#define ENDING_GRACE_S 10.0
enum { TICK_MS = 50 };

struct watchdog {
    struct comm *comm; /* borrowed: rank, size, host; no collective is called from the thread */
    double timeout_s, silence_s, beat_s, grace_s;
    struct heartbeat *heartbeat; /* NULL with one rank */
    struct rank_report *reports; /* [size] */
    int64_t *heard_ns;           /* [size] */
    pthread_t thread;
    bool thread_runs, warned;
    int64_t suspect_since_ns;    /* this rank is overdue and waits for nobody; 0 = it is not */
    int64_t stuck_since_ns;      /* 0 = the job is not stuck as far as this rank sees */
    atomic_bool quit;
    atomic_llong kicked_ns;
    _Atomic double allowed_s;    /* 0 = timeout_s */
};

static double seconds_since(int64_t then_ns, int64_t now_ns) { return (double)(now_ns - then_ns) * 1e-9; }

static void update_own(struct watchdog *watchdog, int64_t now_ns)
{
    struct rank_report *own = &watchdog->reports[watchdog->comm->rank];
    double allowed_s = atomic_load(&watchdog->allowed_s);
    report_own(own);
    own->heard = true;
    own->stalled_s = seconds_since(atomic_load(&watchdog->kicked_ns), now_ns);
    own->overdue = own->stalled_s > (allowed_s > 0 ? allowed_s : watchdog->timeout_s);
    watchdog->heard_ns[watchdog->comm->rank] = now_ns;
    for (int r = 0; r < watchdog->comm->size; r++)
        watchdog->reports[r].silent_s = seconds_since(watchdog->heard_ns[r], now_ns);
    if (!own->overdue)
        watchdog->warned = false;
}

/* The suspect speaks for itself, with every thread, once it is one for the grace time (who has just come out of a long
 * wait is not); those that wait stay quiet. */
static void warn_once(struct watchdog *watchdog, int64_t now_ns)
{
    const struct rank_report *own = &watchdog->reports[watchdog->comm->rank];
    char threads[768];
    if (!own->overdue || own->waiting) {
        watchdog->suspect_since_ns = 0;
        return;
    }
    if (!watchdog->suspect_since_ns)
        watchdog->suspect_since_ns = now_ns;
    if (watchdog->warned || seconds_since(watchdog->suspect_since_ns, now_ns) < 2 * watchdog->beat_s)
        return;
    watchdog->warned = true;
    stage_describe(threads, sizeof threads);
    log_warn("watchdog: host %s: no progress for %.0f s: %s", own->host, own->stalled_s, threads);
}

/* The last word to the others: some of it will arrive. */
static void send_farewell(struct watchdog *watchdog, bool ending)
{
    struct rank_report *own = &watchdog->reports[watchdog->comm->rank];
    own->left = true;
    own->ending = ending;
    for (int i = 0; watchdog->heartbeat && i < 3; i++)
        heartbeat_send(watchdog->heartbeat, own);
}

/* Rank 0's grace is shortest, so that one rank speaks for all. When another rank has judged, its abort gets time to
 * arrive. */
static double grace_s(const struct watchdog *watchdog)
{
    for (int r = 0; r < watchdog->comm->size; r++)
        if (watchdog->reports[r].ending)
            return watchdog->grace_s + ENDING_GRACE_S;
    return watchdog->grace_s;
}

/* The verdict must stand for the grace time. */
static void judge(struct watchdog *watchdog, int64_t now_ns)
{
    char text[VT_MESSAGE_BYTES];
    int culprit = -1;
    if (!verdict_find(watchdog->reports, watchdog->comm->size, watchdog->silence_s, &culprit, text, sizeof text)) {
        watchdog->stuck_since_ns = 0;
        return;
    }
    if (!watchdog->stuck_since_ns)
        watchdog->stuck_since_ns = now_ns;
    if (seconds_since(watchdog->stuck_since_ns, now_ns) < grace_s(watchdog) || atomic_load(&watchdog->quit))
        return;
    send_farewell(watchdog, true);
    world_abort(watchdog->comm, status_exit_code(VT_E_COMM), text);
}

/* This process itself was stopped for a while (a debugger, a paused machine): nobody is to blame for that time. */
static void forgive(struct watchdog *watchdog, int64_t now_ns)
{
    for (int r = 0; r < watchdog->comm->size; r++)
        watchdog->heard_ns[r] = now_ns;
    atomic_store(&watchdog->kicked_ns, now_ns);
}

static void *watchdog_loop(void *context)
{
    struct watchdog *watchdog = context;
    int64_t before_ns = clock_ns(), sent_ns = 0;
    while (!atomic_load(&watchdog->quit)) {
        if (watchdog->heartbeat)
            heartbeat_receive(watchdog->heartbeat, TICK_MS, watchdog->reports, watchdog->heard_ns);
        else
            usleep(TICK_MS * 1000);
        int64_t now_ns = clock_ns();
        if (seconds_since(before_ns, now_ns) > watchdog->silence_s / 2)
            forgive(watchdog, now_ns);
        before_ns = now_ns;
        update_own(watchdog, now_ns);
        if (watchdog->heartbeat && seconds_since(sent_ns, now_ns) >= watchdog->beat_s) {
            heartbeat_send(watchdog->heartbeat, &watchdog->reports[watchdog->comm->rank]);
            sent_ns = now_ns;
        }
        warn_once(watchdog, now_ns);
        judge(watchdog, now_ns);
    }
    return NULL;
}

static double at_most(double a, double b) { return a < b ? a : b; }

static void set_times(struct watchdog *watchdog, double timeout_s)
{
    int rank = watchdog->comm->rank;
    watchdog->timeout_s = timeout_s;
    watchdog->silence_s = at_most(timeout_s, SILENCE_MAX_S);
    watchdog->beat_s = at_most(timeout_s / 4, BEAT_MAX_S);
    /* Rank 0, its deputy, and then the rest, who hear only those two. */
    watchdog->grace_s = 3 * watchdog->beat_s + (rank == 0 ? 0 : rank < HEARTBEAT_HUBS ? 2 : 8);
}

vt_status watchdog_start(struct comm *comm, double timeout_s, struct watchdog **out)
{
    vt_status status = VT_OK;
    *out = NULL;
    if (!(timeout_s > 0))
        return VT_OK;
    stage_register("main"); /* the row that says what this rank does */
    struct watchdog *watchdog = calloc(1, sizeof *watchdog);
    VT_CHECK(watchdog);
    watchdog->comm = comm;
    set_times(watchdog, timeout_s);
    watchdog->reports = calloc((size_t)comm->size, sizeof *watchdog->reports);
    watchdog->heard_ns = calloc((size_t)comm->size, sizeof *watchdog->heard_ns);
    VT_CHECK(watchdog->reports && watchdog->heard_ns);
    memcpy(watchdog->reports[comm->rank].host, comm->host, sizeof comm->host);
    atomic_store(&watchdog->kicked_ns, clock_ns());
    if (comm->size > 1) {
        VT_TRY_OUT(heartbeat_open(comm, watchdog->reports, &watchdog->heartbeat));
        /* Before the agreement below: who stops right after the start has been heard once, and is named. */
        update_own(watchdog, clock_ns());
        heartbeat_send(watchdog->heartbeat, &watchdog->reports[comm->rank]);
    }
    int code = comm_thread_start(&watchdog->thread, watchdog_loop, watchdog);
    watchdog->thread_runs = code == 0;
    VT_TRY_OUT(comm_agree(comm, code ? VT_FAIL(VT_E_MEMORY, "cannot start the watchdog: %s", strerror(code)) : VT_OK));
    *out = watchdog;
    watchdog = NULL;
out:
    watchdog_stop(&watchdog);
    return status;
}

void watchdog_kick(struct watchdog *watchdog)
{
    if (watchdog)
        atomic_store_explicit(&watchdog->kicked_ns, clock_ns(), memory_order_relaxed);
}

void watchdog_allow(struct watchdog *watchdog, double seconds)
{
    if (!watchdog)
        return;
    watchdog_kick(watchdog);
    atomic_store(&watchdog->allowed_s, seconds > watchdog->timeout_s ? seconds : 0);
}

void watchdog_stop(struct watchdog **watchdog_pointer)
{
    struct watchdog *watchdog = *watchdog_pointer;
    if (!watchdog)
        return;
    atomic_store(&watchdog->quit, true);
    if (watchdog->thread_runs)
        pthread_join(watchdog->thread, NULL);
    send_farewell(watchdog, false);
    heartbeat_close(&watchdog->heartbeat);
    free(watchdog->reports);
    free(watchdog->heard_ns);
    free(watchdog);
    *watchdog_pointer = NULL;
}
