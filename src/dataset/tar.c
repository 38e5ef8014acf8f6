#include "dataset/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/check.h"
#include "base/file.h"

enum { WRITE_BUFFER = 1 << 20, NAME_FIELD = 100, MAX_EXTENSION = 1 << 20 };

/* Field offsets of a ustar header (POSIX 1003.1, pax). */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
    PREFIX_FIELD = 155
};

struct tar_writer {
    char *path;
    int fd;
    int64_t bytes;
    size_t used;
    XXH3_state_t *hash;
    uint8_t buffer[WRITE_BUFFER];
};

static unsigned header_checksum(const uint8_t *header)
{
    unsigned sum = 0;
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += i >= AT_CHECKSUM && i < AT_CHECKSUM + 8 ? ' ' : header[i];
    return sum;
}

static void put_octal(uint8_t *field, int digits, uint64_t value)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 3)
        field[i] = (uint8_t)('0' + (value & 7));
    field[digits] = 0;
}

vt_status tar_writer_open(const char *path, struct tar_writer **out)
{
    *out = NULL;
    struct tar_writer *writer = malloc(sizeof *writer);
    if (!writer)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for a tar writer", path);
    writer->fd = -1;
    writer->bytes = 0;
    writer->used = 0;
    writer->path = strdup(path);
    writer->hash = XXH3_createState();
    vt_status status = VT_OK;
    if (!writer->path || !writer->hash)
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for a tar writer", path);
    else if ((writer->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot create: %s", path, strerror(errno));
    if (status != VT_OK) {
        tar_writer_abandon(&writer);
        return status;
    }
    XXH3_64bits_reset(writer->hash);
    *out = writer;
    return VT_OK;
}

static vt_status flush(struct tar_writer *writer)
{
    XXH3_64bits_update(writer->hash, writer->buffer, writer->used);
    VT_TRY(file_write_all(writer->fd, writer->buffer, writer->used, writer->path));
    writer->used = 0;
    return VT_OK;
}

/* NULL bytes = zeros. */
static vt_status put(struct tar_writer *writer, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    writer->bytes += (int64_t)size;
    while (size > 0) {
        size_t room = WRITE_BUFFER - writer->used, n = size < room ? size : room;
        if (at)
            memcpy(writer->buffer + writer->used, at, n);
        else
            memset(writer->buffer + writer->used, 0, n);
        at = at ? at + n : NULL;
        writer->used += n;
        size -= n;
        if (writer->used == WRITE_BUFFER)
            VT_TRY(flush(writer));
    }
    return VT_OK;
}

vt_status tar_write(struct tar_writer *writer, const char *name, const void *bytes, size_t size, int64_t *offset)
{
    uint8_t header[TAR_BLOCK] = {0};
    size_t name_bytes = strlen(name);
    VT_CHECKF(name_bytes >= 1 && name_bytes <= NAME_FIELD, "tar member name of %zu bytes", name_bytes);
    if (size >= (uint64_t)1 << 33)
        return VT_FAIL(VT_E_LIMIT, "%s: member %s of %zu bytes, ustar holds less than 8 GiB", writer->path, name, size);
    memcpy(header + AT_NAME, name, name_bytes);
    put_octal(header + AT_MODE, 7, 0644);
    put_octal(header + AT_UID, 7, 0);
    put_octal(header + AT_GID, 7, 0);
    put_octal(header + AT_SIZE, 11, size);
    put_octal(header + AT_MTIME, 11, 0);
    header[AT_TYPE] = '0';
    memcpy(header + AT_MAGIC, "ustar\00000", 8);
    put_octal(header + AT_CHECKSUM, 6, header_checksum(header));
    header[AT_CHECKSUM + 7] = ' ';
    VT_TRY(put(writer, header, sizeof header));
    if (offset)
        *offset = writer->bytes;
    VT_TRY(put(writer, bytes, size));
    return put(writer, NULL, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

void tar_writer_abandon(struct tar_writer **writer)
{
    if (!*writer)
        return;
    if ((*writer)->fd >= 0)
        close((*writer)->fd);
    XXH3_freeState((*writer)->hash);
    free((*writer)->path);
    free(*writer);
    *writer = NULL;
}

vt_status tar_writer_finish(struct tar_writer **writer, int64_t *bytes, uint64_t *xxh3)
{
    vt_status status;
    VT_TRY_OUT(put(*writer, NULL, 2 * TAR_BLOCK));
    VT_TRY_OUT(flush(*writer));
    if (fsync((*writer)->fd) != 0)
        status = VT_FAIL(VT_E_IO, "%s: fsync: %s", (*writer)->path, strerror(errno));
    *bytes = (*writer)->bytes;
    *xxh3 = XXH3_64bits_digest((*writer)->hash);
out:
    tar_writer_abandon(writer);
    return status;
}

void tar_reader_init_memory(struct tar_reader *reader, const char *name, const void *bytes, size_t size)
{
    *reader = (struct tar_reader){.name = name, .fd = -1, .memory = bytes, .bytes = (int64_t)size};
}

vt_status tar_reader_init_file(struct tar_reader *reader, const char *name, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return VT_FAIL(VT_E_IO, "%s: %s", name, strerror(errno));
    *reader = (struct tar_reader){.name = name, .fd = fd, .bytes = info.st_size};
    return VT_OK;
}

/* `size` bytes at `offset`, all of them inside the tar. */
static vt_status read_at(const struct tar_reader *reader, int64_t offset, void *bytes, size_t size)
{
    if (reader->fd < 0) {
        memcpy(bytes, reader->memory + offset, size);
        return VT_OK;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(reader->fd, (char *)bytes + done, size - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return VT_FAIL(VT_E_IO, "%s: read at offset %lld: %s", reader->name, (long long)offset,
                           n < 0 ? strerror(errno) : "unexpected end of file");
        done += (size_t)n;
    }
    return VT_OK;
}

/* An octal field, or base-256 when its top bit is set (GNU); -1 when it is neither. */
static int64_t number(const uint8_t *field, int width)
{
    uint64_t value = 0;
    int i = 0;
    if (field[0] & 0x80) {
        for (i = 1; i < width; i++) {
            if (value >> 54)
                return -1;
            value = value << 8 | field[i];
        }
        return field[0] == 0x80 ? (int64_t)value : -1;
    }
    while (i < width && field[i] == ' ')
        i++;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0');
    return i == width || field[i] == 0 || field[i] == ' ' ? (int64_t)value : -1;
}

static void header_name(const uint8_t *header, char name[TAR_NAME_BYTES])
{
    int prefix =
        memcmp(header + AT_MAGIC, "ustar\0", 6) == 0 ? (int)strnlen((const char *)header + AT_PREFIX, PREFIX_FIELD) : 0;
    snprintf(name, TAR_NAME_BYTES, "%.*s%s%.*s", prefix, header + AT_PREFIX, prefix ? "/" : "",
             (int)strnlen((const char *)header, NAME_FIELD), header);
}

/* Records "LENGTH key=value\n" of a pax header: the two keys that matter here. */
static void pax_records(const char *text, size_t size, char name[TAR_NAME_BYTES], int64_t *bytes)
{
    for (size_t at = 0; at < size;) {
        size_t length = 0, digits = at;
        while (digits < size && text[digits] >= '0' && text[digits] <= '9' && length < size)
            length = length * 10 + (size_t)(text[digits++] - '0');
        if (length < 5 || length > size - at || digits >= size || text[digits] != ' ')
            return;
        const char *key = text + digits + 1, *end = text + at + length - 1;
        if (end - key > 5 && !memcmp(key, "path=", 5))
            snprintf(name, TAR_NAME_BYTES, "%.*s",
                     (int)(end - key - 5 < TAR_NAME_BYTES ? end - key - 5 : TAR_NAME_BYTES), key + 5);
        if (end - key > 5 && !memcmp(key, "size=", 5)) {
            *bytes = 0;
            for (const char *p = key + 5; p < end && *p >= '0' && *p <= '9' && *bytes < INT64_MAX / 16; p++)
                *bytes = *bytes * 10 + (*p - '0');
        }
        at += length;
    }
}

static vt_status read_extension(const struct tar_reader *reader, int type, int64_t at, int64_t bytes, char *name,
                                int64_t *override_bytes)
{
    if (bytes > MAX_EXTENSION)
        return VT_FAIL(VT_E_FORMAT, "%s: offset %lld: extended header of %lld bytes", reader->name, (long long)at,
                       (long long)bytes);
    char *text = malloc((size_t)bytes + 1);
    if (!text)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for an extended header", reader->name);
    vt_status status = read_at(reader, at, text, (size_t)bytes);
    text[bytes] = 0;
    if (status == VT_OK && type == 'L')
        snprintf(name, TAR_NAME_BYTES, "%s", text);
    else if (status == VT_OK)
        pax_records(text, (size_t)bytes, name, override_bytes);
    free(text);
    return status;
}

vt_status tar_next(struct tar_reader *reader, struct tar_member *member, bool *found)
{
    char long_name[TAR_NAME_BYTES] = "";
    int64_t long_bytes = -1;
    *found = false;
    while (reader->bytes - reader->at >= TAR_BLOCK) {
        uint8_t header[TAR_BLOCK];
        int64_t at = reader->at;
        VT_TRY(read_at(reader, at, header, sizeof header));
        if (header[0] == 0 && number(header + AT_CHECKSUM, 8) == 0)
            return VT_OK; /* the zero blocks at the end */
        if (number(header + AT_CHECKSUM, 8) != (int64_t)header_checksum(header))
            return VT_FAIL(VT_E_FORMAT, "%s: offset %lld: not a tar header (its checksum is wrong)", reader->name,
                           (long long)at);
        int type = header[AT_TYPE];
        int64_t bytes = number(header + AT_SIZE, 12), data = at + TAR_BLOCK;
        if (long_bytes >= 0 && (type == '0' || type == 0))
            bytes = long_bytes;
        if (bytes < 0 || bytes > reader->bytes - data)
            return VT_FAIL(VT_E_FORMAT, "%s: offset %lld: member of %lld bytes, only %lld are left", reader->name,
                           (long long)at, (long long)bytes, (long long)(reader->bytes - data));
        reader->at = data + (bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        if (type == 'L' || type == 'x') {
            VT_TRY(read_extension(reader, type, data, bytes, long_name, &long_bytes));
        } else if (type == '0' || type == 0) {
            header_name(header, member->name);
            if (long_name[0])
                memcpy(member->name, long_name, sizeof long_name);
            member->offset = data;
            member->bytes = bytes;
            *found = true;
            return VT_OK;
        } else {
            long_name[0] = 0;
            long_bytes = -1;
        }
    }
    return VT_OK;
}
