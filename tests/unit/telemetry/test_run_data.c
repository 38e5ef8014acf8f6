#include "telemetry/run_data.h"

#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static struct run_data *parse(const char *text, size_t size)
{
    struct run_data *run = calloc(1, sizeof *run);
    CU_ASSERT_PTR_NOT_NULL_FATAL(run);
    ASSERT_OK(run_data_parse_metrics(run, text, size));
    return run;
}

static struct run_data *parse_text(const char *text) { return parse(text, strlen(text)); }

static void test_merge(void)
{
    struct run_data *run = parse_text(
        "{\"step\":10,\"attempt\":1,\"images_seen\":80,\"epoch\":0.5,\"train/loss\":2.5,\"optim/grad_norm\":7}\n"
        "{\"step\":10,\"attempt\":1,\"images_seen\":80,\"epoch\":0.5,\"val/top1\":0.25,\"optim/grad_norm\":null}\n"
        "{\"step\":20,\"attempt\":1,\"train/loss\":2,\"note\":\"text\",\"list\":[1]}\n"
        "{\"step\":5,\"attempt\":1,\"train/loss\":3}\n"
        "{\"step\":20,\"attempt\":1,\"train/loss\":1.5}\n");
    CU_ASSERT_EQUAL_FATAL(run->row_count, 3);
    CU_ASSERT(run->rows[0].step == 5 && run->rows[1].step == 10 && run->rows[2].step == 20);
    CU_ASSERT_EQUAL_FATAL(run->column_count, 3);
    const double *loss = run_data_column(run, "train/loss"), *top1 = run_data_column(run, "val/top1");
    const double *norm = run_data_column(run, "optim/grad_norm");
    CU_ASSERT_FATAL(loss && top1 && norm);
    CU_ASSERT(loss[0] == 3 && loss[1] == 2.5 && loss[2] == 1.5); /* the last line of a step wins */
    CU_ASSERT(isnan(top1[0]) && top1[1] == 0.25 && isnan(top1[2]));
    CU_ASSERT(norm[1] == 7 && run->rows[1].images == 80 && isnan(run->rows[2].images));
    CU_ASSERT(run->lines == 5 && run->skipped_lines == 0 && run->superseded_rows == 0);
    CU_ASSERT_PTR_NULL(run_data_column(run, "val/top5"));
    run_data_free(&run);
    CU_ASSERT_PTR_NULL(run);
}

static void add_attempt(FILE *out, int attempt, int from, int to)
{
    for (int step = from; step <= to; step += 10)
        fprintf(out, "{\"step\":%d,\"attempt\":%d,\"images_seen\":%d,\"wall_time\":%d,\"perf/images_per_s\":10,\"v\":%d}\n", step,
                attempt, 8 * step, 100000 * attempt + 36 * step, attempt);
}

/* 1: steps 10..100, resumed after 50, cut off at 80, resumed after 60. */
static void test_resume(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    add_attempt(out, 1, 10, 100);
    add_attempt(out, 2, 60, 80);
    add_attempt(out, 3, 70, 90);
    fclose(out);
    struct run_data *run = parse(text, size);
    const double *attempt = run_data_column(run, "v");
    CU_ASSERT_EQUAL_FATAL(run->row_count, 9); /* 100 of the first attempt was lost, and nobody has redone it yet */
    CU_ASSERT_PTR_NOT_NULL_FATAL(attempt);
    for (int r = 0; r < 9; r++) {
        int expected = r < 5 ? 1 : r < 6 ? 2 : 3;
        CU_ASSERT(run->rows[r].step == 10 * (r + 1) && run->rows[r].attempt == expected && attempt[r] == expected);
    }
    CU_ASSERT_EQUAL(run->superseded_rows, 5 + 2);
    /* 360 s between lines by the clock; 8 s for 80 images at 10/s where there is no clock to compare with. */
    CU_ASSERT_DOUBLE_EQUAL(run->rows[0].hours * 3600, 8, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(run->rows[4].hours * 3600, 8 + 4 * 360, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(run->rows[8].hours * 3600, 8 + 4 * 360 + 8 + 8 + 2 * 360, 1e-6);
    run_data_free(&run);
    free(text);
}

static void test_hostile_lines(void)
{
    static const char *const bad[] = {
        "", "garbage", "{", "[]", "3", "null", "{}", "\"step\"", "{\"step\":-1}", "{\"step\":\"7\"}", "{\"step\":1.5}",
        "{\"step\":1,\"step\":2}", "{\"step\":99999999999999999999}", "{\"step\":1} {\"step\":2}", "{\"step\":1,\"a\":1e999}",
        "{\"step\":1,\"a\":NaN}", "{\"step\":1,\"\xff\":1}", "{\"step\":1,\"a\\u0000b\":1}",
    };
    enum { BAD = sizeof bad / sizeof *bad };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < BAD; i++)
        fprintf(out, "%s\n", bad[i]);
    for (int i = 0; i < 100000; i++)
        putc('[', out); /* deep */
    fwrite("\n\0\0\0\n", 1, 5, out);
    fputs("{\"step\":9223372036854775807,\"attempt\":\"x\",\"images_seen\":\"y\",\"train/loss\":1e300}\n{\"step\":5,\"tr", out);
    fclose(out);
    struct run_data *run = parse(text, size);
    CU_ASSERT_EQUAL(run->lines, BAD + 4);
    CU_ASSERT_EQUAL(run->skipped_lines, BAD + 2); /* the unfinished last line is not damage */
    CU_ASSERT_EQUAL_FATAL(run->row_count, 1);
    CU_ASSERT_EQUAL(run->rows[0].step, INT64_MAX);
    run_data_free(&run);
    free(text);
    run = parse("", 0);
    CU_ASSERT(run->row_count == 0 && run->lines == 0);
    run_data_free(&run);
}

static void test_many_columns(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int line = 0; line < 400; line++) {
        fprintf(out, "{\"step\":%d", line);
        for (int c = 0; c < 3; c++)
            fprintf(out, ",\"m%d\":%d", line + c, line);
        fputs("}\n", out);
    }
    fclose(out);
    struct run_data *run = parse(text, size);
    CU_ASSERT_EQUAL(run->row_count, 400);
    CU_ASSERT_EQUAL(run->column_count, RUN_COLUMNS_MAX);
    const double *last = run_data_column(run, "m255");
    CU_ASSERT_PTR_NOT_NULL_FATAL(last);
    CU_ASSERT(isnan(last[252]) && last[253] == 253 && last[255] == 255 && isnan(last[256]) && isnan(last[399]));
    CU_ASSERT_PTR_NULL(run_data_column(run, "m256"));
    run_data_free(&run);
    free(text);
}

