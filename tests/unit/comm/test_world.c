#include "comm/comm.h"
#include "comm/watchdog.h"

#include <unistd.h>

#include "base/stage.h"
#include "test.h"

static void leave_launchers(void)
{
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMIX_RANK");
    unsetenv("PMI_RANK");
    unsetenv("PMI_SIZE");
    unsetenv("SLURM_STEP_NUM_TASKS");
}

static void alone_by_default(void)
{
    struct comm *comm = NULL, *twin = NULL;
    const int64_t begin[] = {0, 2};
    int32_t word = 7, words[2] = {1, 2};
    leave_launchers();
    ASSERT_OK(world_open(COMM_AUTO, &comm));
    CU_ASSERT_STRING_EQUAL(comm->name, "self");
    CU_ASSERT(comm->rank == 0 && comm->size == 1 && comm->local_rank == 0 && comm->local_size == 1 && comm->cpus >= 1 && comm->host[0]);
    ASSERT_OK(comm->duplicate(comm, &twin));
    ASSERT_OK(twin->all_reduce(twin, &word, 1, DTYPE_I32, REDUCE_SUM));
    ASSERT_OK(comm->broadcast(comm, &word, sizeof word, 0));
    ASSERT_OK(comm->reduce_scatter(comm, words, begin, DTYPE_I32));
    ASSERT_OK(comm->all_gather(comm, words, begin, DTYPE_I32));
    ASSERT_OK(comm->barrier(comm));
    CU_ASSERT(word == 7 && words[0] == 1 && words[1] == 2);
    ASSERT_OK(comm_agree(comm, VT_OK));
    ASSERT_FAILS(comm_agree(comm, VT_FAIL(VT_E_IO, "my own")), VT_E_IO, "my own");
    twin->close(twin);
    world_close(&comm);
    CU_ASSERT_PTR_NULL(comm);
    world_close(&comm);
}

/* srun without PMIx would start so many strangers. */
static void strangers_are_refused(void)
{
    struct comm *comm = NULL;
    leave_launchers();
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    ASSERT_FAILS(world_open(COMM_AUTO, &comm), VT_E_USAGE, "srun started 4 tasks or more that cannot find each other");
    CU_ASSERT_PTR_NULL(comm);
    ASSERT_OK(world_open(COMM_SELF, &comm));
    world_close(&comm);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    ASSERT_OK(world_open(COMM_AUTO, &comm));
    world_close(&comm);
    leave_launchers();
}

static void no_watchdog_is_fine(void)
{
    struct comm *comm = NULL;
    struct watchdog *watchdog = (struct watchdog *)&comm;
    ASSERT_OK(world_open(COMM_SELF, &comm));
    ASSERT_OK(watchdog_start(comm, 0, &watchdog));
    CU_ASSERT_PTR_NULL(watchdog);
    watchdog_kick(watchdog);
    watchdog_allow(watchdog, 3);
    watchdog_stop(&watchdog);
    world_close(&comm);
}

/* One process is watched too; kicks and announced phases keep it quiet (the process would end otherwise). */
static void a_lonely_watchdog(void)
{
    struct comm *comm = NULL;
    struct watchdog *watchdog = NULL;
    ASSERT_OK(world_open(COMM_SELF, &comm));
    ASSERT_OK(watchdog_start(comm, 0.4, &watchdog));
    for (int i = 0; i < 8; i++) {
        usleep(100 * 1000);
        watchdog_kick(watchdog);
    }
    watchdog_allow(watchdog, 60);
    usleep(1000 * 1000);
    watchdog_allow(watchdog, 0);
    watchdog_stop(&watchdog);
    CU_ASSERT_PTR_NULL(watchdog);
    world_close(&comm);
}

static const struct test_case cases[] = {
    {"alone by default", alone_by_default},
    {"strangers are refused", strangers_are_refused},
    {"no watchdog is fine", no_watchdog_is_fine},
    {"a lonely watchdog", a_lonely_watchdog},
};
TEST_MAIN("world", cases)
