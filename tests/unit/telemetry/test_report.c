/* The page as a whole: well-formed, self-contained, everything escaped, each part there when its data are. */
#include "telemetry/report.h"

#include <ctype.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "telemetry/svg.h"
#include "test.h"

static char root[64], page_path[96];

static void put(const char *run, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, run);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", root, run, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void put_metrics(const char *run, int steps, double scale)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int step = 1; step <= steps; step++)
        fprintf(out, "{\"step\":%d,\"attempt\":%d,\"images_seen\":%d,\"epoch\":%g,\"wall_time\":%d,\"train/loss\":%.9g,"
                "\"optim/lr\":0.001,\"val/<b>\":%d,\"time/step_ms\":10,\"time/forward_ms\":4,\"time/backward_ms\":5}\n",
                step, 1 + step / 150, step * 8, step / 100.0, 1700000000 + step, scale / step, step);
    fclose(out);
    put(run, "metrics.jsonl", text);
    free(text);
}

static void make_root(void)
{
    strcpy(root, "/tmp/vt_report_XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    snprintf(page_path, sizeof page_path, "%s/page", root);
}

static void remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char below[512];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(below) != 0)
            remove_tree(below);
    }
    if (folder)
        closedir(folder);
    rmdir(path);
}

static bool is_void(const char *name)
{
    return strcmp(name, "meta") == 0 || strcmp(name, "input") == 0 || name[0] == '!';
}

/* Tags nest, attributes are quoted, '&' begins an entity. */
static void check_well_formed(const char *text)
{
    char stack[64][16];
    int depth = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '&')
            CU_ASSERT_FATAL(strcspn(at, ";") <= 6);
        if (*at != '<')
            continue;
        char name[16] = "";
        bool closing = at[1] == '/', quoted = false;
        const char *start = at + 1 + closing;
        size_t size = strcspn(start, " \t\n/>");
        CU_ASSERT_FATAL(size > 0 && size < sizeof name);
        memcpy(name, start, size);
        CU_ASSERT_FATAL(name[0] == '!' || isalpha((unsigned char)name[0]));
        for (at = start; *at && (quoted || *at != '>'); at++) {
            quoted ^= *at == '"';
            CU_ASSERT_FATAL(*at != '<');
        }
        CU_ASSERT_FATAL(*at == '>');
        if (closing) {
            CU_ASSERT_FATAL(depth > 0);
            CU_ASSERT_STRING_EQUAL_FATAL(stack[--depth], name);
        } else if (at[-1] != '/' && !is_void(name)) {
            CU_ASSERT_FATAL(depth < 64);
            strcpy(stack[depth++], name);
        }
    }
    CU_ASSERT_EQUAL(depth, 0);
}

/* Nothing is fetched from anywhere: the namespace is the only address. */
static void check_self_contained(const char *text)
{
    CU_ASSERT_PTR_NULL(strstr(text, "https:"));
    CU_ASSERT_PTR_NULL(strstr(text, "src="));
    CU_ASSERT_PTR_NULL(strstr(text, "href="));
    CU_ASSERT_PTR_NULL(strstr(text, "url("));
    CU_ASSERT_PTR_NULL(strstr(text, "@import"));
    CU_ASSERT_PTR_NULL(strstr(text, "<script"));
    for (const char *at = text; (at = strstr(at, "http:")); at++)
        CU_ASSERT_EQUAL(strncmp(at, "http://www.w3.org/2000/svg\"", 27), 0);
    CU_ASSERT_PTR_NULL(strstr(text, "nan"));
    CU_ASSERT_PTR_NULL(strstr(text, "inf "));
}

static char *read_page(void)
{
    char *text = NULL;
    size_t size = 0;
    ASSERT_OK(file_read(page_path, 64 << 20, &text, &size));
    CU_ASSERT_EQUAL(strlen(text), size);
    check_well_formed(text);
    check_self_contained(text);
    return text;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
        count++;
    return count;
}

static void test_page(void)
{
    make_root();
    put_metrics("one", 200, 5);
    put_metrics("two<i>&\"'", 300, 7);
    put("one", "config.yaml", "optim:\n  lr: 0.001\n  same: 1\nrun:\n  dir: a\n");
    put("two<i>&\"'", "config.yaml", "optim:\n  lr: <script>\n  same: 1\nrun:\n  dir: b\n");
    put("one", "env.json", "{\"device\":\"<u>\",\"train_flops_per_image\":1e9}");
    put("one", "eval.json", "{\"top1\":0.5,\"classes\":[{\"name\":\"<c>\",\"count\":4,\"correct\":3}]}");
    char one[128], two[128];
    snprintf(one, sizeof one, "%s/one", root);
    snprintf(two, sizeof two, "%s/two<i>&\"'", root);
    ASSERT_OK(report_write((const char *[]){one, two}, 2, page_path));
    char *text = read_page();
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<h1>2 runs</h1>"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "two&lt;i&gt;&amp;&quot;&#39;"));
    CU_ASSERT_PTR_NULL(strstr(text, "<i>&"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "val/&lt;b&gt;")); /* a metric that no list knows gets its chart */
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<tr><td>optim.lr</td><td>0.001</td><td>&lt;script&gt;</td></tr>"));
    CU_ASSERT_EQUAL(count_of(text, "<td>optim.same</td>"), 2); /* only in the full lists */
    CU_ASSERT_EQUAL(count_of(text, "<td>run.dir</td>"), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "device &lt;u&gt;"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "<span>&lt;c&gt;</span>"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "75.0% (3/4)"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "Time of a step"));
    /* train/loss, lr and val/<b>, each over steps, images, hours, FLOPs */
    CU_ASSERT_EQUAL(count_of(text, "<div class=\"by-"), 3 * 4);
    CU_ASSERT_EQUAL(count_of(text, "<title>resumed</title>") > 0, 1);
    free(text);
    remove_tree(root);
}

