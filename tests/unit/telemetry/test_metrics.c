#include "telemetry/metrics.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "test.h"

static char dir[64], jsonl[96];

static void make_dir(void)
{
    strcpy(dir, "/tmp/vt_metrics_XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(jsonl, sizeof jsonl, "%s/metrics.jsonl", dir);
}

/* Removes the folder; returns how many event files were in it. */
static int remove_dir(void)
{
    int events = 0;
    DIR *folder = opendir(dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        events += strncmp(entry->d_name, "events.out.tfevents.", 20) == 0;
        unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
    rmdir(dir);
    return events;
}

static char *read_all(size_t *size)
{
    char *text = NULL;
    ASSERT_OK(file_read(jsonl, 1 << 20, &text, size));
    return text;
}

static void put(const char *text)
{
    FILE *file = fopen(jsonl, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void test_record(void)
{
    make_dir();
    struct metrics *metrics = NULL;
    const struct metric values[] = {{"train/loss", 0.1}, {"optim/lr", 1e-3}, {"optim/grad_norm", NAN}, {"val/top1", 0}};
    ASSERT_OK(metrics_open(dir, 2, 0, &metrics));
    ASSERT_OK(metrics_write(metrics, 7, 7168, 0.5, values, 4));
    ASSERT_OK(metrics_write(metrics, 8, 8192, 0.75, NULL, 0));
    ASSERT_OK(metrics_flush(metrics));
    metrics_close(&metrics);
    size_t size = 0;
    char *text = read_all(&size);
    CU_ASSERT_EQUAL(strncmp(text, "{\"step\":7,\"attempt\":2,\"images_seen\":7168,\"epoch\":0.5,\"wall_time\":1", 65), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, ",\"train/loss\":0.1,\"optim/lr\":0.001,\"optim/grad_norm\":null,\"val/top1\":0.0}\n{"));
    CU_ASSERT_EQUAL(text[size - 1], '\n');

    struct json *record = NULL;
    double value = 0;
    size_t line_size = strcspn(text, "\n");
    ASSERT_OK(json_parse(text, line_size, "line 1", &record));
    ASSERT_OK(json_get_double(record, "line 1", "wall_time", &value));
    CU_ASSERT(value > 1.6e9);
    json_free(&record);
    free(text);
    CU_ASSERT_EQUAL(remove_dir(), 1);
}

static void check_repair(const char *before, const char *kept)
{
    make_dir();
    put(before);
    struct metrics *metrics = NULL;
    ASSERT_OK(metrics_open(dir, 2, 5, &metrics));
    ASSERT_OK(metrics_write(metrics, 6, 0, 0, NULL, 0));
    metrics_close(&metrics);
    size_t size = 0;
    char *text = read_all(&size);
    CU_ASSERT_EQUAL(strncmp(text, kept, strlen(kept)), 0);
    CU_ASSERT_EQUAL(strncmp(text + strlen(kept), "{\"step\":6,\"attempt\":2,", 22), 0);
    free(text);
    remove_dir();
}

static void test_torn_line(void)
{
    check_repair("", "");
    check_repair("{\"step\":1}\n", "{\"step\":1}\n");
    check_repair("{\"step\":1}\n{\"st", "{\"step\":1}\n");
    check_repair("{\"step\":1", "");
    check_repair("\n", "\n");
    /* The newline is further back than one block of the search. */
    char *text = malloc(10002);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, 'x', 10001);
    text[10001] = '\0';
    memcpy(text, "{}\n", 3);
    check_repair(text, "{}\n");
    free(text);
}

static void test_drops_everything(void)
{
    struct metrics *metrics = NULL;
    ASSERT_OK(metrics_open(NULL, 1, 0, &metrics));
    ASSERT_OK(metrics_write(metrics, 1, 1, 1, &(struct metric){"train/loss", 1}, 1));
    ASSERT_OK(metrics_flush(metrics));
    metrics_close(&metrics);
    metrics_close(&metrics);
    metrics_close(NULL);
}

static void test_failures(void)
{
    struct metrics *metrics = NULL;
    ASSERT_FAILS(metrics_open("/nonexistent", 1, 0, &metrics), VT_E_IO, "/nonexistent/metrics.jsonl: cannot open");
    CU_ASSERT_PTR_NULL(metrics);
    make_dir();
    CU_ASSERT_EQUAL(mkdir(jsonl, 0700), 0);
    ASSERT_FAILS(metrics_open(dir, 1, 0, &metrics), VT_E_IO, "metrics.jsonl: cannot open for writing");
    rmdir(jsonl);
    remove_dir();
}

/* A full disk, by a limit on the size of files: the record is not there at all, and the next one is. */
static void test_full_disk(void)
{
    struct metrics *metrics = NULL;
    struct rlimit limit, small;
    size_t size = 0;
    make_dir();
    ASSERT_OK(metrics_open(dir, 1, 0, &metrics));
    ASSERT_OK(metrics_write(metrics, 1, 1, 1, &(struct metric){"train/loss", 1}, 1));
    free(read_all(&size));
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){.rlim_cur = size + 10, .rlim_max = limit.rlim_max};
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
    vt_status status = metrics_write(metrics, 2, 2, 2, &(struct metric){"train/loss", 2}, 1);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ASSERT_FAILS(status, VT_E_IO, "metrics.jsonl: cannot write: File too large");
    ASSERT_OK(metrics_write(metrics, 3, 3, 3, &(struct metric){"train/loss", 3}, 1));
    char *text = read_all(&size);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "}\n{\"step\":3,"));
    CU_ASSERT_PTR_NULL(strstr(text, "\"step\":2"));
    free(text);
    metrics_close(&metrics);
    remove_dir();
}

static const struct test_case cases[] = {
    {"a record's text", test_record},
    {"a torn last line is cut", test_torn_line},
    {"no folder: everything is dropped", test_drops_everything},
    {"failures name the file", test_failures},
    {"a full disk costs whole records", test_full_disk},
};
TEST_MAIN("telemetry/metrics", cases)
