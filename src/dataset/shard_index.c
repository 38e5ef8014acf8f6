#include "dataset/shard_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "dataset/tar.h"
#include "image/image.h"
#include "shard_index.pb-c.h"

enum { SCHEMA = 1 };

static int grow_column(void *column, size_t item_bytes, size_t capacity)
{
    void **pointer = column, *bigger = realloc(*pointer, item_bytes * capacity);
    if (bigger)
        *pointer = bigger;
    return bigger != NULL;
}

static vt_status grow(struct shard_index *index)
{
    size_t n = index->capacity ? 2 * index->capacity : 1024;
    if (!grow_column(&index->offset, sizeof *index->offset, n) ||
        !grow_column(&index->bytes, sizeof *index->bytes, n) || !grow_column(&index->width, sizeof *index->width, n) ||
        !grow_column(&index->height, sizeof *index->height, n) ||
        !grow_column(&index->codec, sizeof *index->codec, n) || !grow_column(&index->flags, sizeof *index->flags, n) ||
        !grow_column(&index->crc32c, sizeof *index->crc32c, n) ||
        !grow_column(&index->labels, sizeof *index->labels, n) ||
        !grow_column(&index->label_count, sizeof *index->label_count, n) ||
        !grow_column(&index->content, sizeof *index->content, n))
        return VT_FAIL(VT_E_MEMORY, "no memory for an index of %zu samples", n);
    index->capacity = n;
    return VT_OK;
}

vt_status shard_index_append(struct shard_index *index, const struct shard_row *row)
{
    VT_CHECK(index->message == NULL);
    if (index->samples == index->capacity)
        VT_TRY(grow(index));
    size_t i = index->samples, key_bytes = strlen(row->key);
    char *keys = realloc(index->keys, index->keys_bytes + key_bytes + 1);
    if (!keys)
        return VT_FAIL(VT_E_MEMORY, "no memory for an index of %zu samples", i + 1);
    for (size_t c = 0; c < key_bytes; c++)
        keys[index->keys_bytes + c] = row->key[c] == '\n' ? '?' : row->key[c];
    keys[index->keys_bytes + key_bytes] = '\n';
    index->keys = keys;
    index->keys_bytes += key_bytes + 1;
    index->offset[i] = (uint64_t)row->offset;
    index->bytes[i] = row->bytes;
    index->width[i] = row->width;
    index->height[i] = row->height;
    index->codec[i] = row->codec;
    index->flags[i] = row->flags;
    index->crc32c[i] = row->crc32c;
    index->content[i] = row->content;
    index->label_count[i] = row->label >= 0;
    if (row->label >= 0)
        index->labels[index->label_total++] = (uint32_t)row->label;
    index->samples++;
    return VT_OK;
}

vt_status shard_index_pack(const struct shard_index *index, uint8_t **bytes, size_t *size)
{
    Vitrail__ShardIndex message = VITRAIL__SHARD_INDEX__INIT;
    size_t n = index->samples;
    message.schema = SCHEMA;
    message.samples = n;
    message.shard_bytes = (uint64_t)index->shard_bytes;
    message.shard_xxh3 = index->shard_xxh3;
    message.n_offset = message.n_bytes = message.n_width = message.n_height = message.n_codec = message.n_flags = n;
    message.n_crc32c = n;
    message.n_content = index->content ? n : 0;
    message.offset = index->offset;
    message.bytes = index->bytes;
    message.width = index->width;
    message.height = index->height;
    message.codec = index->codec;
    message.flags = index->flags;
    message.crc32c = index->crc32c;
    message.content = index->content;
    message.n_labels = index->label_total;
    message.labels = index->labels;
    message.n_label_count = index->label_total == n ? 0 : n; /* one label each, at most, is how rows are appended */
    message.label_count = index->label_count;
    message.source_keys.data = (uint8_t *)index->keys;
    message.source_keys.len = index->keys_bytes;
    *size = vitrail__shard_index__get_packed_size(&message);
    *bytes = malloc(*size ? *size : 1);
    if (!*bytes)
        return VT_FAIL(VT_E_MEMORY, "no memory for a packed index of %zu bytes", *size);
    vitrail__shard_index__pack(&message, *bytes);
    return VT_OK;
}

static vt_status check_columns(const Vitrail__ShardIndex *m, const char *name)
{
    const struct {
        const char *column;
        size_t count;
    } columns[] = {{"offset", m->n_offset}, {"bytes", m->n_bytes}, {"width", m->n_width},  {"height", m->n_height},
                   {"codec", m->n_codec},   {"flags", m->n_flags}, {"crc32c", m->n_crc32c}};
    if (m->schema != SCHEMA)
        return VT_FAIL(VT_E_FORMAT, "%s: index schema %u, this version reads %d", name, m->schema, SCHEMA);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if (columns[i].count != m->samples)
            return VT_FAIL(VT_E_FORMAT, "%s: column %s has %zu entries, expected %llu", name, columns[i].column,
                           columns[i].count, (unsigned long long)m->samples);
    if ((m->n_content && m->n_content != m->samples) || (m->n_label_count && m->n_label_count != m->samples))
        return VT_FAIL(VT_E_FORMAT, "%s: column content or label_count is not of %llu entries", name,
                       (unsigned long long)m->samples);
    return VT_OK;
}