static void test_svg(void)
{
    make_root();
    put_metrics("one", 200, 5);
    char one[128];
    snprintf(one, sizeof one, "%s/one", root);
    const char *dirs[] = {one};
    ASSERT_OK(report_write_svg(dirs, 1, (const char *[]){"train/loss", "optim/lr"}, 2, page_path));
    char *text = read_page();
    CU_ASSERT_EQUAL(strncmp(text, "<svg ", 5), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, ">train/loss</text>"));
    free(text);
    ASSERT_FAILS(report_write_svg(dirs, 1, (const char *[]){"val/top1"}, 1, page_path), VT_E_USAGE,
                 "no run has the metric \"val/top1\"");
    ASSERT_FAILS(report_write_svg(dirs, 1, NULL, 0, page_path), VT_E_USAGE, "no metric");
    remove_tree(root);
}

/* Extreme and empty data still give a page. */
static void test_extremes(void)
{
    static const char *const metrics[] = {
        "",
        "{\"step\":0}\n",
        "{\"step\":3,\"train/loss\":1}\n",
        "{\"step\":1,\"train/loss\":1e300,\"time/step_ms\":1e300}\n{\"step\":2,\"train/loss\":-1e300,\"time/step_ms\":-4}\n",
        "{\"step\":1,\"train/loss\":1e-310}\n{\"step\":9223372036854775807,\"train/loss\":2e-310}\n",
        "{\"step\":1,\"images_seen\":1e29,\"epoch\":-1e200,\"train/loss\":9e29,\"optim/lr\":-1e29}\n{\"step\":2,\"train/loss\":-9e29}\n",
        "{\"step\":1,\"attempt\":-9223372036854775807,\"wall_time\":-1e308,\"train/loss\":0}\n"
        "{\"step\":2,\"attempt\":-9223372036854775807,\"wall_time\":1e308,\"train/loss\":0}\n",
        "{\"step\":1,\"time/forward_ms\":5}\n{\"step\":2,\"time/forward_ms\":7}\n",
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        char run[128];
        make_root();
        put("run", "metrics.jsonl", metrics[i]);
        snprintf(run, sizeof run, "%s/run", root);
        ASSERT_OK(report_write((const char *[]){run, run}, 2, page_path));
        free(read_page());
        remove_tree(root);
    }
    ASSERT_FAILS(report_write(NULL, 0, "/tmp/x"), VT_E_USAGE, "at least one run");
    ASSERT_FAILS(report_write((const char *[]){"/nonexistent"}, 1, "/tmp/x"), VT_E_IO, "/nonexistent/metrics.jsonl");
}

static void check_number(double value, double step, enum svg_number kind, const char *expected)
{
    char text[48];
    svg_format(value, step, kind, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, expected);
    if (strcmp(text, expected) != 0)
        fprintf(stderr, "%g by %g is \"%s\", expected \"%s\"\n", value, step, text, expected);
}

static void test_numbers(void)
{
    CU_ASSERT_DOUBLE_EQUAL(svg_tick_step(10, 5), 2, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(svg_tick_step(0.09, 3), 0.05, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(svg_tick_step(7e6, 7), 1e6, 1e-3);
    check_number(0.5, 0.1, SVG_PLAIN, "0.5");
    check_number(2, 0.5, SVG_PLAIN, "2.0");
    check_number(-3, 1, SVG_PLAIN, "-3");
    check_number(1e-17, 0.1, SVG_PLAIN, "0");
    check_number(0.75, 0.05, SVG_PERCENT, "75%");
    check_number(0.755, 0.005, SVG_PERCENT, "75.5%");
    check_number(1500, 500, SVG_COUNT, "1.5k");
    check_number(1280000, 0, SVG_COUNT, "1.28M");
    check_number(5e17, 1e17, SVG_COUNT, "500P");
    check_number(0.0015, 0.0005, SVG_SCIENTIFIC, "1.5e-3");
    check_number(0.001, 0, SVG_SCIENTIFIC, "1e-3");
    check_number(25000, 5000, SVG_PLAIN, "25k");
}

static const struct test_case cases[] = {
    {"a page of two runs", test_page},
    {"a stand-alone picture", test_svg},
    {"extreme and empty data", test_extremes},
    {"ticks and numbers", test_numbers},
};
TEST_MAIN("telemetry/report", cases)
