#include "checkpoint/chunks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"

int64_t chunks_total(const struct file_record *files, int file_count)
{
    int64_t total = 0;
    for (int i = 0; i < file_count; i++)
        total += files[i].chunks;
    return total;
}

static vt_status open_file(const char *folder, const struct file_record *file, char *path, size_t path_bytes, int *fd)
{
    struct stat info;
    VT_TRY(path_join(path, path_bytes, folder, file->name));
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT && file_is_dir(folder))
        return VT_FAIL(VT_E_FORMAT, "%s: the file is missing", path);
    if (*fd < 0 || fstat(*fd, &info) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != file->bytes)
        return VT_FAIL(VT_E_FORMAT, "%s: %lld bytes, expected %llu: truncated or replaced", path,
                       (long long)info.st_size, (unsigned long long)file->bytes);
    return VT_OK;
}

static vt_status read_chunk(int fd, const char *path, const struct file_record *file, int64_t chunk, char *buffer)
{
    size_t size = chunk_bytes(file->bytes, chunk);
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, buffer + done, size - done, (off_t)(chunk * CHUNK_BYTES + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return VT_FAIL(VT_E_FORMAT, "%s: MiB %lld cannot be read: %s", path, (long long)chunk,
                           n < 0 ? strerror(errno) : "the file ends before it");
        done += (size_t)n;
    }
    uint32_t found = crc32c(0, buffer, size);
    if (found != file->crc[chunk])
        return VT_FAIL(VT_E_FORMAT, "%s: MiB %lld (bytes %lld to %lld) is damaged: CRC32C %08x, expected %08x", path,
                       (long long)chunk, (long long)chunk * CHUNK_BYTES,
                       (long long)chunk * CHUNK_BYTES + (long long)size - 1, found, file->crc[chunk]);
    return VT_OK;
}

/* Chunks [begin, end) of one file. */
static vt_status scan_file(const char *folder, const struct file_record *file, int64_t begin, int64_t end,
                           bool from_disk, const struct layout *layout, char *buffer)
{
    char path[4096];
    int fd = -1;
    vt_status status = VT_OK;
    VT_TRY_OUT(open_file(folder, file, path, sizeof path, &fd));
    if (from_disk)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (int64_t chunk = begin; chunk < end; chunk++) {
        VT_TRY_OUT(read_chunk(fd, path, file, chunk, buffer));
        if (layout)
            layout_scatter(layout, (uint64_t)chunk * CHUNK_BYTES, chunk_bytes(file->bytes, chunk), buffer);
    }
out:
    if (fd >= 0)
        close(fd);
    return status;
}

static char *chunk_buffer(void) { return aligned_alloc(4096, CHUNK_BYTES); }

vt_status chunks_verify(const char *folder, const struct file_record *files, int file_count, int64_t begin, int64_t end,
                        bool from_disk)
{
    vt_status status = VT_OK;
    char *buffer = chunk_buffer();
    if (!buffer)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory to check a checkpoint", folder);
    for (int i = 0; i < file_count; i++) {
        int64_t from = begin > 0 ? begin : 0, to = end < files[i].chunks ? end : files[i].chunks;
        if (from < to || files[i].chunks == 0)
            VT_TRY_OUT(scan_file(folder, &files[i], from, to, from_disk, NULL, buffer));
        begin -= files[i].chunks;
        end -= files[i].chunks;
    }
out:
    free(buffer);
    return status;
}

vt_status chunks_read(const char *folder, const struct file_record *file, const struct layout *layout)
{
    char *buffer = chunk_buffer();
    if (!buffer)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory to read a checkpoint", folder);
    vt_status status = scan_file(folder, file, 0, file->chunks, false, layout, buffer);
    free(buffer);
    return status;
}
