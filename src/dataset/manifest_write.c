#include "dataset/manifest_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/file.h"
#include "manifest.pb-c.h"

/* Hash file with old and new hash, manifest, hash file with the new hash alone: readable at every moment. */
static vt_status save_bytes(const char *dir, const uint8_t *bytes, size_t size)
{
    char path[4096], hash_path[4096], text[256], *old = NULL;
    size_t old_size;
    VT_TRY(path_join(path, sizeof path, dir, MANIFEST_FILE));
    VT_TRY(path_join(hash_path, sizeof hash_path, dir, MANIFEST_HASH_FILE));
    unsigned long long hash = XXH3_64bits(bytes, size);
    if (file_exists(path)) {
        VT_TRY(file_read(path, MANIFEST_MAX_BYTES, &old, &old_size));
        int n = snprintf(text, sizeof text, "%016llx  " MANIFEST_FILE "\n%016llx  " MANIFEST_FILE "\n", hash,
                         (unsigned long long)XXH3_64bits(old, old_size));
        free(old);
        VT_TRY(file_write_atomic(hash_path, text, (size_t)n));
    }
    VT_TRY(file_write_atomic(path, bytes, size));
    int n = snprintf(text, sizeof text, "%016llx  " MANIFEST_FILE "\n", hash);
    return file_write_atomic(hash_path, text, (size_t)n);
}

static vt_status save_message(const char *dir, const Vitrail__Manifest *m)
{
    size_t size = vitrail__manifest__get_packed_size(m);
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for a manifest of %zu bytes", dir, size);
    vitrail__manifest__pack(m, bytes);
    vt_status status = save_bytes(dir, bytes, size);
    free(bytes);
    return status;
}

static Vitrail__Split *find_split(Vitrail__Manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_splits; i++)
        if (strcmp(m->splits[i]->name, name) == 0)
            return m->splits[i];
    return NULL;
}

vt_status manifest_set_bad(const char *dir, const char *split_name, const struct manifest_dropped *bad, int count)
{
    char path[4096], *bytes;
    size_t size;
    VT_TRY(manifest_load_bytes(dir, path, sizeof path, &bytes, &size));
    Vitrail__Manifest *m = vitrail__manifest__unpack(NULL, size, (const uint8_t *)bytes);
    free(bytes);
    Vitrail__Split *split = m ? find_split(m, split_name) : NULL;
    if (!split) {
        if (m)
            vitrail__manifest__free_unpacked(m, NULL);
        return VT_FAIL(VT_E_FORMAT, "%s: has no split %s", path, split_name);
    }
    /* The list is swapped for one that mixes kept and new entries, and swapped back before the message is freed. */
    Vitrail__Dropped **old = split->dropped, *fresh = calloc((size_t)count + 1, sizeof *fresh);
    Vitrail__Dropped **list = calloc(split->n_dropped + (size_t)count + 1, sizeof *list);
    size_t old_count = split->n_dropped, n = 0;
    vt_status status = VT_OK;
    if (!list || !fresh) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %d bad samples", path, count);
    } else {
        for (size_t i = 0; i < old_count; i++)
            if (old[i]->not_packed)
                list[n++] = old[i];
        for (int i = 0; i < count; i++) {
            vitrail__dropped__init(&fresh[i]);
            fresh[i].source_key = (char *)bad[i].key;
            fresh[i].reason = (char *)bad[i].reason;
            fresh[i].xxh3 = bad[i].xxh3;
            fresh[i].sample = (uint64_t)bad[i].sample;
            list[n++] = &fresh[i];
        }
        split->dropped = list;
        split->n_dropped = n;
        status = save_message(dir, m);
        split->dropped = old;
        split->n_dropped = old_count;
    }
    free(fresh);
    free(list);
    vitrail__manifest__free_unpacked(m, NULL);
    return status;
}

