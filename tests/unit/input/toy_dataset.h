/* A small dataset on disk, written with the room dataset's own writers so that bad samples can be planted: split
 * "train", sample i is a SIDE x SIDE grey PNM (so its pixels are i-dependent and exact), label i % 3. */
#ifndef VT_TEST_TOY_DATASET_H
#define VT_TEST_TOY_DATASET_H

#include <xxhash.h>

#include <stdio.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "dataset/dataset.h"
#include "dataset/manifest.h"
#include "dataset/shard_index.h"
#include "dataset/tar.h"

#include "test.h"

enum { TOY_SIDE = 6, TOY_SHARD_SAMPLES = 16, TOY_SHARDS_MOST = 8, TOY_JPEG_WIDTH = 53, TOY_JPEG_HEIGHT = 37 };

enum toy_damage {
    TOY_GOOD,
    TOY_BAD_CRC,    /* bytes differ from the index's crc32c */
    TOY_BAD_IMAGE,  /* crc32c is right, the bytes are no image */
    TOY_BAD_SIZE,   /* the index says another width than the image has */
    TOY_MARKED_BAD, /* flagged in the index */
    TOY_UNLABELLED,
    TOY_JPEG,      /* not damage: a colour JPEG of TOY_JPEG_WIDTH x TOY_JPEG_HEIGHT */
    TOY_TWO_LABELS /* a second one: class 2 */
};

struct toy {
    char dir[64];
    struct dataset *dataset;
    struct dataset_split *split;
};

static inline void toy_pixels(int sample, uint8_t *pixels)
{
    for (int i = 0; i < TOY_SIDE * TOY_SIDE; i++)
        pixels[i] = (uint8_t)(sample * 5 + i * 3 + sample * i);
}

static inline void toy_encode(int sample, bool jpeg, uint8_t **bytes, size_t *size)
{
    uint8_t pixels[TOY_JPEG_WIDTH * TOY_JPEG_HEIGHT * 3];
    struct image image = {.width = TOY_SIDE, .height = TOY_SIDE, .channels = 1, .pixels = pixels};
    if (!jpeg) {
        toy_pixels(sample, pixels);
        ASSERT_OK(image_encode_pnm(&image, bytes, size));
        return;
    }
    image.width = TOY_JPEG_WIDTH;
    image.height = TOY_JPEG_HEIGHT;
    image.channels = 3;
    for (int i = 0; i < TOY_JPEG_WIDTH * TOY_JPEG_HEIGHT * 3; i++)
        pixels[i] = (uint8_t)(i / 3 % TOY_JPEG_WIDTH * (4 + i % 3) + i / (3 * TOY_JPEG_WIDTH) * (sample % 7));
    ASSERT_OK(image_encode_jpeg(&image, 90, bytes, size));
}

static inline void toy_add(int sample, enum toy_damage damage, struct tar_writer *tar, struct shard_index *index)
{
    uint8_t *bytes;
    char name[32];
    size_t size;
    bool jpeg = damage == TOY_JPEG;
    snprintf(name, sizeof name, "%06d.%s", sample, jpeg ? "jpg" : "pgm");
    toy_encode(sample, jpeg, &bytes, &size);
    if (damage == TOY_BAD_IMAGE)
        memset(bytes, 'x', 3);
    struct shard_row row = {.bytes = (uint32_t)size,
                            .width = jpeg                     ? TOY_JPEG_WIDTH
                                     : damage == TOY_BAD_SIZE ? TOY_SIDE + 1
                                                              : TOY_SIDE,
                            .height = jpeg ? TOY_JPEG_HEIGHT : TOY_SIDE,
                            .codec = jpeg ? CODEC_JPEG : CODEC_PNM,
                            .label = damage == TOY_UNLABELLED ? -1 : sample % 3,
                            .key = name,
                            .flags = (jpeg ? 0u : SAMPLE_GREY) | (damage == TOY_MARKED_BAD ? SAMPLE_BAD : 0u),
                            .crc32c = crc32c(0, bytes, size) ^ (damage == TOY_BAD_CRC)};
    ASSERT_OK(tar_write(tar, name, bytes, size, &row.offset));
    ASSERT_OK(shard_index_append(index, &row));
    if (damage == TOY_TWO_LABELS) {
        index->labels[index->label_total++] = 2;
        index->label_count[index->samples - 1] = 2;
    }
    free(bytes);
}

