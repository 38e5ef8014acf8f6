/* Every point of a save: the process ends before its n-th call to the operating system (a long write ends half-way),
 * for every n; then every call fails once, with every likely errno. The calls are counted by defining them here, over
 * libc's. After each: what loads is whole, the old or the new one, and the next save succeeds and leaves nothing
 * behind. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

static int calls, stop_at, fail_errno; /* stop_at 0 = only count; fail_errno 0 = end the process */
static bool armed;
static struct comm *comm;

/* True when this call is the one to fail. */
static bool strike(void)
{
    if (!armed || ++calls != stop_at)
        return false;
    if (!fail_errno)
        _exit(77);
    errno = fail_errno;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return strike() ? -1 : REAL(open)(path, flags, mode);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    if (armed && calls + 1 == stop_at)
        (void)!REAL(pwrite)(fd, bytes, size / 2, at);
    return strike() ? -1 : REAL(pwrite)(fd, bytes, size, at);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (fd <= 2)
        return REAL(write)(fd, bytes, size); /* messages */
    if (armed && calls + 1 == stop_at)
        (void)!REAL(write)(fd, bytes, size / 2);
    return strike() ? -1 : REAL(write)(fd, bytes, size);
}

/* Nothing here loses power: a sync only counts. */
int fsync(int fd)
{
    (void)fd;
    return strike() ? -1 : 0;
}

int mkdir(const char *path, mode_t mode) { return strike() ? -1 : REAL(mkdir)(path, mode); }
int ftruncate(int fd, off_t size) { return strike() ? -1 : REAL(ftruncate)(fd, size); }
int rename(const char *from, const char *to) { return strike() ? -1 : REAL(rename)(from, to); }
int symlink(const char *target, const char *path) { return strike() ? -1 : REAL(symlink)(target, path); }
int unlink(const char *path) { return strike() ? -1 : REAL(unlink)(path); }
int rmdir(const char *path) { return strike() ? -1 : REAL(rmdir)(path); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
    return strike() ? -1 : REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

static bool has_temporaries(const char *dir)
{
    bool found = false;
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        found |= strstr(entry->d_name, ".tmp") != NULL;
    if (folder)
        closedir(folder);
    return found;
}

/* The step of the newest that loads; its tensors are checked. */
static int64_t newest(const char *dir, struct toy *toy)
{
    char path[1024];
    bool found;
    struct checkpoint_state state;
    ASSERT_OK(checkpoint_find_latest(dir, comm, &found, path, sizeof path));
    CU_ASSERT_TRUE_FATAL(found);
    toy_spoil(toy);
    ASSERT_OK(checkpoint_read_state(path, &state));
    ASSERT_OK(checkpoint_read_files(path, toy->files, 4));
    int64_t step = state.step;
    checkpoint_state_close(&state);
    CU_ASSERT_TRUE_FATAL(toy_holds(toy, step));
    ASSERT_OK(checkpoint_resolve(dir, true, path, sizeof path));
    ASSERT_OK(checkpoint_verify(path));
    return step;
}

/* A store with steps 1 and 2; the save under test is step `step` (3 is new; 2 replaces what is there). In a child
 * process, returns its exit status: 0 saved, 1 a clean failure, 77 ended on the way. */
static int try_save(const char *dir, int n, int error, int64_t step, struct toy *toy)
{
    int status;
    ASSERT_OK(toy_save(toy, dir, 2, 1, comm, 1, true));
    ASSERT_OK(toy_save(toy, dir, 2, 1, comm, 2, false));
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(9);
        calls = 0, stop_at = n, fail_errno = error, armed = true;
        vt_status saved = toy_save(toy, dir, 2, 1, comm, step, true);
        armed = false;
        _exit(calls < n ? 5 : saved != VT_OK);
    }
    CU_ASSERT_FATAL(waitpid(child, &status, 0) == child);
    CU_ASSERT_TRUE_FATAL(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Returns how many calls the save has. */
static int enumerate(const char *name, int error, int64_t step)
{
    struct toy toy;
    int n = 1, clean = 0;
    toy_open(&toy, 20);
    for (;; n++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s/%s-%d", scratch_dir(), name, n);
        int code = try_save(dir, n, error, step, &toy);
        int64_t found = newest(dir, &toy);
        CU_ASSERT_FATAL(found == 2 || found == step);
        if (code == 5)
            break;
        if (error) {
            CU_ASSERT(code == 0 || code == 1);
            CU_ASSERT(code != 0 || found == step); /* who says "saved" has saved */
        } else {
            CU_ASSERT_EQUAL(code, 77);
        }
        clean += code == 1;
        ASSERT_OK(toy_save(&toy, dir, 2, 2, comm, 4, false));
        CU_ASSERT_FALSE(has_temporaries(dir));
        CU_ASSERT_EQUAL(newest(dir, &toy), 4);
    }
    toy_close(&toy);
    if (error)
        CU_ASSERT(clean > 20);
    return n - 1;
}

static void ends_before_every_call(void)
{
    int n = enumerate("end", 0, 3);
    printf("(%d crash points) ", n);
    CU_ASSERT(n > 40);
}

static void ends_while_replacing(void)
{
    int n = enumerate("replace", 0, 2);
    printf("(%d crash points) ", n);
    CU_ASSERT(n > 40);
}

static void every_call_fails(void)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    int n = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char name[32];
        snprintf(name, sizeof name, "fail-%d", errors[i]);
        n += enumerate(name, errors[i], 3);
    }
    printf("(%d failures) ", n);
}

static const struct test_case cases[] = {
    {"ends before every call", ends_before_every_call},
    {"ends while replacing the same step", ends_while_replacing},
    {"every call fails once", every_call_fails},
};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint crash points", cases, (int)(sizeof cases / sizeof *cases));
    world_close(&comm);
    return failed;
}
