#include "dataset/dataset.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "dataset/manifest.h"
#include "dataset/shard_files.h"
#include "dataset/shard_index.h"
#include "dataset/split_spec.h"
#include "dataset/tar.h"

enum { PATH_BYTES = 4096, MAX_INDEX_BYTES = 1 << 30 };

struct row {
    uint64_t offset;
    uint32_t bytes, crc32c;
    uint16_t width, height;
    uint8_t codec, flags;
};

/* A whole split: its shards' index columns, one after the other. */
struct split_data {
    const struct manifest_split *manifest;
    struct row *rows;
    int32_t *labels;
    int64_t *label_start; /* [samples + 1]; NULL when every sample has one label */
    int64_t *first;       /* [shards + 1] first sample of each shard */
    struct shard_files *files;
};

struct dataset_split {
    struct dataset *dataset;
    const struct split_data *data;
    int64_t first, count;
    struct dataset_split *next;
};

struct dataset {
    char *dir;
    struct manifest manifest;
    struct split_data *splits;
    pthread_mutex_t lock; /* of the list of opened parts */
    struct dataset_split *parts;
};

/* Reads and checks the index of one shard; checks the size of the shard itself. */
static vt_status load_index(const struct dataset *dataset, const struct manifest_split *split, int shard,
                            struct shard_index *index)
{
    const struct manifest_shard *expected = &split->shards[shard];
    char name[PATH_BYTES], path[PATH_BYTES], tar_path[PATH_BYTES], *bytes = NULL;
    size_t size = 0;
    int64_t tar_bytes = 0;
    VT_TRY(manifest_split_path(split, shard, name, sizeof name));
    VT_TRY(path_join(tar_path, sizeof tar_path, dataset->dir, name));
    VT_TRY(manifest_shard_path(split->index_template, shard, name, sizeof name));
    VT_TRY(path_join(path, sizeof path, dataset->dir, name));
    VT_TRY(file_size(tar_path, &tar_bytes));
    if (tar_bytes != expected->bytes)
        return VT_FAIL(VT_E_FORMAT, "%s: the shard has %lld bytes, expected %lld (truncated or replaced)", tar_path,
                       (long long)tar_bytes, (long long)expected->bytes);
    VT_TRY(file_read(path, MAX_INDEX_BYTES, &bytes, &size));
    uint64_t hash = XXH3_64bits(bytes, size);
    vt_status status = VT_OK;
    if ((int64_t)size != expected->index_bytes || hash != expected->index_xxh3)
        status = VT_FAIL(VT_E_FORMAT, "%s: damaged index: %zu bytes with xxh3 %016llx, expected %lld with %016llx",
                         path, size, (unsigned long long)hash, (long long)expected->index_bytes,
                         (unsigned long long)expected->index_xxh3);
    if (status == VT_OK)
        status = shard_index_parse((uint8_t *)bytes, size, (uint32_t)dataset->manifest.class_count, path, index);
    free(bytes);
    VT_TRY(status);
    if ((int64_t)index->samples != expected->samples || index->shard_bytes != expected->bytes ||
        index->shard_xxh3 != expected->xxh3) {
        shard_index_free(index);
        return VT_FAIL(VT_E_FORMAT, "%s: the index is of another shard than %s (samples, bytes or xxh3 differ)", path,
                       tar_path);
    }
    return VT_OK;
}

/* The first sample that has not one label switches the split to explicit starts. */
static vt_status ensure_label_start(struct split_data *data, int64_t filled)
{
    if (data->label_start)
        return VT_OK;
    data->label_start = malloc(((size_t)data->manifest->samples + 1) * sizeof *data->label_start);
    if (!data->label_start)
        return VT_FAIL(VT_E_MEMORY, "no memory for the labels of %lld samples", (long long)data->manifest->samples);
    for (int64_t i = 0; i <= filled; i++)
        data->label_start[i] = i;
    return VT_OK;
}

