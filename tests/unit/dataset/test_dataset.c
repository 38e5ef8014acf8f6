/* Opening and reading: split parts, records, and every kind of damage with its message. */
#include "dataset_maker.h"

#include <pthread.h>
#include <sys/resource.h>

#include "base/philox.h"
#include "dataset/split_spec.h"

static void start(void)
{
    make_root("dataset");
    make_idx(below("idx"), "train", 250);
    make_idx(below("idx"), "t10k", 20);
    ASSERT_OK(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("ds"), .shard_samples = 100}, NULL));
}

static void parts_of_splits(void)
{
    static const struct {
        const char *spec;
        int64_t first, count;
    } good[] = {{"train", 0, 250},          {"train[:10%]", 0, 25}, {"train[200:]", 200, 50},
                {"train[10%:20%]", 25, 25}, {"val", 0, 20},         {"train[:1]", 0, 1},
                {"train[99.6%:]", 249, 1},  {"train[:]", 0, 250},   {"train[5:100%]", 5, 245}};
    static const struct {
        const char *spec, *message;
    } bad[] = {{"tain", "has no split \"tain\"; it has: train, val"},
               {"train[", "expected NAME"},
               {"train[5]", "expected NAME"},
               {"train[:10%", "expected NAME"},
               {"train[:10%]x", "expected NAME"},
               {"", "expected NAME"},
               {"[:5]", "expected NAME"},
               {"train[-5:]", "expected NAME"},
               {"train[:101%]", "expected NAME"},
               {"train[:251]", "empty or outside"},
               {"train[5:5]", "empty or outside"},
               {"train[300:]", "empty or outside"},
               {"train[:0.1%]", "empty or outside"}};
    struct dataset *dataset;
    struct dataset_split *split, *whole;
    struct dataset_split_info info, whole_info;
    ASSERT_OK(dataset_open(below("ds"), &dataset));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct sample_record part, all;
        ASSERT_OK(dataset_split_open(dataset, good[i].spec, &split));
        dataset_split_describe(split, &info);
        ASSERT_OK(dataset_split_open(dataset, info.name, &whole));
        dataset_split_describe(whole, &whole_info);
        CU_ASSERT_EQUAL(info.samples, good[i].count);
        CU_ASSERT((info.fingerprint == whole_info.fingerprint) == (info.samples == whole_info.samples));
        dataset_record(split, info.samples - 1, &part);
        dataset_record(whole, good[i].first + info.samples - 1, &all);
        CU_ASSERT(part.offset == all.offset && part.shard == all.shard && part.crc32c == all.crc32c);
        CU_ASSERT_EQUAL(part.id, info.samples - 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ASSERT_FAILS(dataset_split_open(dataset, bad[i].spec, &split), VT_E_USAGE, bad[i].message);
        CU_ASSERT_PTR_NULL(split);
    }
    dataset_close(&dataset);
}

static void uris(void)
{
    char dir[64], spec[64];
    ASSERT_OK(dataset_parse_uri("a/b#train[:10%]", "x", dir, spec, 64));
    CU_ASSERT(strcmp(dir, "a/b") == 0 && strcmp(spec, "train[:10%]") == 0);
    ASSERT_OK(dataset_parse_uri("a/b", "val", dir, spec, 64));
    CU_ASSERT(strcmp(dir, "a/b") == 0 && strcmp(spec, "val") == 0);
    ASSERT_FAILS(dataset_parse_uri("#train", "val", dir, spec, 64), VT_E_USAGE, "expected DIR");
    ASSERT_FAILS(dataset_parse_uri("a#", "val", dir, spec, 64), VT_E_USAGE, "expected DIR");
    ASSERT_FAILS(dataset_parse_uri("a#t[", "val", dir, spec, 64), VT_E_USAGE, "expected NAME");
    ASSERT_FAILS(dataset_parse_uri("0123456789", "val", dir, spec, 8), VT_E_LIMIT, "longer than 8");
    /* A folder with '#' in its name is itself; its splits go by the last '#'. */
    char wide[1024], part[1024], uri[1100];
    const char *odd = below("odd#1");
    write_file(below("odd#1/manifest.pb"), "x", 1);
    ASSERT_OK(dataset_parse_uri(odd, "val", wide, part, sizeof wide));
    CU_ASSERT(strcmp(wide, odd) == 0 && strcmp(part, "val") == 0);
    ASSERT_OK(dataset_parse_uri(below("odd#1/manifest.pb"), "val", wide, part, sizeof wide));
    CU_ASSERT(strcmp(wide, below("odd#1/manifest.pb")) == 0 && strcmp(part, "val") == 0);
    snprintf(uri, sizeof uri, "%s#train[:10%%]", odd);
    ASSERT_OK(dataset_parse_uri(uri, "val", wide, part, sizeof wide));
    CU_ASSERT(strcmp(wide, odd) == 0 && strcmp(part, "train[:10%]") == 0);
}

