/* A power cut keeps only what was synced. The calls of a save are watched (defined here, over libc's): when the folder
 * gets its final name, every file written in it and the folder itself must have been synced since; before anything else
 * is done with the store, so must the store's folder. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

enum { PATHS_MAX = 64, PATH_BYTES = 1024 };

static char dirty[PATHS_MAX][PATH_BYTES]; /* "" = free */
static int syncs, commits, failures;
static bool armed;
static char store[512];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int find_dirty(const char *path)
{
    for (int i = 0; i < PATHS_MAX; i++)
        if (strcmp(dirty[i], path) == 0)
            return i;
    return -1;
}

static void mark(const char *path)
{
    int slot = find_dirty(path) >= 0 ? find_dirty(path) : find_dirty("");
    if (armed && slot >= 0)
        snprintf(dirty[slot], PATH_BYTES, "%s", path);
}

static void mark_parent(const char *path)
{
    char parent[PATH_BYTES];
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    mark(parent);
}

static void path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_BYTES - 1);
    path[n > 0 ? n : 0] = 0;
}

static void mark_fd(int fd)
{
    char path[PATH_BYTES];
    path_of(fd, path);
    if (path[0] == '/')
        mark(path);
}

/* Nothing at or below `prefix` may be dirty now. */
static void expect_clean(const char *prefix, bool below, const char *when)
{
    for (int i = 0; armed && i < PATHS_MAX; i++)
        if (dirty[i][0] && (below ? strncmp(dirty[i], prefix, strlen(prefix)) == 0 : strcmp(dirty[i], prefix) == 0)) {
            fprintf(stderr, "%s: %s is not synced\n", when, dirty[i]);
            failures++;
        }
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT)
        mark_parent(path);
    return REAL(open)(path, flags, mode);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    mark_fd(fd);
    return REAL(pwrite)(fd, bytes, size, at);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (fd > 2)
        mark_fd(fd);
    return REAL(write)(fd, bytes, size);
}

int ftruncate(int fd, off_t size)
{
    mark_fd(fd);
    return REAL(ftruncate)(fd, size);
}

int fsync(int fd)
{
    char path[PATH_BYTES];
    path_of(fd, path);
    int slot = find_dirty(path);
    if (path[0] && slot >= 0)
        dirty[slot][0] = 0;
    syncs++;
    return 0;
}

static void watch_rename(const char *from, const char *to)
{
    size_t length = strlen(from);
    bool commit = length > 4 && strcmp(from + length - 4, ".tmp") == 0 && strstr(to, "/step-") && !strstr(to, ".tmp");
    if (commit && armed) {
        expect_clean(from, true, "commit");
        commits++;
    }
    if (!commit && commits)
        expect_clean(store, false, to); /* the commit itself must last before links and deletions */
    if (commit)
        mark(store);
}

int rename(const char *from, const char *to)
{
    watch_rename(from, to);
    return REAL(rename)(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
    watch_rename(from, to);
    return REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path)
{
    if (armed && commits)
        expect_clean(store, false, path);
    return REAL(unlink)(path);
}

static struct comm *comm;

static void watched_save(struct toy *toy, int64_t step)
{
    memset(dirty, 0, sizeof dirty);
    syncs = commits = failures = 0;
    armed = true;
    vt_status status = toy_save(toy, store, 1, 1, comm, step, true);
    armed = false;
    CU_ASSERT_EQUAL(status, VT_OK);
    CU_ASSERT_EQUAL(commits, 1);
    CU_ASSERT_EQUAL(failures, 0);
    CU_ASSERT(syncs >= 7); /* five files, two folders */
}

static void everything_is_synced_in_time(void)
{
    struct toy toy;
    snprintf(store, sizeof store, "%s/checkpoints", scratch_dir());
    toy_open(&toy, 30);
    for (int64_t step = 1; step <= 3; step++)
        watched_save(&toy, step);
    watched_save(&toy, 3); /* in the place of the one before */
    toy_close(&toy);
}

static const struct test_case cases[] = {{"everything is synced in time", everything_is_synced_in_time}};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint durability", cases, 1);
    world_close(&comm);
    return failed;
}
