/* Every sampled byte of every file of a checkpoint, flipped in one bit, and every sampled length: always found, always
 * named, and the checkpoint before is used. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/philox.h"
#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

static struct comm *comm;
static const char *const files[] = {"model.safetensors", "ema.safetensors", "optimizer.safetensors", "config.json",
                                    "checkpoint.pb"};

static void flip(const char *path, int64_t at, int bit)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    CU_ASSERT_FATAL(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= (uint8_t)(1 << bit);
    CU_ASSERT_FATAL(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static void expect_named(const char *checkpoint, const char *name)
{
    struct toy toy;
    struct checkpoint_state state = {0};
    CU_ASSERT_EQUAL(checkpoint_verify(checkpoint), VT_E_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), name));
    toy_open(&toy, 40);
    vt_status read = checkpoint_read_state(checkpoint, &state);
    if (read == VT_OK)
        read = checkpoint_read_files(checkpoint, toy.files, 4);
    /* config.json is read by nobody here; everything that is read is refused. */
    CU_ASSERT(read == VT_E_FORMAT || strcmp(name, "config.json") == 0);
    checkpoint_state_close(&state);
    toy_close(&toy);
}

/* All bytes of the first and last 64, of a small file all, else some in between. */
static void flips(void)
{
    const char *dir = scratch_path("flips");
    struct toy toy;
    char path[2048], newest[1024];
    int64_t size;
    int flipped = 0;
    toy_open(&toy, 40);
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 1, false));
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 2, false));
    ASSERT_OK(path_join(newest, sizeof newest, dir, "step-00000002"));
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        snprintf(path, sizeof path, "%s/%s", newest, files[f]);
        ASSERT_OK(file_size(path, &size));
        for (int64_t at = 0; at < size; at += at < 64 || at >= size - 64 || size < 1500 ? 1 : 41) {
            int bit = (int)draw_below(1, 2, 3, (uint32_t)at, 8);
            flip(path, at, bit);
            expect_named(newest, files[f]);
            flip(path, at, bit);
            flipped++;
        }
    }
    ASSERT_OK(checkpoint_verify(newest));
    printf("(%d flips) ", flipped);
    toy_close(&toy);
}

static void lengths(void)
{
    const char *dir = scratch_path("lengths");
    struct toy toy;
    char path[2048], newest[1024], *bytes;
    size_t size;
    toy_open(&toy, 40);
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 2, false));
    ASSERT_OK(path_join(newest, sizeof newest, dir, "step-00000002"));
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        snprintf(path, sizeof path, "%s/%s", newest, files[f]);
        ASSERT_OK(file_read(path, 1 << 24, &bytes, &size));
        for (uint32_t i = 0; i < 24; i++) {
            /* Cut short, or longer by a few zero bytes. */
            int64_t length = i < 20 ? (int64_t)draw_below(5, f, 1, i, size) : (int64_t)size + (int64_t)i - 19;
            CU_ASSERT_FATAL(truncate(path, length) == 0);
            expect_named(newest, files[f]);
            ASSERT_OK(file_write_atomic(path, bytes, size));
        }
        unlink(path);
        CU_ASSERT_NOT_EQUAL(checkpoint_verify(newest), VT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), files[f]));
        ASSERT_OK(file_write_atomic(path, bytes, size));
        free(bytes);
    }
    ASSERT_OK(checkpoint_verify(newest));
    toy_close(&toy);
}

/* A sample of them through the search for the newest: the one before is used. */
static void the_one_before_is_used(void)
{
    const char *dir = scratch_path("before");
    struct toy toy;
    char path[2048], newest[1024], out[1024];
    int64_t size;
    bool found;
    toy_open(&toy, 40);
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 1, false));
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 2, false));
    ASSERT_OK(path_join(newest, sizeof newest, dir, "step-00000002"));
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        snprintf(path, sizeof path, "%s/%s", newest, files[f]);
        ASSERT_OK(file_size(path, &size));
        for (uint32_t i = 0; i < 3; i++) {
            int64_t at = (int64_t)draw_below(8, f, 1, i, (uint64_t)size);
            flip(path, at, 3);
            ASSERT_OK(checkpoint_find_latest(dir, comm, &found, out, sizeof out));
            CU_ASSERT_TRUE_FATAL(found);
            CU_ASSERT_STRING_EQUAL(path_base(out), "step-00000001");
            toy_spoil(&toy);
            ASSERT_OK(checkpoint_read_files(out, toy.files, 4));
            CU_ASSERT_TRUE(toy_holds(&toy, 1));
            flip(path, at, 3);
        }
    }
    toy_close(&toy);
}

static const struct test_case cases[] = {
    {"flipped bits", flips}, {"wrong lengths", lengths}, {"the one before is used", the_one_before_is_used}};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint damage", cases, (int)(sizeof cases / sizeof *cases));
    world_close(&comm);
    return failed;
}