/* A fresh copy of the dataset, to be damaged. */
static const char *copy(void)
{
    static char dir[512];
    char command[1200];
    snprintf(dir, sizeof dir, "%s/d", test_root);
    snprintf(command, sizeof command, "rm -rf %s/d && cp -r %s/ds %s/d", test_root, test_root, test_root);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    return dir;
}

static void refuse(const char *dir, vt_status code, const char *file, const char *message)
{
    struct dataset *dataset = (void *)1;
    ASSERT_FAILS(dataset_open(dir, &dataset), code, file);
    ASSERT_FAILS(dataset_open(dir, &dataset), code, message);
    CU_ASSERT_PTR_NULL(dataset);
    CU_ASSERT_PTR_NULL(strchr(status_message(), '\n'));
}

static void missing_and_truncated_files(void)
{
    refuse(below("no"), VT_E_IO, "no", "no such dataset folder");
    refuse(below("idx"), VT_E_IO, "idx/manifest.pb", "not found; expected a dataset folder");
    const char *dir = copy();
    unlink(below("d/shards/train-000001.tar"));
    refuse(dir, VT_E_IO, "train-000001.tar", "No such file");
    dir = copy();
    CU_ASSERT_EQUAL(truncate(below("d/shards/train-000001.tar"), 5000), 0);
    refuse(dir, VT_E_FORMAT, "train-000001.tar", "has 5000 bytes, expected");
    dir = copy();
    unlink(below("d/shards/val-000000.idx"));
    refuse(dir, VT_E_IO, "val-000000.idx", "No such file");
    dir = copy();
    CU_ASSERT_EQUAL(truncate(below("d/shards/val-000000.idx"), 100), 0);
    refuse(dir, VT_E_FORMAT, "val-000000.idx", "damaged index: 100 bytes");
    dir = copy();
    CU_ASSERT_EQUAL(truncate(below("d/manifest.pb"), 100), 0);
    refuse(dir, VT_E_FORMAT, "manifest.pb", "damaged: its xxh3 is");
    dir = copy();
    unlink(below("d/manifest.pb.xxh3"));
    refuse(dir, VT_E_IO, "manifest.pb.xxh3", "No such file");
}

static void swapped_files(void)
{
    const char *dir = copy();
    CU_ASSERT_EQUAL(rename(below("d/shards/train-000000.idx"), below("d/tmp")), 0);
    CU_ASSERT_EQUAL(rename(below("d/shards/train-000001.idx"), below("d/shards/train-000000.idx")), 0);
    CU_ASSERT_EQUAL(rename(below("d/tmp"), below("d/shards/train-000001.idx")), 0);
    refuse(dir, VT_E_FORMAT, "train-000000.idx", "damaged index");
    dir = copy();
    CU_ASSERT_EQUAL(rename(below("d/shards/val-000000.tar"), below("d/shards/train-000002.tar")), 0);
    refuse(dir, VT_E_FORMAT, "train-000002.tar", "bytes, expected");
    /* Another dataset's manifest over these shards. */
    make_idx(below("idx2"), "train", 250);
    ASSERT_OK(pack_run(
        &(struct pack_desc){.source = below("idx2"), .dir = below("ds2"), .shard_samples = 100, .seed = 9}, NULL));
    dir = copy();
    CU_ASSERT_EQUAL(rename(below("ds2/manifest.pb"), below("d/manifest.pb")), 0);
    CU_ASSERT_EQUAL(rename(below("ds2/manifest.pb.xxh3"), below("d/manifest.pb.xxh3")), 0);
    refuse(dir, VT_E_FORMAT, "train-000000.idx", "damaged index");
}

static void every_flipped_bit_is_found(void)
{
    static const char *const files[] = {"d/manifest.pb", "d/shards/train-000001.idx", "d/manifest.pb.xxh3"};
    const char *dir = copy();
    int missed = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        const char *path = below(files[seed % 10 == 9 ? 2 : seed % 2]);
        struct dataset *dataset;
        int64_t size;
        ASSERT_OK(file_size(path, &size));
        int64_t used = seed % 10 == 9 ? 16 : size; /* the hash file: its digits */
        long at = (long)draw_below(seed, 1, 0, 0, (uint64_t)used);
        int bit = (int)draw_below(seed, 1, 0, 1, 8);
        flip_bit(path, at, bit);
        missed += dataset_open(dir, &dataset) == VT_OK;
        dataset_close(&dataset);
        flip_bit(path, at, bit);
    }
    CU_ASSERT_EQUAL(missed, 0);
    struct dataset *dataset;
    ASSERT_OK(dataset_open(dir, &dataset)); /* all flips taken back */
    dataset_close(&dataset);
}

