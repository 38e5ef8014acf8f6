#include "dataset/pack.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "dataset/manifest.h"
#include "dataset/pack_source.h"
#include "dataset/pack_write.h"

enum { PATH_BYTES = 4096, DEFAULT_SHARD_SAMPLES = 2048, MAX_SHARD_SAMPLES = 1 << 20 };

static const struct {
    const char *name;
    vt_status (*open)(const struct pack_desc *, struct pack_source *);
} KINDS[] = {{"idx", pack_idx_open},
             {"cifar", pack_cifar_open},
             {"imagefolder", pack_imagefolder_open},
             {"webdataset", pack_webdataset_open}};

static const char *guess_kind(const char *source)
{
    DIR *dir = opendir(source);
    const char *kind = "imagefolder";
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strstr(entry->d_name, "-idx3-ubyte") || strstr(entry->d_name, ".idx3-ubyte"))
            kind = "idx";
        else if (strcmp(entry->d_name, "data_batch_1.bin") == 0 || strcmp(entry->d_name, "train.bin") == 0)
            kind = "cifar";
        else if (strlen(entry->d_name) > 4 && strcmp(entry->d_name + strlen(entry->d_name) - 4, ".tar") == 0)
            kind = "webdataset";
    if (dir)
        closedir(dir);
    return kind;
}

static vt_status open_source(const struct pack_desc *desc, struct pack_source *source)
{
    if (!file_is_dir(desc->source))
        return VT_FAIL(VT_E_IO, "%s: no such source folder", desc->source);
    const char *kind = desc->from ? desc->from : guess_kind(desc->source);
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, kind) == 0) {
            VT_TRY(KINDS[i].open(desc, source));
            VT_TRY(pack_override_classes(desc->classes, source));
            return pack_draw_val(desc->val, desc->seed, source);
        }
    return VT_FAIL(VT_E_USAGE, "from \"%s\": expected idx, cifar, imagefolder or webdataset", kind);
}

/* A folder that is missing or empty may become the dataset. */
static vt_status check_target(const char *dir)
{
    struct stat info;
    if (lstat(dir, &info) != 0)
        return VT_OK;
    if (S_ISDIR(info.st_mode)) {
        int entries = 0;
        DIR *open = opendir(dir);
        while (open && readdir(open))
            entries++;
        if (open)
            closedir(open);
        if (entries == 2)
            return VT_OK;
    }
    return VT_FAIL(VT_E_USAGE, "%s: exists already; remove it or name another folder", dir);
}

/* DIR without trailing slashes, as a name to build beside and to rename to. */
static vt_status plain_path(const char *dir, char *out, size_t bytes)
{
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    if (length == 0 || length >= bytes - 32)
        return VT_FAIL(VT_E_USAGE, "dataset folder \"%s\": empty or too long", dir);
    memcpy(out, dir, length);
    out[length] = 0;
    return VT_OK;
}

/* Two levels are all that pack makes. Best effort: it runs after a failure. */
static void remove_tree(const char *path, int depth)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char below[PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            path_join(below, sizeof below, path, entry->d_name) != VT_OK)
            continue;
        if (unlink(below) != 0 && depth > 0)
            remove_tree(below, depth - 1);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

/* Remove DIR.packing.HOST.PID of processes of this host that are gone. */
static void remove_leftovers(const char *prefix, const char *parent)
{
    char path[PATH_BYTES];
    size_t length = strlen(prefix);
    DIR *open = opendir(parent);
    for (struct dirent *entry; open && (entry = readdir(open));) {
        if (strncmp(entry->d_name, prefix, length) != 0)
            continue;
        long pid = strtol(entry->d_name + length, NULL, 10);
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH &&
            path_join(path, sizeof path, parent, entry->d_name) == VT_OK) {
            log_info("%s: removed, left by a pack that was interrupted", path);
            remove_tree(path, 2);
        }
    }
    if (open)
        closedir(open);
}

static vt_status write_manifest(struct pack_write *write, const char *name, struct manifest_split *splits,
                                int split_count)
{
    const struct pack_desc *desc = write->desc;
    char step[256];
    snprintf(step, sizeof step, "from=%s seed=%llu shuffle=%d val=%s shard_samples=%d", write->source->kind,
             (unsigned long long)desc->seed, !desc->no_shuffle, desc->val ? desc->val : "", write->shard_samples);
    struct manifest manifest = {.name = name,
                                .version = "1",
                                .class_count = write->source->class_count,
                                .classes = write->classes,
                                .split_count = split_count,
                                .splits = splits,
                                .provenance = {.source_uri = desc->source,
                                               .tool = "vitrail pack",
                                               .tool_version = "1",
                                               .command = desc->command ? desc->command : "",
                                               .source_xxh3 = write->source_xxh3,
                                               .step = step}};
    return manifest_save(write->dir, &manifest);
}

static void log_split(const struct manifest_split *split)
{
    char bytes[32];
    const struct manifest_stats *s = &split->stats;
    text_format_bytes((double)split->bytes, bytes, sizeof bytes);
    log_info("%-5s %lld sample%s in %d shard%s, %s%s; mean %.4f std %.4f (first channel of %d)", split->name,
             (long long)split->samples, text_s(split->samples), split->shard_count, text_s(split->shard_count), bytes, split->preshuffled ? ", shuffled" : "", s->mean[0],
             s->std[0], s->channels);
    if (split->dropped_count)
        log_warn("%s: left out %d image%s that could not be read", split->name, split->dropped_count,
                 text_s(split->dropped_count));
}

