/* hang HOW RANK: steps go by; at step 57 this rank does something bad while the others wait for it in an all-reduce. */
#include "rank_check.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/stage.h"
#include "comm/watchdog.h"

enum { BAD_STEP = 57, LAST_STEP = 70 };
#define TIMEOUT_S 2.0

static void *abort_soon(void *context)
{
    (void)context;
    usleep(300 * 1000);
    world_abort(world, 5, "the reason");
    return NULL;
}

static void *loader(void *context)
{
    (void)context;
    stage_register("loader 0");
    stage_enter(STAGE_READ);
    sleep(60);
    return NULL;
}

static void start(void *(*run)(void *))
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, run, NULL) == 0);
    pthread_detach(thread);
}

static void misbehave(const char *how)
{
    if (strcmp(how, "sleep") == 0) {
        stage_enter(STAGE_DECODE);
        sleep(60);
    } else if (strcmp(how, "loader") == 0) {
        start(loader);
        stage_enter(STAGE_DATA_WAIT);
        sleep(60);
    } else if (strcmp(how, "stop") == 0) {
        kill(getpid(), SIGSTOP);
    } else if (strcmp(how, "kill") == 0) {
        kill(getpid(), SIGKILL);
    } else if (strcmp(how, "exit") == 0) {
        _exit(7);
    } else if (strcmp(how, "abort") == 0) {
        world_abort(world, 5, "the reason");
    } else if (strcmp(how, "abort-thread") == 0) {
        start(abort_soon);
        int32_t word = 0;
        /* This rank's main thread sits in another collective: nobody leaves. */
        (void)!world->broadcast(world, &word, sizeof word, (world->rank + 1) % world->size);
        (void)!world->barrier(world);
        sleep(60);
    }
}

int main(int argc, char **argv)
{
    struct watchdog *watchdog = NULL;
    if (argc != 3 || world_open(COMM_AUTO, &world) != VT_OK)
        return 2;
    stage_register("main");
    REQUIRE_OK(watchdog_start(world, TIMEOUT_S, &watchdog));
    for (int64_t step = 0; step < LAST_STEP; step++) {
        float sum = 1;
        stage_set_step(step);
        stage_enter(STAGE_FORWARD);
        usleep(5000);
        if (step == BAD_STEP && world->rank == atoi(argv[2]))
            misbehave(argv[1]);
        stage_enter(STAGE_BACKWARD);
        REQUIRE_OK(world->all_reduce(world, &sum, 1, DTYPE_F32, REDUCE_SUM));
        REQUIRE(sum == (float)world->size);
        watchdog_kick(watchdog);
    }
    /* A long phase that was announced, on one rank only: the others wait and nobody is blamed. */
    if (world->rank == 1) {
        watchdog_allow(watchdog, 60);
        stage_enter(STAGE_EVAL);
        sleep(4);
        watchdog_allow(watchdog, 0);
    }
    REQUIRE_OK(world->barrier(world));
    watchdog_stop(&watchdog);
    sleep(world->rank == 0 ? 0 : 1); /* leaving one by one is no silence */
    world_close(&world);
    return 0;
}