struct split_message {
    Vitrail__Split split;
    Vitrail__ShardTable table;
    Vitrail__Stats stats;
    Vitrail__Dropped *dropped, **dropped_list;
    uint64_t *bytes, *index_bytes, *xxh3, *index_xxh3;
    uint32_t *samples;
};

static void split_message_free(struct split_message *s)
{
    free(s->dropped);
    free(s->dropped_list);
    free(s->bytes);
    free(s->samples);
}

static int split_message_alloc(struct split_message *s, const struct manifest_split *split)
{
    size_t n = (size_t)split->shard_count, d = (size_t)split->dropped_count + 1;
    s->bytes = calloc(4 * n + 1, sizeof *s->bytes);
    s->samples = calloc(n + 1, sizeof *s->samples);
    s->dropped = calloc(d, sizeof *s->dropped);
    s->dropped_list = calloc(d, sizeof *s->dropped_list);
    s->index_bytes = s->bytes + n;
    s->xxh3 = s->bytes + 2 * n;
    s->index_xxh3 = s->bytes + 3 * n;
    return s->bytes && s->samples && s->dropped && s->dropped_list;
}

static void fill_stats(Vitrail__Stats *m, struct manifest_stats *stats)
{
    vitrail__stats__init(m);
    m->n_mean = m->n_std = stats->pixels ? (size_t)stats->channels : 0;
    m->mean = stats->mean;
    m->std = stats->std;
    m->pixels = stats->pixels;
    m->mean_bytes = stats->mean_bytes;
    m->max_bytes = (uint64_t)stats->max_bytes;
    m->max_width = (uint32_t)stats->max_width;
    m->max_height = (uint32_t)stats->max_height;
    m->progressive = (uint64_t)stats->progressive;
    m->grayscale = (uint64_t)stats->grey;
    m->cmyk = (uint64_t)stats->cmyk;
    m->exif_rotated = (uint64_t)stats->exif_rotated;
    m->channels = (uint32_t)stats->channels;
    m->common_width = (uint32_t)stats->common_width;
    m->common_height = (uint32_t)stats->common_height;
}

static void fill_table(struct split_message *s, const struct manifest_split *split)
{
    vitrail__shard_table__init(&s->table);
    size_t n = (size_t)split->shard_count;
    for (size_t i = 0; i < n; i++) {
        s->bytes[i] = (uint64_t)split->shards[i].bytes;
        s->index_bytes[i] = (uint64_t)split->shards[i].index_bytes;
        s->xxh3[i] = split->shards[i].xxh3;
        s->index_xxh3[i] = split->shards[i].index_xxh3;
        s->samples[i] = (uint32_t)split->shards[i].samples;
    }
    s->table.count = s->table.n_bytes = s->table.n_samples = s->table.n_xxh3 = s->table.n_index_bytes =
        s->table.n_index_xxh3 = n;
    s->table.path_template = split->paths ? "" : (char *)split->path_template;
    s->table.paths = split->paths;
    s->table.n_paths = split->paths ? n : 0;
    s->table.index_path_template = (char *)split->index_template;
    s->table.bytes = s->bytes;
    s->table.samples = s->samples;
    s->table.xxh3 = s->xxh3;
    s->table.index_bytes = s->index_bytes;
    s->table.index_xxh3 = s->index_xxh3;
}

