#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/stage.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/chunks.h"
#include "checkpoint/folder.h"
#include "checkpoint/record.h"

vt_status checkpoint_read_state(const char *checkpoint, struct checkpoint_state *state)
{
    struct record record;
    *state = (struct checkpoint_state){0};
    VT_TRY(record_read(checkpoint, &record));
    *state = record.state;
    record.state = (struct checkpoint_state){0};
    record_close(&record);
    return VT_OK;
}

vt_status checkpoint_verify(const char *checkpoint)
{
    struct record record;
    VT_TRY(record_read(checkpoint, &record));
    vt_status status = chunks_verify(checkpoint, record.files, record.file_count, 0,
                                     chunks_total(record.files, record.file_count), false);
    record_close(&record);
    return status;
}

static const struct file_record *find_file(const struct record *record, const char *name)
{
    for (int i = 0; i < record->file_count; i++)
        if (strcmp(record->files[i].name, name) == 0)
            return &record->files[i];
    return NULL;
}

/* A header that makes no sense: say "damaged" when it is, else what was wrong with it. */
static vt_status blame_damage(const char *checkpoint, const struct file_record *file, vt_status found)
{
    char text[VT_MESSAGE_BYTES];
    snprintf(text, sizeof text, "%s", status_message());
    VT_TRY(chunks_read(checkpoint, file, NULL));
    return VT_FAIL(found, "%s", text);
}

static vt_status read_one(const char *checkpoint, const struct record *record, const struct checkpoint_file *files,
                          int file_count, const char *name)
{
    char path[4096];
    vt_status status = VT_OK;
    struct safetensors source = {.fd = -1};
    struct layout layout = {0};
    const struct file_record *file = find_file(record, name);
    if (!file)
        return VT_FAIL(VT_E_FORMAT, "%s: the checkpoint has no file %s", checkpoint, name);
    VT_TRY(path_join(path, sizeof path, checkpoint, name));
    status = safetensors_open(path, &source);
    if (status == VT_OK)
        status = layout_for_reading(&source, files, file_count, name, &layout);
    if (status != VT_OK) {
        status = blame_damage(checkpoint, file, status);
        goto out;
    }
    status = chunks_read(checkpoint, file, layout.bytes == file->bytes ? &layout : NULL);
out:
    layout_close(&layout);
    safetensors_close(&source);
    return status;
}

vt_status checkpoint_read_files(const char *checkpoint, const struct checkpoint_file *files, int file_count)
{
    struct record record;
    vt_status status = VT_OK;
    VT_TRY(record_read(checkpoint, &record));
    for (int i = 0; i < file_count; i++)
        memset(files[i].values, 0, (size_t)files[i].table->total * sizeof(float)); /* the gaps */
    for (int i = 0; i < file_count; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= strcmp(files[j].name, files[i].name) == 0;
        if (!seen)
            VT_TRY_OUT(read_one(checkpoint, &record, files, file_count, files[i].name));
    }
out:
    record_close(&record);
    return status;
}

/* This rank's share of the check. Damage is VT_E_FORMAT; anything else means that this rank cannot see the folder. */
static vt_status verify_share(const struct comm *comm, const char *checkpoint)
{
    struct record record;
    VT_TRY(record_read(checkpoint, &record));
    int64_t total = chunks_total(record.files, record.file_count);
    vt_status status = chunks_verify(checkpoint, record.files, record.file_count, total * comm->rank / comm->size,
                                     total * (comm->rank + 1) / comm->size, false);
    record_close(&record);
    return status;
}

static bool has_record(const char *checkpoint)
{
    char path[4096];
    return path_join(path, sizeof path, checkpoint, RECORD_NAME) == VT_OK && file_exists(path);
}

/* Collective. *damaged: some rank found damage and no rank had another failure; the message is the first finder's. */
static vt_status verify_together(struct comm *comm, const char *checkpoint, bool *damaged)
{
    vt_status own = verify_share(comm, checkpoint);
    /* Rank 0 has listed the folder: a record that is not there is damage. Not so for the others. */
    if (own == VT_E_IO && comm->rank == 0 && !has_record(checkpoint))
        own = VT_FAIL(VT_E_FORMAT, "%s: no %s", checkpoint, RECORD_NAME);
    else if (own == VT_E_IO && comm->rank != 0)
        own = status_prefix(own, "is the run folder on a file system shared by all hosts?");
    int32_t hard = own != VT_OK && own != VT_E_FORMAT;
    VT_TRY(comm->all_reduce(comm, &hard, 1, DTYPE_I32, REDUCE_MAX));
    if (hard)
        return comm_agree(comm, own == VT_E_FORMAT ? VT_OK : own);
    *damaged = comm_agree(comm, own) != VT_OK;
    return VT_OK;
}

vt_status checkpoint_find_latest(const char *dir, struct comm *comm, bool *found, char *out, size_t bytes)
{
    enum stage before = stage_enter(STAGE_CHECKPOINT);
    struct folder_list list = {0};
    int32_t count = 0;
    *found = false;
    vt_status status = comm_agree(comm, comm->rank == 0 ? folder_list_steps(dir, &list) : VT_OK);
    if (status == VT_OK) {
        count = list.count;
        status = comm->broadcast(comm, &count, sizeof count, 0);
    }
    for (int i = 0; status == VT_OK && i < count; i++) {
        char path[4096];
        bool damaged = false;
        int64_t step = comm->rank == 0 ? list.steps[i] : 0;
        VT_TRY_OUT(comm->broadcast(comm, &step, sizeof step, 0));
        VT_TRY_OUT(folder_step_path(path, sizeof path, dir, step));
        VT_TRY_OUT(verify_together(comm, path, &damaged));
        if (!damaged) {
            VT_TRY_OUT(path_join(out, bytes, "", path));
            *found = true;
            break;
        }
        if (comm->rank == 0)
            log_warn("checkpoint passed over: %s", status_message());
    }
out:
    folder_list_close(&list);
    stage_enter(before);
    return status;
}
