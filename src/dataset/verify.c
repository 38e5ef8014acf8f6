#include "dataset/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "dataset/dataset.h"
#include "dataset/manifest.h"
#include "dataset/shard_index.h"
#include "dataset/tar.h"

enum {
    PATH_BYTES = 4096,
    CHUNK = 1 << 20,
    MOST_THREADS = 256,
    LOGGED = 20,
    PROGRESS_MS = 5000,
    MAX_INDEX_BYTES = 1 << 30
};

/* One shard is one piece of work. */
struct job {
    int split, shard;
    int64_t first; /* sample id in the split */
};

struct verify {
    const struct verify_desc *desc;
    struct dataset *dataset;
    struct manifest manifest;
    struct dataset_split **splits;
    struct job *jobs;
    int job_count;
    atomic_int next_job;
    atomic_llong samples, warnings;
    pthread_mutex_t lock;          /* of what follows */
    struct manifest_dropped **bad; /* [split] lists; strings owned */
    int *bad_count, *bad_capacity;
    int64_t bad_total;
    int bad_shards;
    double logged_ms;
    vt_status status; /* of our own troubles: no memory, a disk or network that fails */
    char message[VT_MESSAGE_BYTES];
    atomic_bool stopped; /* status is set: the workers leave */
};

static vt_status add_bad(struct verify *v, int split, const struct manifest_dropped *entry)
{
    if (v->bad_count[split] == v->bad_capacity[split]) {
        int capacity = v->bad_capacity[split] ? 2 * v->bad_capacity[split] : 64;
        struct manifest_dropped *bigger = realloc(v->bad[split], (size_t)capacity * sizeof *bigger);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for a list of %d bad samples", capacity);
        v->bad[split] = bigger;
        v->bad_capacity[split] = capacity;
    }
    v->bad[split][v->bad_count[split]++] = *entry;
    v->bad_total++;
    return VT_OK;
}

/* What is no fault of the data ends the verify: nothing good must be recorded or reported as bad because a mount
 * hiccuped. */
static bool ends_verify(vt_status status)
{
    return status == VT_E_IO || status == VT_E_MEMORY;
}

static void stop_verify(struct verify *v, vt_status status)
{
    pthread_mutex_lock(&v->lock);
    if (v->status == VT_OK) {
        v->status = status;
        snprintf(v->message, sizeof v->message, "%s", status_message());
    }
    pthread_mutex_unlock(&v->lock);
    atomic_store(&v->stopped, true);
}

/* Record the calling thread's message as the reason. */
static void note_bad(struct verify *v, const struct job *job, const struct sample_record *record, const char *key)
{
    char where[PATH_BYTES], reason[VT_MESSAGE_BYTES];
    snprintf(reason, sizeof reason, "%s", status_message());
    dataset_where(v->splits[job->split], record, where, sizeof where);
    struct manifest_dropped entry = {.key = strdup(key), .reason = strdup(reason), .sample = record->id};
    pthread_mutex_lock(&v->lock);
    if (v->bad_total < LOGGED)
        log_warn("bad sample: %s%s%s", strstr(reason, where) ? "" : where, strstr(reason, where) ? "" : ": ", reason);
    else if (v->bad_total == LOGGED)
        log_warn("more bad samples; the manifest will list them all");
    vt_status status = entry.key && entry.reason ? add_bad(v, job->split, &entry) : VT_FAIL(VT_E_MEMORY, "no memory");
    pthread_mutex_unlock(&v->lock);
    if (status != VT_OK)
        stop_verify(v, status);
}

static vt_status check_sample(struct verify *v, const struct job *job, const struct sample_record *record,
                              uint8_t **buffer, size_t *capacity, struct image *image)
{
    struct image_info info;
    int warnings = 0;
    VT_TRY(dataset_read(v->splits[job->split], record, buffer, capacity));
    size_t size = (size_t)record->bytes;
    VT_TRY(image_probe(*buffer, size, &info));
    if (info.width != record->width || info.height != record->height || info.codec != record->codec)
        return VT_FAIL(VT_E_FORMAT, "the image is %d x %d, the index says %d x %d", info.width, info.height,
                       record->width, record->height);
    VT_TRY(image_decode_strict(*buffer, size, info.channels <= 2 ? 1 : 3, image, &warnings));
    atomic_fetch_add(&v->warnings, warnings > 0);
    if (warnings > 0 && v->desc->strict)
        return VT_FAIL(VT_E_FORMAT, "%d decoder warnings (strict)", warnings);
    return VT_OK;
}

/* Does the .cls member that follows sample i hold its label? Only ours are known to follow. */
static vt_status check_label(struct tar_reader *reader, const struct shard_index *index, size_t i, size_t label)
{
    struct tar_member member;
    char text[16], expected[16];
    bool found;
    ssize_t got = 0;
    int length = snprintf(expected, sizeof expected, "%u", index->labels[label]);
    VT_TRY(tar_next(reader, &member, &found));
    if (found && member.bytes == length)
        got = pread(reader->fd, text, (size_t)length, member.offset);
    if (got < 0)
        return VT_FAIL(VT_E_IO, "%s: read at offset %lld: %s", reader->name, (long long)member.offset, strerror(errno));
    if (got != length || memcmp(text, expected, (size_t)length) != 0)
        return VT_FAIL(VT_E_FORMAT, "%s: sample %zu: its .cls member does not hold the index's label %s", reader->name,
                       i, expected);
    return VT_OK;
}