static vt_status check_labels(const Vitrail__ShardIndex *m, uint32_t num_classes, const char *name)
{
    uint64_t total = m->n_label_count ? 0 : m->samples;
    for (size_t i = 0; i < m->n_label_count; i++)
        total += m->label_count[i];
    if (total != m->n_labels)
        return VT_FAIL(VT_E_FORMAT, "%s: %zu labels, expected %llu", name, m->n_labels, (unsigned long long)total);
    for (size_t i = 0; i < m->n_labels; i++)
        if (m->labels[i] >= num_classes)
            return VT_FAIL(VT_E_FORMAT, "%s: label %u, expected one of %u classes", name, m->labels[i], num_classes);
    return VT_OK;
}

static vt_status check_rows(const Vitrail__ShardIndex *m, const char *name)
{
    for (size_t i = 0; i < m->samples; i++) {
        if (m->offset[i] < TAR_BLOCK || m->bytes[i] == 0 || m->offset[i] > m->shard_bytes ||
            m->bytes[i] > m->shard_bytes - m->offset[i])
            return VT_FAIL(VT_E_FORMAT, "%s: sample %zu: bytes %llu+%u are not inside the shard of %llu", name, i,
                           (unsigned long long)m->offset[i], m->bytes[i], (unsigned long long)m->shard_bytes);
        if (m->width[i] < 1 || m->height[i] < 1 || m->width[i] > IMAGE_MAX_SIDE || m->height[i] > IMAGE_MAX_SIDE)
            return VT_FAIL(VT_E_FORMAT, "%s: sample %zu: %u x %u pixels, expected 1..%d per side", name, i, m->width[i],
                           m->height[i], IMAGE_MAX_SIDE);
        if (m->codec[i] < CODEC_JPEG || m->codec[i] > CODEC_PNM || m->flags[i] > UINT8_MAX)
            return VT_FAIL(VT_E_FORMAT, "%s: sample %zu: codec %u, flags %u: not of this version", name, i, m->codec[i],
                           m->flags[i]);
    }
    return VT_OK;
}

vt_status shard_index_parse(const uint8_t *bytes, size_t size, uint32_t num_classes, const char *name,
                            struct shard_index *index)
{
    memset(index, 0, sizeof *index);
    Vitrail__ShardIndex *m = vitrail__shard_index__unpack(NULL, size, bytes);
    if (!m)
        return VT_FAIL(VT_E_FORMAT, "%s: not a shard index (protobuf does not parse)", name);
    *index = (struct shard_index){.samples = m->samples,
                                  .shard_bytes = (int64_t)m->shard_bytes,
                                  .shard_xxh3 = m->shard_xxh3,
                                  .offset = m->offset,
                                  .bytes = m->bytes,
                                  .width = m->width,
                                  .height = m->height,
                                  .codec = m->codec,
                                  .flags = m->flags,
                                  .crc32c = m->crc32c,
                                  .label_count = m->n_label_count ? m->label_count : NULL,
                                  .labels = m->labels,
                                  .label_total = m->n_labels,
                                  .content = m->n_content ? m->content : NULL,
                                  .keys = (char *)m->source_keys.data,
                                  .keys_bytes = m->source_keys.len,
                                  .message = m};
    vt_status status;
    VT_TRY_OUT(check_columns(m, name));
    if (m->shard_bytes > INT64_MAX)
        status = VT_FAIL(VT_E_FORMAT, "%s: shard of %llu bytes", name, (unsigned long long)m->shard_bytes);
    VT_TRY_OUT(status);
    VT_TRY_OUT(check_rows(m, name));
    VT_TRY_OUT(check_labels(m, num_classes, name));
out:
    if (status != VT_OK)
        shard_index_free(index);
    return status;
}

void shard_index_key(const struct shard_index *index, size_t i, char *text, size_t bytes)
{
    const char *at = index->keys, *end = index->keys ? index->keys + index->keys_bytes : NULL, *newline = NULL;
    for (size_t line = 0; at && at < end; line++, at = newline + 1) {
        newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            break;
        if (line == i) {
            snprintf(text, bytes, "%.*s", (int)(newline - at < 4096 ? newline - at : 4096), at);
            return;
        }
    }
    snprintf(text, bytes, "%s", "");
}

void shard_index_free(struct shard_index *index)
{
    if (index->message) {
        vitrail__shard_index__free_unpacked(index->message, NULL);
    } else {
        free(index->offset);
        free(index->bytes);
        free(index->width);
        free(index->height);
        free(index->codec);
        free(index->flags);
        free(index->crc32c);
        free(index->label_count);
        free(index->labels);
        free(index->content);
        free(index->keys);
    }
    memset(index, 0, sizeof *index);
}
