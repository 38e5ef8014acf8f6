/* A disk that fails, for LD_PRELOAD: reads of files whose path holds $FAIL_READ_PATH end with EIO.
 *   FAIL_READ_FROM=n   the first n - 1 of them (of a process) pass
 *   FAIL_READ_COUNT=n  only n fail; the rest pass again
 *   FAIL_READ_WHEN=p   none fails before the file p exists
 *   FAIL_READ_RANK=r   only in this rank of an mpirun */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t read(int fd, void *bytes, size_t size);

static atomic_long seen, failed;

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static bool is_meant(int fd)
{
    const char *part = getenv("FAIL_READ_PATH"), *when = getenv("FAIL_READ_WHEN"), *rank = getenv("FAIL_READ_RANK");
    const char *own = getenv("OMPI_COMM_WORLD_RANK");
    char link[64], path[4096];
    if (!part || (rank && (!own || strcmp(rank, own) != 0)))
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    return strstr(path, part) && (!when || access(when, F_OK) == 0);
}

static bool fails(int fd)
{
    int before = errno;
    bool hit = is_meant(fd) && atomic_fetch_add(&seen, 1) + 1 >= number("FAIL_READ_FROM", 1) &&
               atomic_fetch_add(&failed, 1) < number("FAIL_READ_COUNT", 1L << 40);
    errno = hit ? EIO : before;
    return hit;
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    static ssize_t (*next)(int, void *, size_t, off_t);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pread");
    return fails(fd) ? -1 : next(fd, bytes, size, offset);
}

ssize_t read(int fd, void *bytes, size_t size)
{
    static ssize_t (*next)(int, void *, size_t);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "read");
    return fails(fd) ? -1 : next(fd, bytes, size);
}
