/* checkpoint_kill DIR MILLISECONDS: all ranks save checkpoint after checkpoint until a timer kills one of them (0:
 * never). First everyone loads what the run before left: it must be whole, and the one it reported last or the one
 * after. */
#include "rank_check.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "toy_checkpoint.h"

static int delay_ms;

static void *kill_later(void *context)
{
    (void)context;
    usleep((useconds_t)delay_ms * 1000);
    kill(getpid(), SIGKILL);
    return NULL;
}

static int64_t load(const char *store, struct toy *toy)
{
    char path[1024];
    bool found = false;
    struct checkpoint_state state;
    REQUIRE_OK(checkpoint_find_latest(store, world, &found, path, sizeof path));
    if (!found)
        return 0;
    toy_spoil(toy);
    REQUIRE_OK(checkpoint_read_files(path, toy->files, 4));
    REQUIRE_OK(checkpoint_read_state(path, &state));
    int64_t step = state.step;
    checkpoint_state_close(&state);
    REQUIRE(toy_holds(toy, step));
    return step;
}

/* The last step that rank 0 knew to be saved. */
static void check_report(const char *report, int64_t step)
{
    char *text;
    size_t size;
    if (world->rank != 0 || !file_exists(report))
        return;
    REQUIRE_OK(file_read(report, 64, &text, &size));
    int64_t reported = atoll(text);
    free(text);
    REQUIRE(step == reported || step == reported + 1);
}

int main(int argc, char **argv)
{
    char store[512], report[512], text[32];
    pthread_t thread;
    struct toy toy;
    if (argc != 3 || world_open(COMM_AUTO, &world) != VT_OK)
        return 1;
    delay_ms = atoi(argv[2]);
    snprintf(store, sizeof store, "%s/store", argv[1]);
    snprintf(report, sizeof report, "%s/report", argv[1]);
    toy_open(&toy, 900);
    int64_t step = load(store, &toy);
    check_report(report, step);
    if (delay_ms > 0 && world->rank == delay_ms % world->size)
        REQUIRE(pthread_create(&thread, NULL, kill_later, NULL) == 0);
    for (int64_t end = step + 1000; delay_ms > 0 && step < end;) {
        step++;
        REQUIRE_OK(toy_save(&toy, store, 2, 1, world, step, step % 2));
        snprintf(text, sizeof text, "%lld", (long long)step);
        if (world->rank == 0)
            REQUIRE_OK(file_write_atomic(report, text, strlen(text)));
    }
    if (world->rank == 0)
        printf("checkpoint_kill: step %lld is whole\n", (long long)step);
    toy_close(&toy);
    world_close(&world);
    return 0;
}
