#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/record.h"

static bool is_checkpoint(const char *path)
{
    char record[4096];
    return path_join(record, sizeof record, path, RECORD_NAME) == VT_OK && file_exists(record);
}

/* The link's step, or the newest by name when the link is missing or points nowhere. */
static vt_status resolve_store(const char *dir, bool prefer_best, char *out, size_t bytes)
{
    static const char *const links[] = {"best", "latest"};
    struct folder_list list;
    for (int i = prefer_best ? 0 : 1; i < 2; i++) {
        int64_t step = folder_linked_step(dir, links[i]);
        if (step < 0)
            continue;
        VT_TRY(folder_step_path(out, bytes, dir, step));
        if (is_checkpoint(out))
            return VT_OK;
    }
    VT_TRY(folder_list_steps(dir, &list));
    vt_status status = VT_FAIL(VT_E_USAGE, "%s: no checkpoint in it", dir);
    for (int i = 0; i < list.count && status != VT_OK; i++)
        if (folder_step_path(out, bytes, dir, list.steps[i]) == VT_OK && is_checkpoint(out))
            status = VT_OK;
    folder_list_close(&list);
    return status;
}

vt_status checkpoint_resolve(const char *path, bool prefer_best, char *out, size_t bytes)
{
    char store[4096];
    if (is_checkpoint(path))
        return path_join(out, bytes, "", path);
    if (!file_is_dir(path))
        return VT_FAIL(VT_E_USAGE, "%s: no such folder; expected a checkpoint, a run or a folder of checkpoints", path);
    VT_TRY(path_join(store, sizeof store, path, "checkpoints"));
    return resolve_store(file_is_dir(store) ? store : path, prefer_best, out, bytes);
}