static inline void toy_shard(const struct toy *toy, int shard, int samples, const enum toy_damage *damage,
                             struct manifest_shard *result)
{
    char path[128];
    struct tar_writer *tar;
    struct shard_index index = {0};
    uint8_t *bytes;
    size_t size;
    int first = shard * TOY_SHARD_SAMPLES;
    snprintf(path, sizeof path, "%s/shards/train-%06d.tar", toy->dir, shard);
    ASSERT_OK(tar_writer_open(path, &tar));
    for (int i = first; i < samples && i < first + TOY_SHARD_SAMPLES; i++)
        toy_add(i, damage ? damage[i] : TOY_GOOD, tar, &index);
    ASSERT_OK(tar_writer_finish(&tar, &result->bytes, &result->xxh3));
    index.shard_bytes = result->bytes;
    index.shard_xxh3 = result->xxh3;
    result->samples = (int64_t)index.samples;
    ASSERT_OK(shard_index_pack(&index, &bytes, &size));
    result->index_bytes = (int64_t)size;
    result->index_xxh3 = XXH3_64bits(bytes, size);
    snprintf(path, sizeof path, "%s/shards/train-%06d.idx", toy->dir, shard);
    ASSERT_OK(file_write_atomic(path, bytes, size));
    free(bytes);
    shard_index_free(&index);
}

/* damage[samples], or NULL: all good. */
static inline struct toy toy_new(int samples, const enum toy_damage *damage)
{
    struct toy toy = {.dir = "/tmp/vitrail-toy-XXXXXX"};
    struct manifest_shard shards[TOY_SHARDS_MOST] = {{0}};
    struct manifest_class classes[3] = {
        {.name = "zero", .wnid = ""}, {.name = "one", .wnid = ""}, {.name = "two", .wnid = ""}};
    struct manifest_split split = {.name = "train",
                                   .samples = samples,
                                   .shards = shards,
                                   .path_template = "shards/train-%06d.tar",
                                   .index_template = "shards/train-%06d.idx",
                                   .shard_samples = TOY_SHARD_SAMPLES};
    struct manifest manifest = {
        .name = "toy", .version = "1", .class_count = 3, .classes = classes, .split_count = 1, .splits = &split};
    char path[80];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(toy.dir));
    snprintf(path, sizeof path, "%s/shards", toy.dir);
    ASSERT_OK(file_make_dirs(path));
    split.shard_count = (samples + TOY_SHARD_SAMPLES - 1) / TOY_SHARD_SAMPLES;
    for (int shard = 0; shard < split.shard_count; shard++) {
        toy_shard(&toy, shard, samples, damage, &shards[shard]);
        split.bytes += shards[shard].bytes;
    }
    split.fingerprint = manifest_fingerprint(shards, split.shard_count);
    ASSERT_OK(manifest_save(toy.dir, &manifest));
    ASSERT_OK(dataset_open(toy.dir, &toy.dataset));
    ASSERT_OK(dataset_split_open(toy.dataset, "train", &toy.split));
    return toy;
}

static inline void toy_free(struct toy *toy)
{
    char path[128];
    dataset_close(&toy->dataset);
    for (int shard = 0; shard < TOY_SHARDS_MOST; shard++)
        for (int index = 0; index < 2; index++) {
            snprintf(path, sizeof path, "%s/shards/train-%06d.%s", toy->dir, shard, index ? "idx" : "tar");
            unlink(path);
        }
    snprintf(path, sizeof path, "%s/%s", toy->dir, MANIFEST_FILE);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s", toy->dir, MANIFEST_HASH_FILE);
    unlink(path);
    snprintf(path, sizeof path, "%s/shards", toy->dir);
    rmdir(path);
    rmdir(toy->dir);
}

#endif
