/* Saving. Five phases, each ended by an agreement of all ranks: prepare (rank 0), write (every rank its share of the
 * MiBs), record (rank 0), verify (every rank another rank's share), commit (rank 0). Until the rename of the last phase
 * nothing that a reader looks at has changed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/stage.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/chunks.h"
#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "checkpoint/record.h"

#define CONFIG_NAME "config.json"

struct save {
    const struct checkpoint_store_desc *store;
    struct comm *comm;
    const struct checkpoint_state *state;
    struct layout *layouts;    /* of the tensor files */
    int layout_count;
    struct file_record *files; /* the tensor files, then config.json; crc points into `crc` */
    int file_count;
    uint32_t *crc;             /* of the tensor files' chunks, one after the other, then config.json's */
    int64_t chunks;            /* of the tensor files */
    int64_t *begin;            /* [size + 1] shares of the chunks */
    char temporary[4096], path[4096];
    bool made;                 /* rank 0: the temporary folder is ours to remove */
};

static void describe_files(struct save *save)
{
    for (int i = 0; i < save->layout_count; i++) {
        struct file_record *file = &save->files[i];
        memcpy(file->name, save->layouts[i].name, sizeof file->name);
        file->bytes = save->layouts[i].bytes;
        file->chunks = file_chunks(file->bytes);
        file->crc = save->crc + save->chunks;
        save->chunks += file->chunks;
    }
    save->file_count = save->layout_count;
}

static vt_status save_init(struct save *save, const struct checkpoint_file *files, int file_count)
{
    const char *config = save->state->model_config_json;
    int64_t chunks = config ? file_chunks(strlen(config)) : 0;
    VT_TRY(layout_for_writing(files, file_count, config, &save->layouts, &save->layout_count));
    for (int i = 0; i < save->layout_count; i++)
        chunks += file_chunks(save->layouts[i].bytes);
    save->files = calloc((size_t)save->layout_count + 1, sizeof *save->files);
    save->crc = calloc((size_t)chunks + 1, sizeof *save->crc);
    save->begin = calloc((size_t)save->comm->size + 1, sizeof *save->begin);
    if (!save->files || !save->crc || !save->begin)
        return VT_FAIL(VT_E_MEMORY, "checkpoint: no memory for %lld checksums", (long long)chunks);
    describe_files(save);
    for (int r = 0; r <= save->comm->size; r++)
        save->begin[r] = save->chunks * r / save->comm->size;
    VT_TRY(folder_step_path(save->path, sizeof save->path, save->store->dir, save->state->step));
    return folder_temporary_path(save->temporary, sizeof save->temporary, save->store->dir, save->state->step,
                                 save->store->attempt);
}

static void save_close(struct save *save)
{
    layouts_close(&save->layouts, save->layout_count);
    free(save->files);
    free(save->crc);
    free(save->begin);
}

static vt_status create_file(const char *folder, const char *name, uint64_t bytes)
{
    char path[4096];
    VT_TRY(path_join(path, sizeof path, folder, name));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot create: %s", path, strerror(errno));
    vt_status status = VT_OK;
    if (ftruncate(fd, (off_t)bytes) != 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot set the size to %llu bytes: %s", path, (unsigned long long)bytes,
                         strerror(errno));
    close(fd);
    return status;
}

/* Rank 0. */
static vt_status prepare(struct save *save)
{
    VT_TRY(file_make_dirs(save->store->dir));
    VT_TRY(folder_claim(save->store->dir, save->store->attempt));
    folder_clean(save->store->dir);
    if (mkdir(save->temporary, 0755) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot make the folder: %s", save->temporary, strerror(errno));
    save->made = true;
    for (int i = 0; i < save->layout_count; i++)
        VT_TRY(create_file(save->temporary, save->files[i].name, save->files[i].bytes));
    return VT_OK;
}

static vt_status write_at(int fd, const char *path, const char *bytes, size_t size, int64_t at)
{
    while (size) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return VT_FAIL(VT_E_IO, "%s: cannot write at byte %lld: %s", path, (long long)at,
                           n < 0 ? strerror(errno) : "nothing was written");
        bytes += n, size -= (size_t)n, at += n;
    }
    return VT_OK;
}

