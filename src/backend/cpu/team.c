#include "backend/cpu/team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { SPIN_NS = 50000, SPINS_PER_LOOK = 64, MAX_PARTS = (1 << 20) - 1 };

/* One worker's share of the parts, claimed from its front by anyone: generation (24 bits), end (20), next (20) in one
 * word, so that a claim succeeds only in the run it was meant for. */
struct share {
    _Alignas(64) _Atomic uint64_t word;
};

struct helper {
    struct cpu_team *team;
    pthread_t thread;
    int worker;
};

struct cpu_team {
    int threads, started; /* threads: the caller included */
    struct share *shares;
    struct helper *helpers;
    /* Set by the caller before the shares of a run are published; stable while any part of it is claimed. */
    cpu_task *task;
    void *context;
    int first, parts; /* this run's claims count from `first`; parts: of all its runs */
    _Alignas(64) _Atomic int left;            /* parts not yet done */
    _Alignas(64) _Atomic uint32_t generation; /* of the newest run; futex of sleeping helpers */
    _Atomic int sleepers;
    _Atomic bool closing;
};

static uint64_t share_word(uint32_t generation, int next, int end)
{
    return (uint64_t)(generation & 0xffffffu) << 40 | (uint64_t)end << 20 | (uint64_t)next;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Claims the front part of a share, or -1. */
static int claim(struct share *share)
{
    uint64_t word = atomic_load_explicit(&share->word, memory_order_acquire);
    for (;;) {
        int next = (int)(word & 0xfffff), end = (int)(word >> 20 & 0xfffff);
        if (next >= end)
            return -1;
        if (atomic_compare_exchange_weak_explicit(&share->word, &word, word + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return next;
    }
}

/* Own share first, then the others'. A claimed part pins the run: its task cannot change before it is done. */
static void work(struct cpu_team *team, int worker)
{
    for (int i = 0; i < team->threads; i++) {
        struct share *share = &team->shares[(worker + i) % team->threads];
        for (int part; (part = claim(share)) >= 0;) {
            team->task(team->context, team->first + part, team->parts, worker);
            atomic_fetch_sub_explicit(&team->left, 1, memory_order_acq_rel);
        }
    }
}

static void sleep_until_run(struct cpu_team *team, uint32_t seen)
{
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->generation) == seen)
        syscall(SYS_futex, &team->generation, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&team->sleepers, 1);
}

/* Returns the generation of a newer run. */
static uint32_t wait_for_run(struct cpu_team *team, uint32_t seen)
{
    int64_t start = clock_ns();
    for (;;) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            uint32_t now = atomic_load_explicit(&team->generation, memory_order_acquire);
            if (now != seen)
                return now;
            relax();
        }
        if (clock_ns() - start > SPIN_NS) {
            sleep_until_run(team, seen);
            return atomic_load(&team->generation);
        }
    }
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    struct cpu_team *team = helper->team;
    for (uint32_t seen = 0; !atomic_load(&team->closing);) {
        seen = wait_for_run(team, seen);
        work(team, helper->worker);
    }
    return NULL;
}

static void announce(struct cpu_team *team)
{
    atomic_fetch_add(&team->generation, 1);
    if (atomic_load(&team->sleepers) > 0)
        syscall(SYS_futex, &team->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Parts [first, first + count), at most MAX_PARTS of them. */
static void run_once(struct cpu_team *team, int first, int count)
{
    team->first = first;
    atomic_store_explicit(&team->left, count, memory_order_relaxed);
    uint32_t generation = atomic_load_explicit(&team->generation, memory_order_relaxed) + 1;
    for (int i = 0; i < team->threads; i++) {
        int begin = (int)((int64_t)count * i / team->threads), end = (int)((int64_t)count * (i + 1) / team->threads);
        atomic_store_explicit(&team->shares[i].word, share_word(generation, begin, end), memory_order_release);
    }
    announce(team);
    work(team, 0);
    /* Others may hold the last parts; one that was put aside needs this core to come back. */
    for (int spins = 0; atomic_load_explicit(&team->left, memory_order_acquire) > 0; spins++)
        spins < 4000 ? relax() : (void)sched_yield();
}

void cpu_team_run(struct cpu_team *team, int parts, cpu_task *task, void *context)
{
    if (team->threads == 1 || parts <= 1) {
        for (int part = 0; part < parts; part++)
            task(context, part, parts, 0);
        return;
    }
    team->task = task;
    team->context = context;
    team->parts = parts;
    for (int first = 0, count; first < parts; first += count) { /* a batch of many heads may have millions */
        count = parts - first < MAX_PARTS ? parts - first : MAX_PARTS;
        run_once(team, first, count);
    }
}

static vt_status start_helpers(struct cpu_team *team)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (int i = 1; i < team->threads && !error; i++) {
        team->helpers[i] = (struct helper){.team = team, .worker = i};
        error = pthread_create(&team->helpers[i].thread, NULL, helper_main, &team->helpers[i]);
        team->started += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return VT_FAIL(VT_E_LIMIT, "cpu: cannot start %d threads: %s", team->threads, strerror(error));
    return VT_OK;
}

vt_status cpu_team_open(int threads, struct cpu_team **out)
{
    struct cpu_team *team = aligned_alloc(64, (sizeof *team + 63) / 64 * 64);
    if (!team)
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for a team of %d threads", threads);
    memset(team, 0, sizeof *team);
    team->threads = threads;
    team->shares = aligned_alloc(64, (size_t)threads * sizeof *team->shares);
    team->helpers = calloc((size_t)threads, sizeof *team->helpers);
    vt_status status = VT_OK;
    if (!team->shares || !team->helpers)
        status = VT_FAIL(VT_E_MEMORY, "cpu: no memory for a team of %d threads", threads);
    else {
        memset(team->shares, 0, (size_t)threads * sizeof *team->shares);
        status = start_helpers(team);
    }
    if (status != VT_OK)
        cpu_team_close(&team);
    *out = team;
    return status;
}

void cpu_team_close(struct cpu_team **pointer)
{
    struct cpu_team *team = pointer ? *pointer : NULL;
    if (!team)
        return;
    atomic_store(&team->closing, true);
    announce(team);
    for (int i = 1; i <= team->started; i++)
        pthread_join(team->helpers[i].thread, NULL);
    free(team->helpers);
    free(team->shares);
    free(team);
    *pointer = NULL;
}