static void damaged_payload(void)
{
    const char *dir = copy();
    struct dataset *dataset;
    struct dataset_split *split;
    struct sample_record record;
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    ASSERT_OK(dataset_open(dir, &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train[100:]", &split));
    int missed = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        dataset_record(split, (int64_t)draw_below(seed, 2, 0, 0, 100), &record);
        long at = (long)(record.offset + (int64_t)draw_below(seed, 2, 0, 1, (uint64_t)record.bytes));
        flip_bit(below("d/shards/train-000001.tar"), at, (int)(seed % 8));
        missed += dataset_read(split, &record, &buffer, &capacity) != VT_E_FORMAT;
        flip_bit(below("d/shards/train-000001.tar"), at, (int)(seed % 8));
    }
    CU_ASSERT_EQUAL(missed, 0);
    dataset_record(split, 17, &record);
    flip_bit(below("d/shards/train-000001.tar"), (long)record.offset + 20, 3);
    ASSERT_FAILS(dataset_read(split, &record, &buffer, &capacity), VT_E_FORMAT,
                 "train-000001.tar, sample 17 (key 00000117), offset ");
    ASSERT_FAILS(dataset_read(split, &record, &buffer, &capacity), VT_E_FORMAT, "damaged: crc32c is ");
    char key[64];
    dataset_key(split, &record, key, sizeof key);
    CU_ASSERT_STRING_EQUAL(key, "00000117");
    dataset_record(split, 18, &record);
    ASSERT_OK(dataset_read(split, &record, &buffer, &capacity));
    /* The shard shrinks behind our back. */
    dataset_record(split, 140, &record);
    CU_ASSERT_EQUAL(truncate(below("d/shards/train-000002.tar"), 3000), 0);
    ASSERT_FAILS(dataset_read(split, &record, &buffer, &capacity), VT_E_IO, "train-000002.tar: read of ");
    free(buffer);
    dataset_close(&dataset);
    remove_root();
}

struct reads {
    const struct dataset_split *split;
    uint64_t seed;
    int failed;
};

static void *read_many(void *context)
{
    struct reads *reads = context;
    uint8_t *buffer = NULL;
    size_t capacity = 0;
    struct sample_record record;
    for (uint64_t i = 0; i < 2000; i++) {
        dataset_record(reads->split, (int64_t)draw_below(reads->seed, 3, i, 0, 250), &record);
        reads->failed += dataset_read(reads->split, &record, &buffer, &capacity) != VT_OK;
    }
    free(buffer);
    return NULL;
}

static int open_files(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/* 50 shards, 12 file descriptors for them (a quarter of the limit), 4 threads. */
static void many_shards_few_files(void)
{
    enum { THREADS = 4, LIMIT = 48 };
    struct dataset *dataset;
    struct dataset_split *split;
    struct rlimit old, low;
    pthread_t threads[THREADS];
    struct reads reads[THREADS];
    ASSERT_OK(pack_run(&(struct pack_desc){.source = below("idx"), .dir = below("many"), .shard_samples = 5}, NULL));
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = (struct rlimit){LIMIT, old.rlim_max};
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &low), 0);
    int before = open_files();
    ASSERT_OK(dataset_open(below("many"), &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    for (int t = 0; t < THREADS; t++) {
        reads[t] = (struct reads){split, (uint64_t)t, 0};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[t], NULL, read_many, &reads[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        CU_ASSERT_EQUAL(reads[t].failed, 0);
    }
    int now = open_files();
    CU_ASSERT(now > before && now <= before + LIMIT / 4);
    dataset_close(&dataset);
    CU_ASSERT_EQUAL(open_files(), before);
    setrlimit(RLIMIT_NOFILE, &old);
}

static const struct test_case cases[] = {
    {"a dataset", start},
    {"many shards, few open files, four threads", many_shards_few_files},
    {"parts of splits", parts_of_splits},
    {"URIs", uris},
    {"missing and truncated files", missing_and_truncated_files},
    {"swapped files", swapped_files},
    {"1000 flipped bits in manifest and index", every_flipped_bit_is_found},
    {"damaged payload", damaged_payload},
};
TEST_MAIN("dataset", cases)
