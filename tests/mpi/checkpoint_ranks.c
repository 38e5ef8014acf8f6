/* A checkpoint saved by many ranks is, byte for byte, the one that a single rank saves; all ranks load it, and agree on
 * which one is damaged. */
#include "rank_check.h"

#include "base/file.h"
#include "scratch.h"
#include "toy_checkpoint.h"

/* Rank 0's scratch folder, known to all. */
static void share_folder(char *dir, size_t bytes)
{
    memset(dir, 0, bytes);
    if (world->rank == 0)
        snprintf(dir, bytes, "%s", scratch_dir());
    REQUIRE_OK(world->broadcast(world, dir, (int64_t)bytes, 0));
}

static void require_same_file(const char *a_dir, const char *b_dir, const char *name)
{
    char a_path[1024], b_path[1024], *a, *b;
    size_t a_size, b_size;
    REQUIRE_OK(path_join(a_path, sizeof a_path, a_dir, name));
    REQUIRE_OK(path_join(b_path, sizeof b_path, b_dir, name));
    REQUIRE_OK(file_read(a_path, 1 << 30, &a, &a_size));
    REQUIRE_OK(file_read(b_path, 1 << 30, &b, &b_size));
    REQUIRE(a_size == b_size && memcmp(a, b, a_size) == 0);
    free(a);
    free(b);
}

static void check_against_one_rank(const char *dir, struct toy *toy, int64_t step)
{
    static const char *const names[] = {"model.safetensors", "ema.safetensors", "optimizer.safetensors", "config.json",
                                        "checkpoint.pb"};
    char mine[512], theirs[512], alone[512];
    struct comm *self = NULL;
    snprintf(alone, sizeof alone, "%s/alone", dir);
    REQUIRE_OK(world_open(COMM_SELF, &self));
    REQUIRE_OK(toy_save(toy, alone, 2, 1, self, step, false));
    self->close(self);
    snprintf(mine, sizeof mine, "%s/alone/step-%08lld", dir, (long long)step);
    snprintf(theirs, sizeof theirs, "%s/store/step-%08lld", dir, (long long)step);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        require_same_file(mine, theirs, names[i]);
}

static void check_load(const char *store, struct toy *toy, int64_t step)
{
    char path[512];
    bool found = false;
    struct checkpoint_state state;
    REQUIRE_OK(checkpoint_find_latest(store, world, &found, path, sizeof path));
    REQUIRE(found);
    toy_spoil(toy);
    REQUIRE_OK(checkpoint_read_files(path, toy->files, 4));
    REQUIRE(toy_holds(toy, step));
    REQUIRE_OK(checkpoint_read_state(path, &state));
    REQUIRE(state.step == step);
    checkpoint_state_close(&state);
    REQUIRE_OK(world->barrier(world));
}

static void damage(const char *store, const char *name, long at)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", store, name);
    FILE *file = fopen(path, "r+b");
    REQUIRE(file);
    fseek(file, at, SEEK_SET);
    fputc('!', file);
    fclose(file);
}

int main(void)
{
    char dir[256], store[300];
    struct toy toy;
    if (world_open(COMM_AUTO, &world) != VT_OK)
        return 1;
    share_folder(dir, sizeof dir);
    snprintf(store, sizeof store, "%s/store", dir);
    toy_open(&toy, 1100); /* 5 MB a file: every rank has a share */
    for (int64_t step = 1; step <= 2; step++) {
        REQUIRE_OK(toy_save(&toy, store, 2, 1, world, step, step == 1));
        if (world->rank == 0)
            check_against_one_rank(dir, &toy, step);
        REQUIRE_OK(world->barrier(world));
    }
    check_load(store, &toy, 2);
    if (world->rank == 0)
        damage(store, "step-00000002/optimizer.safetensors", 9000000); /* in the last rank's share */
    REQUIRE_OK(world->barrier(world));
    check_load(store, &toy, 1);
    toy_close(&toy);
    world_close(&world);
    return 0;
}