/* The samples of the index are members of the tar, in its order. In `foreign` tars others may stand between them. */
static vt_status check_members(struct tar_reader *reader, const struct shard_index *index, bool foreign)
{
    struct tar_member member;
    size_t label = 0;
    for (size_t i = 0; i < index->samples; i++) {
        size_t labels = index->label_count ? index->label_count[i] : 1;
        bool found;
        do
            VT_TRY(tar_next(reader, &member, &found));
        while (foreign && found && (uint64_t)member.offset < index->offset[i]);
        if (!found || (uint64_t)member.offset != index->offset[i] || (uint64_t)member.bytes != index->bytes[i])
            return VT_FAIL(
                VT_E_FORMAT, "%s: sample %zu: the index says %u bytes at offset %llu, the tar has %s of %lld at %lld",
                reader->name, i, index->bytes[i], (unsigned long long)index->offset[i], found ? member.name : "nothing",
                found ? (long long)member.bytes : 0LL, found ? (long long)member.offset : 0LL);
        if (!foreign && labels == 1)
            VT_TRY(check_label(reader, index, i, label));
        label += labels;
    }
    return VT_OK;
}

static vt_status hash_file(int fd, const char *path, uint64_t expected)
{
    uint8_t *chunk = malloc(CHUNK);
    XXH3_state_t *state = XXH3_createState();
    vt_status status = chunk && state ? VT_OK : VT_FAIL(VT_E_MEMORY, "%s: no memory to hash it", path);
    ssize_t n = 0;
    int64_t at = 0;
    if (status == VT_OK) {
        XXH3_64bits_reset(state);
        for (; (n = pread(fd, chunk, CHUNK, at)) > 0; at += n)
            XXH3_64bits_update(state, chunk, (size_t)n);
        uint64_t hash = XXH3_64bits_digest(state);
        if (n < 0)
            status = VT_FAIL(VT_E_IO, "%s: read at offset %lld: %s", path, (long long)at, strerror(errno));
        else if (hash != expected)
            status = VT_FAIL(VT_E_FORMAT, "%s: damaged: its xxh3 is %016llx, expected %016llx", path,
                             (unsigned long long)hash, (unsigned long long)expected);
    }
    XXH3_freeState(state);
    free(chunk);
    return status;
}

static vt_status load_index(const struct verify *v, const struct job *job, struct shard_index *index)
{
    const struct manifest_split *split = &v->manifest.splits[job->split];
    char name[PATH_BYTES], path[PATH_BYTES], *bytes;
    size_t size;
    VT_TRY(manifest_shard_path(split->index_template, job->shard, name, sizeof name));
    VT_TRY(path_join(path, sizeof path, dataset_dir(v->dataset), name));
    VT_TRY(file_read(path, MAX_INDEX_BYTES, &bytes, &size));
    vt_status status = shard_index_parse((uint8_t *)bytes, size, (uint32_t)v->manifest.class_count, path, index);
    free(bytes);
    return status;
}

static vt_status check_shard_file(const struct verify *v, const struct job *job, const struct shard_index *index)
{
    const struct manifest_split *split = &v->manifest.splits[job->split];
    char name[PATH_BYTES], path[PATH_BYTES];
    struct tar_reader reader;
    VT_TRY(manifest_split_path(split, job->shard, name, sizeof name));
    VT_TRY(path_join(path, sizeof path, dataset_dir(v->dataset), name));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open: %s", path, strerror(errno));
    vt_status status = hash_file(fd, path, split->shards[job->shard].xxh3);
    if (status == VT_OK)
        status = tar_reader_init_file(&reader, path, fd);
    if (status == VT_OK)
        status = check_members(&reader, index, split->paths != NULL);
    close(fd);
    return status;
}

static void progress(struct verify *v)
{
    pthread_mutex_lock(&v->lock);
    if (clock_ms() - v->logged_ms > PROGRESS_MS) {
        v->logged_ms = clock_ms();
        log_info("verify: %lld samples, %lld bad", (long long)atomic_load(&v->samples), (long long)v->bad_total);
    }
    pthread_mutex_unlock(&v->lock);
}

static void check_job(struct verify *v, const struct job *job, uint8_t **buffer, size_t *capacity, struct image *image)
{
    struct shard_index index = {0};
    vt_status status = load_index(v, job, &index);
    if (status == VT_OK)
        status = check_shard_file(v, job, &index);
    if (ends_verify(status)) {
        stop_verify(v, status);
    } else if (status != VT_OK) {
        log_warn("bad shard: %s", status_message());
        pthread_mutex_lock(&v->lock);
        v->bad_shards++;
        pthread_mutex_unlock(&v->lock);
    }
    for (int64_t i = 0; i < v->manifest.splits[job->split].shards[job->shard].samples && !atomic_load(&v->stopped);
         i++) {
        struct sample_record record;
        char key[1024] = "";
        dataset_record(v->splits[job->split], job->first + i, &record);
        status = check_sample(v, job, &record, buffer, capacity, image);
        if (ends_verify(status)) {
            stop_verify(v, status);
        } else if (status != VT_OK) {
            shard_index_key(&index, (size_t)i, key, sizeof key);
            note_bad(v, job, &record, key);
        }
        if (atomic_fetch_add(&v->samples, 1) % 256 == 0)
            progress(v);
    }
    shard_index_free(&index);
}