static char dir[64];
static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}
static void make_dir(void)
{
    strcpy(dir, "/tmp/vt_run_XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}
static void remove_dir(void)
{
    static const char *const names[] = {"metrics.jsonl", "config.yaml", "env.json", "eval.json"};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void check_setting(const struct run_data *run, const char *key, const char *value)
{
    const char *found = run_data_setting(run, key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    CU_ASSERT_STRING_EQUAL(found, value);
}

static void test_extras(void)
{
    make_dir();
    put("metrics.jsonl", "{\"step\":1}\n");
    put("config.yaml", "# head\nmodel:\n  name: vit_s16    # from the file\n  head: 'a # b'\n\noptim:\n  betas: [0.9, 0.999]\n"
                       "  decay_rules:\n    - \"*.bias\": 0\n    - \"x\": 1\nalone: 3\n  empty: \"\"\n");
    put("env.json", "{\"attempt\":2,\"ranks\":4,\"device\":\"H100\",\"train_flops_per_image\":2.5e10,\"hosts\":[\"a\",\"a\",\"b\",3]}");
    put("eval.json", "{\"top1\":0.75,\"classes\":[{\"name\":\"cat\",\"count\":4,\"correct\":3},{\"name\":\"dog\",\"count\":0,\"correct\":0}]}");
    struct run_data *run = NULL;
    ASSERT_OK(run_data_load(dir, &run));
    CU_ASSERT_STRING_EQUAL(run->label, dir + strlen("/tmp/"));
    CU_ASSERT_EQUAL(run->setting_count, 6);
    check_setting(run, "model.name", "vit_s16");
    check_setting(run, "model.head", "'a # b'");
    check_setting(run, "optim.betas", "[0.9, 0.999]");
    check_setting(run, "optim.decay_rules", "- \"*.bias\": 0 - \"x\": 1");
    check_setting(run, "alone", "3");
    CU_ASSERT_PTR_NULL(run_data_setting(run, "model.lr"));
    CU_ASSERT_STRING_EQUAL(run->environment, "device H100 · ranks 4 · hosts a, b");
    CU_ASSERT_EQUAL(run->flops_per_image, 2.5e10);
    CU_ASSERT_EQUAL_FATAL(run->class_count, 2);
    CU_ASSERT_STRING_EQUAL(run->classes[0].name, "cat");
    CU_ASSERT(run->classes[0].correct == 3 && run->eval_top1 == 0.75);
    run_data_free(&run);
    remove_dir();
}

/* Damaged side files leave the metrics standing. */
static void test_damaged_extras(void)
{
    static const char *const evals[] = {"{", "[]", "{\"classes\":3}", "{\"classes\":[3],\"top1\":1}",
                                        "{\"classes\":[{\"name\":\"x\",\"count\":1,\"correct\":2}],\"top1\":1}",
                                        "{\"classes\":[{\"name\":\"x\",\"count\":-1,\"correct\":-2}],\"top1\":1}"};
    static const char *const envs[] = {"nonsense", "[]", "[3]", "{\"attempts\":[]}", "{\"hosts\":{}}", "3"};
    for (int i = 0; i < 6; i++) {
        struct run_data *run = NULL;
        make_dir();
        put("metrics.jsonl", "{\"step\":1}\n");
        put("config.yaml", "\n - x\n: \n:::\n   \n'\n\"#\n-\n");
        put("env.json", envs[i]);
        put("eval.json", evals[i]);
        ASSERT_OK(run_data_load(dir, &run));
        CU_ASSERT_EQUAL(run->row_count, 1);
        CU_ASSERT_EQUAL(run->class_count, 0);
        CU_ASSERT(isnan(run->flops_per_image));
        run_data_free(&run);
        remove_dir();
    }
}

static void test_missing(void)
{
    struct run_data *run = NULL;
    ASSERT_FAILS(run_data_load("/nonexistent/run", &run), VT_E_IO, "/nonexistent/run/metrics.jsonl");
    CU_ASSERT_PTR_NULL(run);
    run_data_free(&run);
    run_data_free(NULL);
}

static const struct test_case cases[] = {
    {"records of a step are merged", test_merge},
    {"a resume supersedes lost steps", test_resume},
    {"hostile lines are skipped and counted", test_hostile_lines},
    {"columns have a limit", test_many_columns},
    {"config, environment, evaluation", test_extras},
    {"damaged side files", test_damaged_extras},
    {"a folder that is not there", test_missing},
};
TEST_MAIN("telemetry/run_data", cases)