/* Chunks [begin, end) of one file; their checksums into file->crc. */
static vt_status write_file(const char *folder, const struct layout *layout, struct file_record *file, int64_t begin,
                            int64_t end, char *buffer)
{
    char path[4096];
    vt_status status = VT_OK;
    VT_TRY(path_join(path, sizeof path, folder, file->name));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    for (int64_t chunk = begin; chunk < end; chunk++) {
        size_t size = chunk_bytes(file->bytes, chunk);
        layout_gather(layout, (uint64_t)chunk * CHUNK_BYTES, size, buffer);
        file->crc[chunk] = crc32c(0, buffer, size);
        VT_TRY_OUT(write_at(fd, path, buffer, size, chunk * CHUNK_BYTES));
    }
    if (fsync(fd) != 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot sync: %s", path, strerror(errno));
out:
    if (close(fd) != 0 && status == VT_OK)
        status = VT_FAIL(VT_E_IO, "%s: cannot close: %s", path, strerror(errno));
    return status;
}

static vt_status write_share(struct save *save)
{
    vt_status status = VT_OK;
    int64_t begin = save->begin[save->comm->rank], end = save->begin[save->comm->rank + 1];
    char *buffer = aligned_alloc(4096, CHUNK_BYTES);
    if (!buffer)
        return VT_FAIL(VT_E_MEMORY, "checkpoint: no memory for a buffer of %d bytes", CHUNK_BYTES);
    for (int i = 0; i < save->layout_count; i++) {
        struct file_record *file = &save->files[i];
        int64_t from = begin > 0 ? begin : 0, to = end < file->chunks ? end : file->chunks;
        if (from < to)
            VT_TRY_OUT(write_file(save->temporary, &save->layouts[i], file, from, to, buffer));
        begin -= file->chunks;
        end -= file->chunks;
    }
out:
    free(buffer);
    return status;
}

static vt_status write_small(const char *folder, const char *name, const void *bytes, size_t size)
{
    char path[4096];
    VT_TRY(path_join(path, sizeof path, folder, name));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot create: %s", path, strerror(errno));
    vt_status status = file_write_all(fd, bytes, size, path);
    if (status == VT_OK && fsync(fd) != 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot sync: %s", path, strerror(errno));
    close(fd);
    return status;
}

/* Rank 0: config.json and checkpoint.pb, with every checksum. */
static vt_status write_record(struct save *save)
{
    const char *config = save->state->model_config_json;
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (config) {
        struct file_record *file = &save->files[save->file_count++];
        strcpy(file->name, CONFIG_NAME);
        file->bytes = strlen(config);
        file->chunks = file_chunks(file->bytes);
        file->crc = &save->crc[save->chunks];
        for (int64_t i = 0; i < file->chunks; i++)
            file->crc[i] = crc32c(0, config + i * CHUNK_BYTES, chunk_bytes(file->bytes, i));
        VT_TRY(write_small(save->temporary, CONFIG_NAME, config, strlen(config)));
    }
    record_encode(save->state, save->files, save->file_count, &bytes, &size);
    vt_status status = write_small(save->temporary, RECORD_NAME, bytes, size);
    free(bytes);
    VT_TRY(status);
    return file_sync_dir(save->temporary);
}

/* What the next rank wrote, from the disk, against the checksums taken in memory; rank 0 reads the record too. */
static vt_status verify_share(struct save *save)
{
    struct record record;
    int other = (save->comm->rank + 1) % save->comm->size;
    if (save->comm->rank == 0) {
        VT_TRY(record_read(save->temporary, &record));
        int64_t total = chunks_total(record.files, record.file_count);
        vt_status status = chunks_verify(save->temporary, record.files, record.file_count, save->chunks, total, true);
        record_close(&record);
        VT_TRY(status);
    }
    return chunks_verify(save->temporary, save->files, save->layout_count, save->begin[other], save->begin[other + 1],
                         true);
}

/* Rank 0. After the rename the checkpoint stands; links and deletions only warn. */
static vt_status commit(struct save *save, bool is_best)
{
    const struct checkpoint_store_desc *store = save->store;
    int64_t step = save->state->step;
    VT_TRY(folder_claim(store->dir, store->attempt)); /* someone may have taken over while we wrote */
    VT_TRY(folder_commit(save->temporary, save->path));
    save->made = false;
    folder_link(store->dir, "latest", step);
    if (is_best)
        folder_link(store->dir, "best", step);
    folder_prune(store->dir, step, store->keep > 1 ? store->keep : 1, is_best ? step : save->state->best_step,
                 store->attempt);
    return VT_OK;
}

static vt_status run_phases(struct save *save, vt_status ready, bool is_best)
{
    struct comm *comm = save->comm;
    bool root = comm->rank == 0;
    VT_TRY(comm_agree(comm, ready));
    VT_TRY(comm_agree(comm, root ? prepare(save) : VT_OK));
    VT_TRY(comm_agree(comm, write_share(save)));
    VT_TRY(comm->all_gather(comm, save->crc, save->begin, DTYPE_I32));
    VT_TRY(comm_agree(comm, root ? write_record(save) : VT_OK));
    VT_TRY(comm_agree(comm, verify_share(save)));
    return comm_agree(comm, root ? commit(save, is_best) : VT_OK);
}

vt_status checkpoint_save(const struct checkpoint_store_desc *store, struct comm *comm,
                          const struct checkpoint_state *state, const struct checkpoint_file *files, int file_count,
                          bool is_best)
{
    enum stage before = stage_enter(STAGE_CHECKPOINT);
    struct save save = {.store = store, .comm = comm, .state = state};
    vt_status status = run_phases(&save, save_init(&save, files, file_count), is_best);
    if (status != VT_OK && save.made)
        folder_remove(save.temporary);
    save_close(&save);
    stage_enter(before);
    return status;
}

vt_status checkpoint_claim(const struct checkpoint_store_desc *store, struct comm *comm)
{
    vt_status status = VT_OK;
    if (comm->rank == 0)
        status = file_make_dirs(store->dir);
    if (comm->rank == 0 && status == VT_OK)
        status = folder_claim(store->dir, store->attempt);
    return comm_agree(comm, status);
}
