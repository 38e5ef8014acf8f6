#include "dataset/shard_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "dataset/manifest.h"

enum { MOST_OPEN = 512, PATH_BYTES = 4096 };

struct shard_file {
    int fd; /* -1 = closed */
    int readers;
    uint64_t used;
};

struct shard_files {
    pthread_mutex_t lock;
    char *dir;
    const struct manifest_split *split; /* borrowed */
    int count, open, limit;
    uint64_t clock;
    struct shard_file files[];
};

vt_status shard_files_new(const char *dir, const struct manifest_split *split, struct shard_files **out)
{
    *out = NULL;
    int count = split->shard_count;
    struct shard_files *files = calloc(1, sizeof *files + (size_t)count * sizeof *files->files);
    if (!files || !(files->dir = strdup(dir))) {
        free(files);
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %d shards", dir, count);
    }
    struct rlimit limit;
    files->limit = MOST_OPEN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < MOST_OPEN)
        files->limit = (int)(limit.rlim_cur / 4);
    pthread_mutex_init(&files->lock, NULL);
    files->split = split;
    files->count = count;
    for (int i = 0; i < count; i++)
        files->files[i].fd = -1;
    *out = files;
    return VT_OK;
}

void shard_files_free(struct shard_files **files)
{
    if (!*files)
        return;
    for (int i = 0; i < (*files)->count; i++)
        if ((*files)->files[i].fd >= 0)
            close((*files)->files[i].fd);
    pthread_mutex_destroy(&(*files)->lock);
    free((*files)->dir);
    free(*files);
    *files = NULL;
}

vt_status shard_files_path(const struct shard_files *files, int shard, char *out, size_t bytes)
{
    char name[PATH_BYTES];
    VT_TRY(manifest_split_path(files->split, shard, name, sizeof name));
    return path_join(out, bytes, files->dir, name);
}

/* With the lock held: close the least recently used file nobody reads. */
static void close_one(struct shard_files *files)
{
    struct shard_file *oldest = NULL;
    for (int i = 0; i < files->count; i++) {
        struct shard_file *file = &files->files[i];
        if (file->fd >= 0 && file->readers == 0 && (!oldest || file->used < oldest->used))
            oldest = file;
    }
    if (!oldest)
        return;
    close(oldest->fd);
    oldest->fd = -1;
    files->open--;
}

static vt_status acquire(struct shard_files *files, int shard, int *fd)
{
    VT_CHECK(shard >= 0 && shard < files->count);
    struct shard_file *file = &files->files[shard];
    vt_status status = VT_OK;
    pthread_mutex_lock(&files->lock);
    if (file->fd < 0) {
        char path[PATH_BYTES];
        if (files->open >= files->limit)
            close_one(files);
        status = shard_files_path(files, shard, path, sizeof path);
        if (status == VT_OK && (file->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
            status = VT_FAIL(VT_E_IO, "%s: cannot open the shard: %s", path, strerror(errno));
        files->open += file->fd >= 0;
    }
    if (status == VT_OK) {
        file->readers++;
        file->used = ++files->clock;
        *fd = file->fd;
    }
    pthread_mutex_unlock(&files->lock);
    return status;
}

static void release(struct shard_files *files, int shard)
{
    pthread_mutex_lock(&files->lock);
    files->files[shard].readers--;
    pthread_mutex_unlock(&files->lock);
}

vt_status shard_files_read(struct shard_files *files, int shard, int64_t offset, void *bytes, size_t size)
{
    int fd = -1, error = 0;
    ssize_t n = 1;
    VT_TRY(acquire(files, shard, &fd));
    for (size_t done = 0; done < size && n > 0; done += n > 0 ? (size_t)n : 0) {
        do
            n = pread(fd, (char *)bytes + done, size - done, offset + (int64_t)done);
        while (n < 0 && errno == EINTR);
        error = errno;
    }
    release(files, shard);
    if (n > 0)
        return VT_OK;
    char path[PATH_BYTES] = "";
    VT_TRY(shard_files_path(files, shard, path, sizeof path));
    return VT_FAIL(VT_E_IO, "%s: read of %zu bytes at offset %lld: %s", path, size, (long long)offset,
                   n < 0 ? strerror(error) : "the shard ends early (truncated)");
}