static vt_status build(struct pack_write *write, const char *name, struct pack_report *report)
{
    struct manifest_split splits[PACK_MAX_SPLITS] = {0};
    struct pack_source *source = write->source;
    char shards[PATH_BYTES];
    vt_status status;
    int count = 0;
    write->classes = calloc((size_t)source->class_count + 1, sizeof *write->classes);
    if (!write->classes)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d classes", source->class_count);
    for (int i = 0; i < source->class_count; i++) {
        const char *text = source->class_names[i];
        int is_wnid = text[0] == 'n' && strlen(text) == 9 && strspn(text + 1, "0123456789") == 8;
        write->classes[i] = (struct manifest_class){.name = text, .wnid = is_wnid ? text : ""};
    }
    VT_TRY_OUT(path_join(shards, sizeof shards, write->dir, "shards"));
    VT_TRY_OUT(file_make_dirs(shards));
    for (int i = 0; i < source->split_count; i++) {
        if (source->splits[i].count == 0)
            continue;
        struct manifest_split *split = &splits[count];
        VT_TRY_OUT(source->splits[i].tars ? pack_index_split(write, &source->splits[i], split)
                                          : pack_write_split(write, &source->splits[i], split));
        log_split(split);
        snprintf(report->split[count].name, sizeof report->split[count].name, "%s", split->name);
        report->split[count].samples = split->samples;
        report->split[count].dropped = split->dropped_count;
        report->split[count].bytes = split->bytes;
        report->split[count].shards = split->shard_count;
        report->splits = ++count;
    }
    VT_TRY_OUT(write_manifest(write, name, splits, count));
    VT_TRY_OUT(file_sync_dir(shards));
    VT_TRY_OUT(file_sync_dir(write->dir));
out:
    for (int i = 0; i < PACK_MAX_SPLITS; i++)
        pack_split_free(&splits[i]);
    free(write->classes);
    return status;
}

/* Build beside the target, then rename: an interrupted pack leaves DIR.packing.HOST.PID, never half a DIR. */
static vt_status build_and_rename(const struct pack_desc *desc, struct pack_source *source, struct pack_report *report)
{
    char dir[PATH_BYTES], building[PATH_BYTES + 320], parent[PATH_BYTES], host[256] = "";
    VT_TRY(plain_path(desc->dir, dir, sizeof dir));
    VT_TRY(path_dir(parent, sizeof parent, dir));
    VT_TRY(file_make_dirs(parent));
    gethostname(host, sizeof host - 1);
    snprintf(building, sizeof building, "%s.packing.%s.", dir, host);
    remove_leftovers(path_base(building), parent);
    snprintf(building, sizeof building, "%s.packing.%s.%ld", dir, host, (long)getpid());
    struct pack_write write = {.dir = building,
                               .desc = desc,
                               .source = source,
                               .shard_samples = desc->shard_samples ? desc->shard_samples : DEFAULT_SHARD_SAMPLES};
    remove_tree(building, 2);
    vt_status status = build(&write, desc->name ? desc->name : path_base(dir), report);
    if (status == VT_OK && rename(building, dir) != 0)
        status = VT_FAIL(VT_E_IO, "%s: cannot rename %s to it: %s", dir, building, strerror(errno));
    if (status != VT_OK) {
        remove_tree(building, 2);
        return status;
    }
    return file_sync_dir(parent);
}

static void report_source(const struct pack_source *source, struct pack_report *report)
{
    for (int i = 0; i < source->split_count; i++) {
        const struct pack_items *items = &source->splits[i];
        char bytes[32];
        int64_t total = 0;
        for (int64_t j = 0; j < items->count && items->items; j++)
            total += source->bytes(source, items->items[j].item);
        snprintf(report->split[i].name, sizeof report->split[i].name, "%s", items->name);
        report->split[i].samples = items->count;
        report->split[i].bytes = total;
        text_format_bytes((double)total, bytes, sizeof bytes);
        log_info("%-5s %lld samples, %s", items->name, (long long)items->count, bytes);
    }
    report->splits = source->split_count;
}

vt_status pack_run(const struct pack_desc *desc, struct pack_report *report)
{
    struct pack_report unused;
    struct pack_source source = {0};
    double start_ms = clock_ms();
    vt_status status;
    report = report ? report : &unused;
    memset(report, 0, sizeof *report);
    if (desc->shard_samples < 0 || desc->shard_samples > MAX_SHARD_SAMPLES || desc->block_samples < 0)
        return VT_FAIL(VT_E_USAGE, "shard_samples %d, block_samples %d: expected 1..%d", desc->shard_samples,
                       desc->block_samples, MAX_SHARD_SAMPLES);
    if (!desc->dry_run)
        VT_TRY(check_target(desc->dir));
    VT_TRY_OUT(open_source(desc, &source));
    report->classes = source.class_count;
    log_info("%s: %s, %d classes", desc->source, source.kind, source.class_count);
    if (desc->dry_run)
        report_source(&source, report);
    else
        VT_TRY_OUT(build_and_rename(desc, &source, report));
    report->seconds = (clock_ms() - start_ms) / 1000;
out:
    pack_source_close(&source);
    return status;
}
