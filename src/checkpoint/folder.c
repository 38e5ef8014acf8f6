#include "checkpoint/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"

enum { PATH_BYTES = 4096 };

/* "step-00001234" -> 1234; anything else -1. */
static int64_t parse_step(const char *name)
{
    if (strncmp(name, "step-", 5) != 0)
        return -1;
    const char *digits = name + 5;
    size_t length = strlen(digits);
    if (length < 8 || length > 18 || strspn(digits, "0123456789") != length || (length > 8 && digits[0] == '0'))
        return -1;
    return strtoll(digits, NULL, 10);
}

static void step_name(char *out, size_t bytes, int64_t step) { snprintf(out, bytes, "step-%08lld", (long long)step); }

vt_status folder_step_path(char *out, size_t bytes, const char *dir, int64_t step)
{
    char name[64];
    step_name(name, sizeof name, step);
    return path_join(out, bytes, dir, name);
}

vt_status folder_temporary_path(char *out, size_t bytes, const char *dir, int64_t step, int attempt)
{
    char name[96];
    snprintf(name, sizeof name, "step-%08lld.attempt-%d.tmp", (long long)step, attempt);
    return path_join(out, bytes, dir, name);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

vt_status folder_list_steps(const char *dir, struct folder_list *list)
{
    int capacity = 0;
    *list = (struct folder_list){0};
    DIR *folder = opendir(dir);
    if (!folder && errno == ENOENT)
        return VT_OK;
    if (!folder)
        return VT_FAIL(VT_E_IO, "%s: cannot list: %s", dir, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        int64_t step = parse_step(entry->d_name);
        if (step < 0)
            continue;
        if (list->count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            list->steps = realloc(list->steps, (size_t)capacity * sizeof *list->steps);
            VT_CHECK(list->steps);
        }
        list->steps[list->count++] = step;
    }
    closedir(folder);
    if (list->count)
        qsort(list->steps, (size_t)list->count, sizeof *list->steps, newest_first);
    return VT_OK;
}

void folder_list_close(struct folder_list *list)
{
    free(list->steps);
    *list = (struct folder_list){0};
}

vt_status folder_claim(const char *dir, int attempt)
{
    char path[PATH_BYTES], *text = NULL, line[32];
    size_t size;
    VT_TRY(path_join(path, sizeof path, dir, "attempt"));
    if (file_exists(path)) {
        VT_TRY(file_read(path, 64, &text, &size));
        long owner = strtol(text, NULL, 10);
        free(text);
        if (owner > attempt)
            return VT_FAIL(VT_E_USAGE, "%s: attempt %ld of this run has taken over, attempt %d may not write any more",
                           path, owner, attempt);
        if (owner == attempt)
            return VT_OK;
    }
    snprintf(line, sizeof line, "%d\n", attempt);
    return file_write_atomic(path, line, strlen(line));
}

void folder_remove(const char *path)
{
    char child[PATH_BYTES];
    struct stat info;
    if (lstat(path, &info) != 0)
        return;
    DIR *folder = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (path_join(child, sizeof child, path, entry->d_name) != VT_OK || unlink(child) != 0)
            log_warn("%s/%s: cannot remove: %s", path, entry->d_name, strerror(errno));
    }
    if (folder)
        closedir(folder);
    if ((S_ISDIR(info.st_mode) ? rmdir(path) : unlink(path)) != 0)
        log_warn("%s: cannot remove: %s", path, strerror(errno));
}

void folder_clean(const char *dir)
{
    file_remove_temporaries(dir);
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[PATH_BYTES];
        size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0 &&
            path_join(path, sizeof path, dir, entry->d_name) == VT_OK)
            folder_remove(path);
    }
    if (folder)
        closedir(folder);
}

vt_status folder_commit(const char *temporary, const char *path)
{
    char parent[PATH_BYTES], aside[PATH_BYTES + 8];
    bool replaced = file_exists(path), swapped = false;
    VT_TRY(path_dir(parent, sizeof parent, path));
    snprintf(aside, sizeof aside, "%.*s.old.tmp", (int)(strlen(temporary) - strlen(".tmp")), temporary);
    if (replaced) {
        swapped = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) == 0;
        if (!swapped && rename(path, aside) != 0)
            return VT_FAIL(VT_E_IO, "%s: cannot move the old checkpoint aside: %s", path, strerror(errno));
    }
    if (!swapped && rename(temporary, path) != 0) {
        vt_status status = VT_FAIL(VT_E_IO, "%s: cannot rename to %s: %s", temporary, path, strerror(errno));
        if (replaced && rename(aside, path) != 0)
            log_warn("%s: the old checkpoint stays at %s: %s", path, aside, strerror(errno));
        return status;
    }
    VT_TRY(file_sync_dir(parent));
    if (replaced)
        folder_remove(swapped ? temporary : aside);
    return VT_OK;
}

void folder_link(const char *dir, const char *link, int64_t step)
{
    char target[64], temporary_name[64], temporary[PATH_BYTES], path[PATH_BYTES];
    step_name(target, sizeof target, step);
    snprintf(temporary_name, sizeof temporary_name, "%s.tmp", link);
    if (path_join(temporary, sizeof temporary, dir, temporary_name) != VT_OK ||
        path_join(path, sizeof path, dir, link) != VT_OK)
        return;
    unlink(temporary);
    if (symlink(target, temporary) != 0 || rename(temporary, path) != 0)
        log_warn("%s: cannot link to %s: %s", path, target, strerror(errno));
}

int64_t folder_linked_step(const char *dir, const char *link)
{
    char path[PATH_BYTES], target[256];
    if (path_join(path, sizeof path, dir, link) != VT_OK)
        return -1;
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0)
        return -1;
    target[length] = 0;
    return parse_step(target);
}

/* Out of sight first: half a folder never carries a checkpoint's name. */
static void retire(const char *dir, int64_t step, int attempt)
{
    char path[PATH_BYTES], temporary[PATH_BYTES], aside[PATH_BYTES + 8];
    if (folder_step_path(path, sizeof path, dir, step) != VT_OK ||
        folder_temporary_path(temporary, sizeof temporary, dir, step, attempt) != VT_OK)
        return;
    snprintf(aside, sizeof aside, "%.*s.old.tmp", (int)(strlen(temporary) - strlen(".tmp")), temporary);
    if (rename(path, aside) != 0)
        log_warn("%s: cannot retire: %s", path, strerror(errno));
    else
        folder_remove(aside);
}

void folder_prune(const char *dir, int64_t step, int keep, int64_t best_step, int attempt)
{
    struct folder_list list;
    int64_t linked = folder_linked_step(dir, "best");
    int kept = 0;
    if (folder_list_steps(dir, &list) != VT_OK) {
        log_warn("%s", status_message());
        return;
    }
    for (int i = 0; i < list.count; i++) {
        int64_t old = list.steps[i];
        if (old > step)
            continue;
        if (++kept > keep && old != step && old != best_step && old != linked)
            retire(dir, old, attempt);
    }
    folder_list_close(&list);
}