static vt_status append_labels(struct split_data *data, const struct shard_index *index, int64_t first, size_t *total)
{
    int32_t *labels = realloc(data->labels, (*total + index->label_total + 1) * sizeof *labels);
    if (!labels)
        return VT_FAIL(VT_E_MEMORY, "no memory for %zu labels", *total + index->label_total);
    data->labels = labels;
    for (size_t i = 0; i < index->label_total; i++)
        labels[*total + i] = (int32_t)index->labels[i];
    if (index->label_count)
        VT_TRY(ensure_label_start(data, first));
    for (size_t i = 0; data->label_start && i < index->samples; i++)
        data->label_start[(size_t)first + i + 1] =
            data->label_start[(size_t)first + i] + (index->label_count ? index->label_count[i] : 1);
    *total += index->label_total;
    return VT_OK;
}

static void append_rows(struct split_data *data, const struct shard_index *index, int64_t first)
{
    for (size_t i = 0; i < index->samples; i++)
        data->rows[(size_t)first + i] = (struct row){.offset = index->offset[i],
                                                     .bytes = index->bytes[i],
                                                     .crc32c = index->crc32c[i],
                                                     .width = (uint16_t)index->width[i],
                                                     .height = (uint16_t)index->height[i],
                                                     .codec = (uint8_t)index->codec[i],
                                                     .flags = (uint8_t)index->flags[i]};
}

static vt_status load_split(const struct dataset *dataset, const struct manifest_split *split, struct split_data *data)
{
    size_t shards = (size_t)split->shard_count, labels = 0;
    data->manifest = split;
    data->first = calloc(shards + 1, sizeof *data->first);
    data->rows = malloc((size_t)split->samples * sizeof *data->rows);
    if (!data->first || !data->rows)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for the index of %lld samples", dataset->dir,
                       (long long)split->samples);
    VT_TRY(shard_files_new(dataset->dir, split, &data->files));
    for (int s = 0; s < split->shard_count; s++) {
        struct shard_index index;
        VT_TRY(load_index(dataset, split, s, &index));
        append_rows(data, &index, data->first[s]);
        vt_status status = append_labels(data, &index, data->first[s], &labels);
        data->first[s + 1] = data->first[s] + (int64_t)index.samples;
        shard_index_free(&index);
        VT_TRY(status);
    }
    for (int i = 0; i < split->dropped_count; i++)
        if (!split->dropped[i].not_packed)
            data->rows[split->dropped[i].sample].flags |= SAMPLE_BAD;
    return VT_OK;
}

/* DIR, or DIR/manifest.pb. */
static char *folder_of(const char *path)
{
    const char *name = path_base(path);
    if (strcmp(name, MANIFEST_FILE) != 0)
        return strdup(path);
    return name == path ? strdup(".") : strndup(path, (size_t)(name - path - 1));
}

vt_status dataset_open(const char *dir, struct dataset **out)
{
    *out = NULL;
    struct dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory to open the dataset", dir);
    pthread_mutex_init(&dataset->lock, NULL);
    dataset->dir = folder_of(dir);
    vt_status status = dataset->dir ? VT_OK : VT_FAIL(VT_E_MEMORY, "%s: no memory to open the dataset", dir);
    VT_TRY_OUT(status);
    if (!file_exists(dataset->dir))
        status = VT_FAIL(VT_E_IO, "%s: no such dataset folder", dataset->dir);
    VT_TRY_OUT(status);
    VT_TRY_OUT(manifest_load(dataset->dir, &dataset->manifest));
    dataset->splits = calloc((size_t)dataset->manifest.split_count, sizeof *dataset->splits);
    if (!dataset->splits)
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory to open the dataset", dir);
    VT_TRY_OUT(status);
    for (int i = 0; i < dataset->manifest.split_count; i++)
        VT_TRY_OUT(load_split(dataset, &dataset->manifest.splits[i], &dataset->splits[i]));
out:
    if (status != VT_OK)
        dataset_close(&dataset);
    *out = dataset;
    return status;
}

