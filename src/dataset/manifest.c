#include "dataset/manifest_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/file.h"
#include "image/image.h"
#include "manifest.pb-c.h"

enum { MAX_SHARDS = 1 << 26, MAX_CLASSES = 1 << 24, HASH_LINE = 64, HASH_FILE_BYTES = 4096 };

vt_status manifest_shard_path(const char *path_template, int64_t shard, char *out, size_t bytes)
{
    const char *percent = strchr(path_template, '%'), *d = percent ? percent + 1 : NULL;
    int width = 0;
    while (d && *d >= '0' && *d <= '9' && width < 20)
        width = width * 10 + (*d++ - '0');
    if (!d || *d != 'd' || width > 20 || strchr(d, '%'))
        return VT_FAIL(VT_E_FORMAT, "shard path \"%s\": expected one %%06d for the shard number", path_template);
    int n = snprintf(out, bytes, "%.*s%0*lld%s", (int)(percent - path_template), path_template, width, (long long)shard,
                     d + 1);
    if (n < 0 || (size_t)n >= bytes)
        return VT_FAIL(VT_E_LIMIT, "shard path \"%s\" is longer than %zu bytes", path_template, bytes);
    return VT_OK;
}

vt_status manifest_split_path(const struct manifest_split *split, int64_t shard, char *out, size_t bytes)
{
    if (!split->paths)
        return manifest_shard_path(split->path_template, shard, out, bytes);
    return path_join(out, bytes, "", split->paths[shard]);
}

uint64_t manifest_fingerprint(const struct manifest_shard *shards, int count)
{
    uint64_t hash = 0;
    for (int i = 0; i < count; i++) {
        uint8_t link[24];
        const uint64_t words[3] = {hash, shards[i].xxh3, shards[i].index_xxh3};
        for (int b = 0; b < 24; b++)
            link[b] = (uint8_t)(words[b / 8] >> 8 * (b % 8));
        hash = XXH3_64bits(link, sizeof link);
    }
    return hash;
}

static vt_status read_stats(const Vitrail__Stats *m, const char *name, struct manifest_stats *stats)
{
    if (!m)
        return VT_OK;
    stats->known = true;
    stats->channels = (int)m->channels;
    if ((m->channels != 1 && m->channels != 3) || m->n_mean > 3 || m->n_std != m->n_mean ||
        (m->n_mean && m->n_mean != m->channels))
        return VT_FAIL(VT_E_FORMAT, "%s: statistics of %u channels with %zu means and %zu deviations", name,
                       m->channels, m->n_mean, m->n_std);
    for (size_t c = 0; c < m->n_mean; c++) {
        stats->mean[c] = m->mean[c];
        stats->std[c] = m->std[c];
        if (!(m->mean[c] >= 0 && m->mean[c] <= 1 && m->std[c] >= 0 && m->std[c] <= 1))
            return VT_FAIL(VT_E_FORMAT, "%s: mean %g, std %g: expected 0..1", name, m->mean[c], m->std[c]);
    }
    if (m->common_width > IMAGE_MAX_SIDE || m->common_height > IMAGE_MAX_SIDE)
        return VT_FAIL(VT_E_FORMAT, "%s: common size %u x %u", name, m->common_width, m->common_height);
    stats->pixels = m->n_mean ? m->pixels : 0;
    stats->common_width = (int)m->common_width;
    stats->common_height = (int)m->common_height;
    stats->max_width = (int)m->max_width;
    stats->max_height = (int)m->max_height;
    stats->mean_bytes = m->mean_bytes;
    stats->max_bytes = (int64_t)m->max_bytes;
    stats->progressive = (int64_t)m->progressive;
    stats->grey = (int64_t)m->grayscale;
    stats->cmyk = (int64_t)m->cmyk;
    stats->exif_rotated = (int64_t)m->exif_rotated;
    return VT_OK;
}