static void *worker(void *context)
{
    struct verify *v = context;
    struct image image = {0};
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    for (int job; !atomic_load(&v->stopped) && (job = atomic_fetch_add(&v->next_job, 1)) < v->job_count;)
        check_job(v, &v->jobs[job], &buffer, &capacity, &image);
    free(buffer);
    image_close(&image);
    return NULL;
}

static void run_threads(struct verify *v, int threads)
{
    pthread_t ids[MOST_THREADS];
    int started = 0;
    while (started < threads - 1 && pthread_create(&ids[started], NULL, worker, v) == 0)
        started++;
    worker(v); /* this thread is one of them, and enough */
    for (int i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
}

static vt_status prepare(struct verify *v)
{
    size_t splits = (size_t)v->manifest.split_count;
    v->splits = calloc(splits, sizeof *v->splits);
    v->bad = calloc(splits, sizeof *v->bad);
    v->bad_count = calloc(2 * splits, sizeof *v->bad_count);
    if (!v->splits || !v->bad || !v->bad_count)
        return VT_FAIL(VT_E_MEMORY, "no memory to verify");
    v->bad_capacity = v->bad_count + splits;
    for (int s = 0; s < v->manifest.split_count; s++)
        v->job_count += v->manifest.splits[s].shard_count;
    v->jobs = calloc((size_t)v->job_count, sizeof *v->jobs);
    if (!v->jobs)
        return VT_FAIL(VT_E_MEMORY, "no memory to verify");
    int job = 0;
    for (int s = 0; s < v->manifest.split_count; s++) {
        const struct manifest_split *split = &v->manifest.splits[s];
        int64_t first = 0;
        VT_TRY(dataset_split_open(v->dataset, split->name, &v->splits[s]));
        for (int i = 0; i < split->shard_count; first += split->shards[i++].samples)
            v->jobs[job++] = (struct job){s, i, first};
    }
    return VT_OK;
}

static int by_sample(const void *a, const void *b)
{
    const struct manifest_dropped *x = a, *y = b;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

/* Write the lists that changed. */
static vt_status record(struct verify *v)
{
    for (int s = 0; s < v->manifest.split_count; s++) {
        const struct manifest_split *split = &v->manifest.splits[s];
        int known = 0;
        for (int i = 0; i < split->dropped_count; i++)
            known += !split->dropped[i].not_packed;
        if (v->bad_count[s] == 0 && known == 0)
            continue;
        if (v->bad_count[s] > 0)
            qsort(v->bad[s], (size_t)v->bad_count[s], sizeof *v->bad[s], by_sample);
        VT_TRY(manifest_set_bad(dataset_dir(v->dataset), split->name, v->bad[s], v->bad_count[s]));
    }
    return VT_OK;
}

static void close_verify(struct verify *v)
{
    for (int s = 0; v->bad_count && s < v->manifest.split_count; s++) {
        for (int i = 0; i < v->bad_count[s]; i++) {
            free((char *)v->bad[s][i].key);
            free((char *)v->bad[s][i].reason);
        }
        free(v->bad[s]);
    }
    free(v->bad);
    free(v->bad_count);
    free(v->splits);
    free(v->jobs);
    manifest_free(&v->manifest);
    dataset_close(&v->dataset);
    pthread_mutex_destroy(&v->lock);
}

vt_status verify_run(const struct verify_desc *desc, struct verify_report *report)
{
    struct verify v = {.desc = desc, .logged_ms = clock_ms()};
    double start_ms = clock_ms();
    vt_status status;
    memset(report, 0, sizeof *report);
    pthread_mutex_init(&v.lock, NULL);
    VT_TRY_OUT(dataset_open(desc->dir, &v.dataset));
    VT_TRY_OUT(manifest_load(dataset_dir(v.dataset), &v.manifest));
    VT_TRY_OUT(prepare(&v));
    run_threads(&v, desc->threads < 1 ? 1 : desc->threads < MOST_THREADS ? desc->threads : MOST_THREADS);
    if (v.status != VT_OK)
        VT_TRY_OUT(VT_FAIL(v.status, "%s", v.message));
    if (!desc->dont_record)
        VT_TRY_OUT(record(&v));
    report->samples = atomic_load(&v.samples);
    report->warnings = atomic_load(&v.warnings);
    for (int s = 0; s < v.manifest.split_count; s++)
        report->bytes += v.manifest.splits[s].bytes;
    report->bad = v.bad_total;
    report->shards = v.job_count;
    report->bad_shards = v.bad_shards;
    report->seconds = (clock_ms() - start_ms) / 1000;
out:
    close_verify(&v);
    return status;
}
