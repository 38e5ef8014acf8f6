/* A full disk: a small tmpfs in a mount namespace of our own where that is allowed, and a file-size limit anywhere. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

static struct comm *comm;

static int count_temporaries(const char *dir)
{
    int count = 0;
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += strstr(entry->d_name, ".tmp") != NULL;
    if (folder)
        closedir(folder);
    return count;
}

static void expect_latest(const char *dir, int64_t step)
{
    char path[1024];
    bool found;
    struct toy toy;
    toy_open(&toy, 300);
    ASSERT_OK(checkpoint_find_latest(dir, comm, &found, path, sizeof path));
    CU_ASSERT_TRUE_FATAL(found);
    ASSERT_OK(checkpoint_read_files(path, toy.files, 4));
    CU_ASSERT_TRUE(toy_holds(&toy, step));
    toy_close(&toy);
}

static void full_disk(void)
{
    const char *disk = scratch_path("disk"), *dir = scratch_path("disk/checkpoints");
    struct toy toy;
    mkdir(disk, 0755);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", disk, "tmpfs", 0, "size=3500k") != 0) {
        printf("(skipped: no right to mount: %s) ", strerror(errno));
        return;
    }
    toy_open(&toy, 300); /* four times 370 kB: one fits, and most of the second */
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 1, false));
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 2, false)); /* the first made room */
    FILE *filler = fopen(scratch_path("disk/filler"), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(filler);
    for (int i = 0; i < 1000; i++)
        fwrite(toy.model, 1, 1024, filler);
    fclose(filler);
    for (int64_t step = 3; step < 6; step++)
        ASSERT_FAILS(toy_save(&toy, dir, 1, 1, comm, step, true), VT_E_IO, "No space left on device");
    CU_ASSERT_EQUAL(count_temporaries(dir), 0);
    expect_latest(dir, 2);
    unlink(scratch_path("disk/filler"));
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 6, false));
    expect_latest(dir, 6);
    toy_close(&toy);
    umount(disk);
}

static void size_limit(void)
{
    const char *dir = scratch_path("limit");
    struct toy toy;
    struct rlimit before, small;
    toy_open(&toy, 300);
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 1, false));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    ASSERT_FAILS(toy_save(&toy, dir, 1, 1, comm, 2, false), VT_E_IO, "File too large");
    setrlimit(RLIMIT_FSIZE, &before);
    CU_ASSERT_EQUAL(count_temporaries(dir), 0);
    expect_latest(dir, 1);
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 2, false));
    expect_latest(dir, 2);
    toy_close(&toy);
}

static const struct test_case cases[] = {{"file-size limit", size_limit}, {"full disk", full_disk}};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint full disk", cases, 2);
    world_close(&comm);
    return failed;
}