static vt_status read_shards(const Vitrail__Split *m, const char *name, struct manifest_split *split)
{
    const Vitrail__ShardTable *t = m->shards;
    if (!t || t->count < 1 || t->count > MAX_SHARDS)
        return VT_FAIL(VT_E_FORMAT, "%s: split %s: %llu shards, expected 1..%d", name, m->name,
                       (unsigned long long)(t ? t->count : 0), MAX_SHARDS);
    if (t->n_bytes != t->count || t->n_samples != t->count || t->n_xxh3 != t->count || t->n_index_bytes != t->count ||
        t->n_index_xxh3 != t->count)
        return VT_FAIL(VT_E_FORMAT, "%s: split %s: shard columns do not all have %llu entries", name, m->name,
                       (unsigned long long)t->count);
    if (t->n_paths && t->n_paths != t->count)
        return VT_FAIL(VT_E_FORMAT, "%s: split %s: %zu shard paths, expected %llu", name, m->name, t->n_paths,
                       (unsigned long long)t->count);
    char path[64 + 1024];
    split->paths = t->n_paths ? t->paths : NULL;
    if (!split->paths)
        VT_TRY(manifest_shard_path(t->path_template, 0, path, sizeof path));
    VT_TRY(manifest_shard_path(t->index_path_template, 0, path, sizeof path));
    split->path_template = t->path_template;
    split->index_template = t->index_path_template;
    split->shard_count = (int)t->count;
    split->shards = calloc(t->count, sizeof *split->shards);
    if (!split->shards)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %d shards", name, split->shard_count);
    uint64_t samples = 0, bytes = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->bytes[i] > INT64_MAX / 2 || t->index_bytes[i] > MANIFEST_MAX_BYTES || t->samples[i] == 0)
            return VT_FAIL(
                VT_E_FORMAT, "%s: split %s: shard %zu: %llu bytes, index %llu bytes, %u samples: out of range", name,
                m->name, i, (unsigned long long)t->bytes[i], (unsigned long long)t->index_bytes[i], t->samples[i]);
        split->shards[i] = (struct manifest_shard){(int64_t)t->bytes[i], t->samples[i], (int64_t)t->index_bytes[i],
                                                   t->xxh3[i], t->index_xxh3[i]};
        samples += t->samples[i];
        bytes += t->bytes[i];
    }
    if (samples != m->samples || bytes != m->bytes)
        return VT_FAIL(VT_E_FORMAT, "%s: split %s: its shards hold %llu samples in %llu bytes, expected %llu in %llu",
                       name, m->name, (unsigned long long)samples, (unsigned long long)bytes,
                       (unsigned long long)m->samples, (unsigned long long)m->bytes);
    return VT_OK;
}

static vt_status read_split(const Vitrail__Split *m, const char *name, struct manifest_split *split)
{
    split->name = m->name;
    split->samples = (int64_t)m->samples;
    split->bytes = (int64_t)m->bytes;
    split->block_samples = m->block_samples;
    split->shard_samples = m->shard_samples;
    split->preshuffled = m->preshuffled;
    split->preshuffle_seed = m->preshuffle_seed;
    split->fingerprint = m->fingerprint;
    VT_TRY(read_shards(m, name, split));
    VT_TRY(read_stats(m->stats, name, &split->stats));
    if (manifest_fingerprint(split->shards, split->shard_count) != m->fingerprint)
        return VT_FAIL(VT_E_FORMAT, "%s: split %s: fingerprint is not that of its shard hashes", name, m->name);
    split->dropped = calloc(m->n_dropped + 1, sizeof *split->dropped);
    if (!split->dropped)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu dropped samples", name, m->n_dropped);
    split->dropped_count = (int)m->n_dropped;
    for (size_t i = 0; i < m->n_dropped; i++) {
        const Vitrail__Dropped *d = m->dropped[i];
        if (!d->not_packed && d->sample >= m->samples)
            return VT_FAIL(VT_E_FORMAT, "%s: split %s: bad sample %llu, expected below %llu", name, m->name,
                           (unsigned long long)d->sample, (unsigned long long)m->samples);
        split->dropped[i] =
            (struct manifest_dropped){d->source_key, d->reason, d->xxh3, d->not_packed, (int64_t)d->sample};
    }
    return VT_OK;
}

static vt_status read_classes(const Vitrail__Manifest *m, const char *name, struct manifest *manifest)
{
    if (m->num_classes > MAX_CLASSES || m->n_classes != m->num_classes)
        return VT_FAIL(VT_E_FORMAT, "%s: %zu class entries, expected %u", name, m->n_classes, m->num_classes);
    manifest->class_count = (int)m->num_classes;
    manifest->classes = calloc(m->n_classes + 1, sizeof *manifest->classes);
    if (!manifest->classes)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %u classes", name, m->num_classes);
    for (size_t i = 0; i < m->n_classes; i++) {
        const Vitrail__ClassDef *c = m->classes[i];
        if (c->id != i)
            return VT_FAIL(VT_E_FORMAT, "%s: class entry %zu has id %u", name, i, c->id);
        manifest->classes[i] =
            (struct manifest_class){c->name, c->wnid, (int64_t)c->train_samples, (int64_t)c->val_samples};
    }
    return VT_OK;
}

