/* The disk is full for the last rank only (a file-size limit): every rank gets the error, nobody hangs, the checkpoint
 * before stays, and the next save succeeds. */
#include "rank_check.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "scratch.h"
#include "toy_checkpoint.h"

static void set_limit(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void require_latest(const char *dir, struct toy *toy, int64_t step)
{
    char path[512];
    bool found = false;
    REQUIRE_OK(checkpoint_find_latest(dir, world, &found, path, sizeof path));
    REQUIRE(found);
    REQUIRE_OK(checkpoint_read_files(path, toy->files, 4));
    REQUIRE(toy_holds(toy, step));
    REQUIRE_OK(world->barrier(world));
}

int main(void)
{
    char dir[256] = "", temporary[512];
    struct stat info;
    struct toy toy;
    if (world_open(COMM_AUTO, &world) != VT_OK)
        return 1;
    if (world->rank == 0)
        snprintf(dir, sizeof dir, "%s", scratch_dir());
    REQUIRE_OK(world->broadcast(world, dir, sizeof dir, 0));
    toy_open(&toy, 1100);
    REQUIRE_OK(toy_save(&toy, dir, 2, 1, world, 1, false));
    signal(SIGXFSZ, SIG_IGN);
    bool full = world->rank == world->size - 1;
    if (full)
        set_limit(3 << 20);
    vt_status status = toy_save(&toy, dir, 2, 1, world, 2, true);
    REQUIRE(status == (full ? VT_E_IO : VT_E_COMM));
    REQUIRE(strstr(status_message(), "File too large"));
    char who[32];
    snprintf(who, sizeof who, "rank %d (host ", world->size - 1);
    REQUIRE(full || strncmp(status_message(), who, strlen(who)) == 0);
    if (full)
        set_limit(RLIM_INFINITY);
    REQUIRE_OK(world->barrier(world));
    snprintf(temporary, sizeof temporary, "%s/step-00000002.attempt-1.tmp", dir);
    REQUIRE(stat(temporary, &info) != 0);
    require_latest(dir, &toy, 1);
    REQUIRE_OK(toy_save(&toy, dir, 2, 1, world, 2, true));
    require_latest(dir, &toy, 2);
    toy_close(&toy);
    world_close(&world);
    return 0;
}