static void fill_split(struct split_message *s, struct manifest_split *split)
{
    vitrail__split__init(&s->split);
    fill_table(s, split);
    fill_stats(&s->stats, &split->stats);
    s->split.name = (char *)split->name;
    s->split.samples = (uint64_t)split->samples;
    s->split.bytes = (uint64_t)split->bytes;
    s->split.shards = &s->table;
    s->split.block_samples = split->block_samples;
    s->split.shard_samples = split->shard_samples;
    s->split.stats = split->stats.known ? &s->stats : NULL;
    s->split.preshuffled = split->preshuffled;
    s->split.preshuffle_seed = split->preshuffle_seed;
    s->split.fingerprint = manifest_fingerprint(split->shards, split->shard_count);
    for (int i = 0; i < split->dropped_count; i++) {
        vitrail__dropped__init(&s->dropped[i]);
        s->dropped[i].source_key = (char *)split->dropped[i].key;
        s->dropped[i].reason = (char *)split->dropped[i].reason;
        s->dropped[i].xxh3 = split->dropped[i].xxh3;
        s->dropped[i].not_packed = split->dropped[i].not_packed;
        s->dropped[i].sample = (uint64_t)split->dropped[i].sample;
        s->dropped_list[i] = &s->dropped[i];
    }
    s->split.n_dropped = (size_t)split->dropped_count;
    s->split.dropped = s->dropped_list;
}

static void fill_classes(Vitrail__ClassDef *classes, Vitrail__ClassDef **list, const struct manifest *manifest)
{
    for (int i = 0; i < manifest->class_count; i++) {
        vitrail__class_def__init(&classes[i]);
        classes[i].id = (uint32_t)i;
        classes[i].name = (char *)manifest->classes[i].name;
        classes[i].wnid = (char *)manifest->classes[i].wnid;
        classes[i].train_samples = (uint64_t)manifest->classes[i].train_samples;
        classes[i].val_samples = (uint64_t)manifest->classes[i].val_samples;
        list[i] = &classes[i];
    }
}

vt_status manifest_save(const char *dir, const struct manifest *manifest)
{
    Vitrail__Manifest m = VITRAIL__MANIFEST__INIT;
    Vitrail__Provenance provenance = VITRAIL__PROVENANCE__INIT;
    size_t classes = (size_t)manifest->class_count, splits = (size_t)manifest->split_count;
    Vitrail__ClassDef *class_items = calloc(classes + 1, sizeof *class_items),
                      **class_list = calloc(classes + 1, sizeof *class_list);
    struct split_message *split_items = calloc(splits + 1, sizeof *split_items);
    Vitrail__Split **split_list = calloc(splits + 1, sizeof *split_list);
    char *step = (char *)manifest->provenance.step;
    vt_status status = class_items && class_list && split_items && split_list
                           ? VT_OK
                           : VT_FAIL(VT_E_MEMORY, "%s: no memory for the manifest", dir);
    VT_TRY_OUT(status);
    for (size_t i = 0; i < splits; i++) {
        if (!split_message_alloc(&split_items[i], &manifest->splits[i]))
            status = VT_FAIL(VT_E_MEMORY, "%s: no memory for the manifest", dir);
        VT_TRY_OUT(status);
        fill_split(&split_items[i], &manifest->splits[i]);
        split_list[i] = &split_items[i].split;
    }
    fill_classes(class_items, class_list, manifest);
    provenance.source_uri = (char *)manifest->provenance.source_uri;
    provenance.tool = (char *)manifest->provenance.tool;
    provenance.tool_version = (char *)manifest->provenance.tool_version;
    provenance.command = (char *)manifest->provenance.command;
    provenance.source_xxh3 = manifest->provenance.source_xxh3;
    provenance.steps = &step;
    provenance.n_steps = step && *step ? 1 : 0;
    m.schema = MANIFEST_SCHEMA;
    m.name = (char *)manifest->name;
    m.version = (char *)manifest->version;
    m.num_classes = (uint32_t)classes;
    m.classes = class_list;
    m.n_classes = classes;
    m.splits = split_list;
    m.n_splits = splits;
    m.provenance = &provenance;
    m.hash = VITRAIL__HASH__HASH_XXH3_64;
    VT_TRY_OUT(save_message(dir, &m));
out:
    for (size_t i = 0; split_items && i < splits; i++)
        split_message_free(&split_items[i]);
    free(class_items);
    free(class_list);
    free(split_items);
    free(split_list);
    return status;
}
