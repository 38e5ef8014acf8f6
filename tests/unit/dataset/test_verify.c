/* verify finds what is bad, records it, and dataset_open sees it; inspect shows all three kinds of file. */
#include "dataset_maker.h"

#include "base/json.h"
#include "dataset/inspect.h"
#include "dataset/verify.h"

static void clean_dataset(void)
{
    make_root("verify");
    make_class(below("src"), "a", 0, 40);
    make_class(below("src"), "b", 1, 30);
    ASSERT_OK(pack_run(
        &(struct pack_desc){.source = below("src"), .dir = below("ds"), .shard_samples = 16, .val = "10"}, NULL));
    struct verify_report report;
    char *before, *after;
    size_t before_size, after_size;
    ASSERT_OK(file_read(below("ds/manifest.pb"), 1 << 20, &before, &before_size));
    for (int threads = 1; threads <= 5; threads += 2) {
        ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("ds"), .threads = threads, .strict = true}, &report));
        CU_ASSERT(report.samples == 70 && report.bad == 0 && report.shards == 5 && report.bad_shards == 0);
    }
    ASSERT_OK(file_read(below("ds/manifest.pb"), 1 << 20, &after, &after_size));
    CU_ASSERT(before_size == after_size && memcmp(before, after, after_size) == 0);
    free(before);
    free(after);
}

static void bad_samples_are_recorded(void)
{
    struct dataset *dataset;
    struct dataset_split *split;
    struct sample_record record;
    struct verify_report report;
    const char *shard = below("ds/shards/train-000002.tar");
    ASSERT_OK(dataset_open(below("ds"), &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    dataset_record(split, 35, &record);
    dataset_close(&dataset);
    flip_bit(shard, (long)record.offset + 9, 2);
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("ds"), .threads = 2}, &report));
    CU_ASSERT(report.samples == 70 && report.bad == 1 && report.bad_shards == 1);
    ASSERT_OK(dataset_open(below("ds"), &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    for (int id = 0; id < 60; id++) {
        dataset_record(split, id, &record);
        CU_ASSERT_EQUAL((record.flags & SAMPLE_BAD) != 0, id == 35);
    }
    dataset_close(&dataset);
    flip_bit(shard, (long)0, 0); /* a header byte: only the hash of the shard sees it */
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("ds"), .dont_record = true}, &report));
    CU_ASSERT(report.bad == 1 && report.bad_shards == 1);
    flip_bit(shard, (long)0, 0);
}

static void repair_clears_the_list(void)
{
    struct dataset *dataset;
    struct dataset_split *split;
    struct sample_record record;
    struct verify_report report;
    ASSERT_OK(dataset_open(below("ds"), &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    dataset_record(split, 35, &record);
    dataset_close(&dataset);
    flip_bit(below("ds/shards/train-000002.tar"), (long)record.offset + 9, 2);
    ASSERT_OK(verify_run(&(struct verify_desc){.dir = below("ds")}, &report));
    CU_ASSERT(report.bad == 0 && report.bad_shards == 0);
    ASSERT_OK(dataset_open(below("ds"), &dataset));
    ASSERT_OK(dataset_split_open(dataset, "train", &split));
    dataset_record(split, 35, &record);
    CU_ASSERT_EQUAL(record.flags & SAMPLE_BAD, 0);
    dataset_close(&dataset);
}

static char *inspect(const char *path, bool json)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    ASSERT_OK(inspect_dataset(&(struct inspect_desc){.path = path, .json = json}, out));
    fclose(out);
    return text;
}

static void inspect_shows_everything(void)
{
    static const struct {
        const char *path, *text, *json;
    } files[] = {{"ds", "dataset ds: 2 classes, 2 splits", "\"kind\": \"dataset\""},
                 {"ds/manifest.pb", "split train: 60 samples, 4 shards", "\"fingerprint\""},
                 {"ds/shards/train-000000.idx", "index of 16 samples", "\"crc32c\""},
                 {"ds/shards/train-000000.tar", "00000000.cls", "\"00000000.cls\""}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CU_ASSERT(inspect_is_dataset(below(files[i].path)));
        char *text = inspect(below(files[i].path), false);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, files[i].text));
        free(text);
        text = inspect(below(files[i].path), true);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, files[i].json));
        struct json *json;
        ASSERT_OK(json_parse(text, strlen(text), "inspect", &json));
        json_free(&json);
        free(text);
    }
    CU_ASSERT(!inspect_is_dataset(below("src")));
}

static void inspect_is_tolerant(void)
{
    unlink(below("ds/shards/train-000001.tar")); /* shards may be elsewhere */
    flip_bit(below("ds/manifest.pb.xxh3"), 3, 0);
    char *text = inspect(below("ds"), false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "DAMAGED: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "dataset ds: 2 classes"));
    free(text);
    write_file(below("junk.idx"), "\x0a\xff", 2);
    FILE *null = fopen("/dev/null", "w");
    ASSERT_FAILS(inspect_dataset(&(struct inspect_desc){.path = below("junk.idx")}, null), VT_E_FORMAT,
                 "junk.idx: not a shard index");
    ASSERT_FAILS(inspect_dataset(&(struct inspect_desc){.path = below("gone")}, null), VT_E_IO, "gone/manifest.pb");
    fclose(null);
    remove_root();
}

static const struct test_case cases[] = {
    {"a clean dataset", clean_dataset},
    {"bad samples are recorded", bad_samples_are_recorded},
    {"a repair clears the list", repair_clears_the_list},
    {"inspect shows everything", inspect_shows_everything},
    {"inspect is tolerant", inspect_is_tolerant},
};
TEST_MAIN("verify", cases)
