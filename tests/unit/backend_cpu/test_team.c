/* Every part of every run is done exactly once, by a worker that shares its number with nobody at that time. */
#include "backend/cpu/team.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "test.h"

enum { THREADS = 5, MAX_PARTS = 97 };

struct tally {
    atomic_int done[MAX_PARTS], busy[THREADS], clashes, wrong;
    int parts;
    int plain[MAX_PARTS]; /* written by whoever has the part, read by the caller after the run */
};

static void count(void *context, int part, int parts, int worker)
{
    struct tally *t = context;
    if (worker < 0 || worker >= THREADS || parts != t->parts || part < 0 || part >= parts) {
        atomic_fetch_add(&t->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&t->busy[worker], 1) != 0)
        atomic_fetch_add(&t->clashes, 1);
    atomic_fetch_add(&t->done[part], 1);
    t->plain[part]++;
    atomic_fetch_sub(&t->busy[worker], 1);
}

static void runs(int threads, int rounds, int pause_every)
{
    struct cpu_team *team = NULL;
    struct tally tally;
    memset(&tally, 0, sizeof tally);
    ASSERT_OK(cpu_team_open(threads, &team));
    int expected[MAX_PARTS] = {0};
    for (int round = 0; round < rounds; round++) {
        tally.parts = round * 31 % (MAX_PARTS + 1);
        cpu_team_run(team, tally.parts, count, &tally);
        for (int part = 0; part < tally.parts; part++)
            expected[part]++;
        CU_ASSERT_FATAL(memcmp(expected, tally.plain, sizeof expected) == 0);
        if (pause_every && round % pause_every == 0)
            usleep(300); /* long enough for helpers to fall asleep */
    }
    for (int part = 0; part < MAX_PARTS; part++)
        CU_ASSERT_EQUAL_FATAL(atomic_load(&tally.done[part]), expected[part]);
    CU_ASSERT_EQUAL(atomic_load(&tally.clashes), 0);
    CU_ASSERT_EQUAL(atomic_load(&tally.wrong), 0);
    cpu_team_close(&team);
    CU_ASSERT_PTR_NULL(team);
}

static void one_thread(void)
{
    runs(1, 200, 0);
}
static void many_threads_in_quick_succession(void)
{
    runs(THREADS, 5000, 0);
}
static void sleeping_helpers_wake_up(void)
{
    runs(3, 200, 1);
}

enum { MANY_PARTS = 2 * 1048575 + 7 }; /* a share's word holds 20 bits of them */

static void mark(void *context, int part, int parts, int worker)
{
    (void)worker;
    unsigned char *done = context;
    if (parts == MANY_PARTS && part >= 0 && part < parts)
        done[part]++;
}

static void millions_of_parts(void)
{
    struct cpu_team *team = NULL;
    unsigned char *done = calloc(MANY_PARTS, 1);
    int wrong = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(done);
    ASSERT_OK(cpu_team_open(3, &team));
    cpu_team_run(team, MANY_PARTS, mark, done);
    for (int part = 0; part < MANY_PARTS; part++)
        wrong += done[part] != 1;
    CU_ASSERT_EQUAL(wrong, 0);
    cpu_team_close(&team);
    free(done);
}

static void a_team_that_never_ran_closes(void)
{
    for (int threads = 1; threads <= THREADS; threads++) {
        struct cpu_team *team = NULL;
        ASSERT_OK(cpu_team_open(threads, &team));
        cpu_team_close(&team);
    }
    cpu_team_close(NULL);
}

static const struct test_case cases[] = {
    {"one thread", one_thread},
    {"many threads in quick succession", many_threads_in_quick_succession},
    {"sleeping helpers wake up", sleeping_helpers_wake_up},
    {"millions of parts", millions_of_parts},
    {"a team that never ran closes", a_team_that_never_ran_closes},
};
TEST_MAIN("team", cases)
