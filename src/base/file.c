#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static vt_status read_fd(int fd, const char *path, size_t max_bytes, char **bytes, size_t *size)
{
    vt_status status = VT_OK;
    size_t used = 0, capacity = 0;
    char *buffer = NULL;
    struct stat info;
    if (fstat(fd, &info) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot stat: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return VT_FAIL(VT_E_IO, "%s: is a folder, expected a file", path);
    /* The stated size is a hint only: pipes and /proc state 0, and a file may grow. */
    capacity = info.st_size > 0 && (uint64_t)info.st_size <= max_bytes ? (size_t)info.st_size + 1 : 4096;
    for (;;) {
        if (!buffer || used == capacity - 1) {
            capacity = buffer ? 2 * capacity : capacity;
            char *grown = realloc(buffer, capacity);
            if (!grown) {
                status = VT_FAIL(VT_E_MEMORY, "%s: no memory to read %zu bytes", path, capacity);
                goto out;
            }
            buffer = grown;
        }
        ssize_t got = read(fd, buffer + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = VT_FAIL(VT_E_IO, "%s: cannot read: %s", path, strerror(errno));
            goto out;
        }
        used += (size_t)got;
        if (used > max_bytes) {
            status = VT_FAIL(VT_E_LIMIT, "%s: larger than the limit of %zu bytes", path, max_bytes);
            goto out;
        }
        if (got == 0)
            break;
    }
    buffer[used] = '\0';
    *bytes = buffer;
    *size = used;
    buffer = NULL;
out:
    free(buffer);
    return status;
}

vt_status file_read(const char *path, size_t max_bytes, char **bytes, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    vt_status status = read_fd(fd, path, max_bytes, bytes, size);
    close(fd);
    return status;
}

vt_status file_write_all(int fd, const void *bytes, size_t size, const char *path)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t put = write(fd, next, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return VT_FAIL(VT_E_IO, "%s: cannot write: %s", path, strerror(errno));
        next += put;
        size -= (size_t)put;
    }
    return VT_OK;
}

vt_status file_append(int fd, const void *bytes, size_t size, const char *path)
{
    off_t before = lseek(fd, 0, SEEK_END);
    vt_status status = file_write_all(fd, bytes, size, path);
    if (status != VT_OK && (before < 0 || ftruncate(fd, before) != 0))
        return status_prefix(status, "a torn record is left");
    return status;
}

static vt_status write_and_sync(int fd, const void *bytes, size_t size, const char *path)
{
    VT_TRY(file_write_all(fd, bytes, size, path));
    if (fsync(fd) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot flush to the disk: %s", path, strerror(errno));
    return VT_OK;
}

vt_status file_write_atomic(const char *path, const void *bytes, size_t size)
{
    char temporary[4096], folder[4096];
    if (snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof temporary)
        return VT_FAIL(VT_E_IO, "%.200s...: path is too long", path);
    VT_TRY(path_dir(folder, sizeof folder, path));
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot create: %s", temporary, strerror(errno));
    vt_status status = write_and_sync(fd, bytes, size, temporary);
    if (close(fd) != 0 && status == VT_OK)
        status = VT_FAIL(VT_E_IO, "%s: cannot close: %s", temporary, strerror(errno));
    if (status == VT_OK && rename(temporary, path) != 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot rename %s to it: %s", path, temporary, strerror(errno));
    if (status != VT_OK) {
        unlink(temporary);
        return status;
    }
    return file_sync_dir(folder);
}

/* NAME.tmp.PID, as above. */
static bool is_temporary(const char *name)
{
    const char *mark = NULL;
    for (const char *at = name; (at = strstr(at, ".tmp.")); at++)
        mark = at + strlen(".tmp.");
    return mark && *mark && strspn(mark, "0123456789") == strlen(mark);
}

void file_remove_temporaries(const char *dir)
{
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (is_temporary(entry->d_name) && unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            log_warn("%s/%s: cannot remove: %s", dir, entry->d_name, strerror(errno));
    if (folder)
        closedir(folder);
}

vt_status file_make_dirs(const char *path)
{
    char part[4096];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return VT_FAIL(VT_E_IO, "cannot make the folder \"%.200s\": empty or too long a path", path);
    memcpy(part, path, length + 1);
    for (char *p = part + 1;; p++) {
        char end = *p;
        if (end != '/' && end != '\0')
            continue;
        *p = '\0';
        /* Whatever mkdir says, a folder that is there is fine (a read-only parent answers EROFS, not EEXIST). */
        if (mkdir(part, 0777) != 0) {
            int reason = errno;
            if (!file_is_dir(part))
                return VT_FAIL(VT_E_IO, "%s: cannot make the folder: %s", part,
                               reason == EEXIST ? "a file of that name is in the way" : strerror(reason));
        }
        if (end == '\0')
            return VT_OK;
        *p = end;
    }
}

vt_status file_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    int failed = fsync(fd), reason = errno;
    close(fd);
    /* Some network file systems cannot sync a folder and say so; nothing better can be done there. */
    if (failed && reason != EINVAL && reason != ENOTSUP)
        return VT_FAIL(VT_E_IO, "%s: cannot flush the folder to the disk: %s", path, strerror(reason));
    return VT_OK;
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

vt_status file_size(const char *path, int64_t *bytes)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot stat: %s", path, strerror(errno));
    *bytes = info.st_size;
    return VT_OK;
}

vt_status path_join(char *out, size_t bytes, const char *dir, const char *name)
{
    size_t length = strlen(dir);
    int used;
    if (length == 0 || name[0] == '/')
        used = snprintf(out, bytes, "%s", name);
    else
        used = snprintf(out, bytes, "%s%s%s", dir, dir[length - 1] == '/' ? "" : "/", name);
    if (used < 0 || (size_t)used >= bytes)
        return VT_FAIL(VT_E_LIMIT, "path %.100s.../%.100s is longer than %zu bytes", dir, name, bytes - 1);
    return VT_OK;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

vt_status path_dir(char *out, size_t bytes, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (length + 2 > bytes)
        return VT_FAIL(VT_E_LIMIT, "path %.200s... is longer than %zu bytes", path, bytes - 1);
    if (slash)
        memcpy(out, path, length);
    else
        out[length++] = '.';
    out[length] = '\0';
    return VT_OK;
}