void dataset_close(struct dataset **dataset)
{
    struct dataset *d = *dataset;
    if (!d)
        return;
    for (int i = 0; d->splits && i < d->manifest.split_count; i++) {
        free(d->splits[i].rows);
        free(d->splits[i].labels);
        free(d->splits[i].label_start);
        free(d->splits[i].first);
        shard_files_free(&d->splits[i].files);
    }
    for (struct dataset_split *part = d->parts, *next; part; part = next) {
        next = part->next;
        free(part);
    }
    free(d->splits);
    manifest_free(&d->manifest);
    pthread_mutex_destroy(&d->lock);
    free(d->dir);
    free(d);
    *dataset = NULL;
}

const char *dataset_dir(const struct dataset *dataset)
{
    return dataset->dir;
}
const char *dataset_name(const struct dataset *dataset)
{
    return dataset->manifest.name;
}
int dataset_class_count(const struct dataset *dataset)
{
    return dataset->manifest.class_count;
}

const char *dataset_class_name(const struct dataset *dataset, int class_id)
{
    VT_CHECK(class_id >= 0 && class_id < dataset->manifest.class_count);
    return dataset->manifest.classes[class_id].name;
}

const char *dataset_class_wnid(const struct dataset *dataset, int class_id)
{
    VT_CHECK(class_id >= 0 && class_id < dataset->manifest.class_count);
    return dataset->manifest.classes[class_id].wnid;
}

int dataset_split_count(const struct dataset *dataset)
{
    return dataset->manifest.split_count;
}

static void describe(const struct manifest_split *split, struct dataset_split_info *info)
{
    const struct manifest_stats *stats = &split->stats;
    *info = (struct dataset_split_info){.name = split->name,
                                        .samples = split->samples,
                                        .shards = split->shard_count,
                                        .bytes = split->bytes,
                                        .fingerprint = split->fingerprint,
                                        .has_stats = stats->known && stats->pixels > 0,
                                        .channels = stats->known ? stats->channels : 3,
                                        .width = stats->common_width,
                                        .height = stats->common_height};
    for (int c = 0; c < 3; c++) {
        int from = info->channels == 1 ? 0 : c;
        info->mean[c] = (float)stats->mean[from];
        info->std[c] = (float)stats->std[from];
    }
}

void dataset_split_at(const struct dataset *dataset, int index, struct dataset_split_info *info)
{
    VT_CHECK(index >= 0 && index < dataset->manifest.split_count);
    describe(&dataset->manifest.splits[index], info);
}

void dataset_split_describe(const struct dataset_split *split, struct dataset_split_info *info)
{
    describe(split->data->manifest, info);
    if (split->count == info->samples)
        return;
    const uint64_t part[3] = {info->fingerprint, (uint64_t)split->first, (uint64_t)split->count};
    info->fingerprint = XXH3_64bits(part, sizeof part);
    info->samples = split->count;
}

static vt_status fail_no_split(const struct dataset *dataset, const char *name)
{
    char names[512] = "";
    for (int i = 0; i < dataset->manifest.split_count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", dataset->manifest.splits[i].name);
    }
    return VT_FAIL(VT_E_USAGE, "%s: has no split \"%s\"; it has: %s", dataset->dir, name, names);
}

vt_status dataset_split_open(struct dataset *dataset, const char *spec, struct dataset_split **out)
{
    struct split_spec parsed;
    *out = NULL;
    VT_TRY(split_spec_parse(spec, &parsed));
    const struct split_data *data = NULL;
    for (int i = 0; i < dataset->manifest.split_count; i++)
        if (strcmp(dataset->manifest.splits[i].name, parsed.name) == 0)
            data = &dataset->splits[i];
    if (!data)
        return fail_no_split(dataset, parsed.name);
    int64_t begin, end;
    VT_TRY(split_spec_range(&parsed, spec, data->manifest->samples, &begin, &end));
    struct dataset_split *part = malloc(sizeof *part);
    if (!part)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory to open a split", dataset->dir);
    *part = (struct dataset_split){.dataset = dataset, .data = data, .first = begin, .count = end - begin};
    pthread_mutex_lock(&dataset->lock);
    part->next = dataset->parts;
    dataset->parts = part;
    pthread_mutex_unlock(&dataset->lock);
    *out = part;
    return VT_OK;
}