static vt_status read_manifest(const Vitrail__Manifest *m, const char *name, struct manifest *manifest)
{
    if (m->schema != MANIFEST_SCHEMA)
        return VT_FAIL(m->schema > MANIFEST_SCHEMA ? VT_E_UNSUPPORTED : VT_E_FORMAT,
                       "%s: manifest schema %u, this version reads %d", name, m->schema, MANIFEST_SCHEMA);
    manifest->name = m->name;
    manifest->version = m->version;
    VT_TRY(read_classes(m, name, manifest));
    if (m->n_splits < 1)
        return VT_FAIL(VT_E_FORMAT, "%s: no splits", name);
    manifest->splits = calloc(m->n_splits, sizeof *manifest->splits);
    if (!manifest->splits)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu splits", name, m->n_splits);
    for (size_t i = 0; i < m->n_splits; i++) {
        manifest->split_count = (int)i + 1;
        VT_TRY(read_split(m->splits[i], name, &manifest->splits[i]));
    }
    const Vitrail__Provenance *p = m->provenance;
    if (p)
        manifest->provenance = (struct manifest_provenance){
            p->source_uri, p->tool, p->tool_version, p->command, p->source_xxh3, p->n_steps ? p->steps[0] : ""};
    return VT_OK;
}

vt_status manifest_parse(const uint8_t *bytes, size_t size, const char *name, struct manifest *manifest)
{
    memset(manifest, 0, sizeof *manifest);
    Vitrail__Manifest *m = vitrail__manifest__unpack(NULL, size, bytes);
    if (!m)
        return VT_FAIL(VT_E_FORMAT, "%s: not a manifest (protobuf does not parse)", name);
    manifest->provenance = (struct manifest_provenance){"", "", "", "", 0, ""};
    manifest->message = m;
    vt_status status = read_manifest(m, name, manifest);
    if (status != VT_OK)
        manifest_free(manifest);
    return status;
}

void manifest_free(struct manifest *manifest)
{
    for (int i = 0; i < manifest->split_count; i++) {
        free(manifest->splits[i].shards);
        free(manifest->splits[i].dropped);
    }
    free(manifest->splits);
    free(manifest->classes);
    if (manifest->message)
        vitrail__manifest__free_unpacked(manifest->message, NULL);
    memset(manifest, 0, sizeof *manifest);
}

/* Does any line of the hash file name this hash? While a manifest is being replaced the file holds the old and the new.
 */
static int hash_listed(const char *text, uint64_t hash)
{
    char wanted[HASH_LINE];
    int length = snprintf(wanted, sizeof wanted, "%016llx", (unsigned long long)hash);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, wanted, (size_t)length) == 0)
            return 1;
    return 0;
}

/* The manifest's bytes, checked against the hash file. */
vt_status manifest_load_bytes(const char *dir, char *path, size_t path_bytes, char **bytes, size_t *size)
{
    char hash_path[4096], *hashes = NULL;
    size_t hashes_size;
    VT_TRY(path_join(path, path_bytes, dir, MANIFEST_FILE));
    VT_TRY(path_join(hash_path, sizeof hash_path, dir, MANIFEST_HASH_FILE));
    if (!file_exists(path))
        return VT_FAIL(VT_E_IO, "%s: not found; expected a dataset folder with a manifest (vitrail pack makes one)",
                       path);
    VT_TRY(file_read(path, MANIFEST_MAX_BYTES, bytes, size));
    vt_status status = file_read(hash_path, HASH_FILE_BYTES, &hashes, &hashes_size);
    uint64_t hash = XXH3_64bits(*bytes, *size);
    if (status == VT_OK && !hash_listed(hashes, hash))
        status = VT_FAIL(VT_E_FORMAT, "%s: damaged: its xxh3 is %016llx, expected %.16s (%s)", path,
                         (unsigned long long)hash, hashes, MANIFEST_HASH_FILE);
    free(hashes);
    if (status != VT_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

vt_status manifest_load(const char *dir, struct manifest *manifest)
{
    char path[4096], *bytes;
    size_t size;
    memset(manifest, 0, sizeof *manifest);
    VT_TRY(manifest_load_bytes(dir, path, sizeof path, &bytes, &size));
    vt_status status = manifest_parse((const uint8_t *)bytes, size, path, manifest);
    free(bytes);
    return status;
}