static int shard_of(const struct split_data *data, int64_t sample)
{
    if (data->manifest->shard_samples > 0) {
        int guess = (int)(sample / data->manifest->shard_samples);
        if (guess < data->manifest->shard_count && data->first[guess] <= sample && sample < data->first[guess + 1])
            return guess;
    }
    int low = 0, high = data->manifest->shard_count - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (data->first[middle] <= sample)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void dataset_record(const struct dataset_split *split, int64_t id, struct sample_record *record)
{
    VT_CHECKF(id >= 0 && id < split->count, "sample %lld of %lld", (long long)id, (long long)split->count);
    const struct split_data *data = split->data;
    int64_t sample = split->first + id;
    const struct row *row = &data->rows[sample];
    int64_t label = data->label_start ? data->label_start[sample] : sample;
    *record =
        (struct sample_record){.id = id,
                               .shard = shard_of(data, sample),
                               .offset = (int64_t)row->offset,
                               .bytes = row->bytes,
                               .width = row->width,
                               .height = row->height,
                               .codec = (enum codec)row->codec,
                               .flags = row->flags,
                               .crc32c = row->crc32c,
                               .label_count = data->label_start ? (int)(data->label_start[sample + 1] - label) : 1,
                               .labels = data->labels + label};
}

void dataset_key(const struct dataset_split *split, const struct sample_record *record, char *key, size_t bytes)
{
    uint8_t header[TAR_BLOCK];
    struct tar_reader reader;
    struct tar_member member;
    bool found = false;
    snprintf(key, bytes, "?");
    if (record->offset < TAR_BLOCK ||
        shard_files_read(split->data->files, record->shard, record->offset - TAR_BLOCK, header, sizeof header) != VT_OK)
        return;
    tar_reader_init_memory(&reader, "", header, sizeof header);
    reader.bytes = INT64_MAX / 2; /* only the header is looked at */
    if (tar_next(&reader, &member, &found) != VT_OK || !found)
        return;
    const char *base = path_base(member.name);
    snprintf(key, bytes, "%.*s", (int)(base - member.name) + (int)strcspn(base, "."), member.name);
}

void dataset_where(const struct dataset_split *split, const struct sample_record *record, char *text, size_t bytes)
{
    char path[PATH_BYTES], key[128];
    if (shard_files_path(split->data->files, record->shard, path, sizeof path) != VT_OK)
        snprintf(path, sizeof path, "shard %d", record->shard);
    dataset_key(split, record, key, sizeof key);
    snprintf(text, bytes, "%s, sample %lld (key %s), offset %lld", path,
             (long long)(split->first + record->id - split->data->first[record->shard]), key,
             (long long)record->offset);
}

vt_status dataset_read(const struct dataset_split *split, const struct sample_record *record, uint8_t **buffer,
                       size_t *capacity)
{
    size_t size = (size_t)record->bytes;
    if (size > *capacity) {
        uint8_t *bigger = realloc(*buffer, size);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for a sample of %zu bytes", size);
        *buffer = bigger;
        *capacity = size;
    }
    VT_TRY(shard_files_read(split->data->files, record->shard, record->offset, *buffer, size));
    uint32_t crc = crc32c(0, *buffer, size);
    if (crc == record->crc32c)
        return VT_OK;
    char where[PATH_BYTES];
    dataset_where(split, record, where, sizeof where);
    return VT_FAIL(VT_E_FORMAT, "%s: damaged: crc32c is %08x, expected %08x", where, crc, record->crc32c);
}
