#include "backend/cuda/tuning.h"
#include "base/file.h"
#include "test.h"

#include <unistd.h>

static struct tuning *open_for(const char *device, const char *libraries)
{
    struct tuning *tuning = NULL;
    ASSERT_OK(tuning_open(device, libraries, &tuning));
    return tuning;
}

static void put_find_replace(void)
{
    struct tuning *t = open_for("NVIDIA H100 80GB HBM3/sm_90/132", "130100");
    CU_ASSERT_PTR_NULL(tuning_find(t, "gemm/TN/1x2x3"));
    tuning_put(t, "gemm/TN/1x2x3", "aa");
    tuning_put(t, "gemm/TN/1x2x3", "bb");
    tuning_put(t, "gemm/TN/1x2", "cc");
    CU_ASSERT_STRING_EQUAL(tuning_find(t, "gemm/TN/1x2x3"), "bb");
    CU_ASSERT_STRING_EQUAL(tuning_find(t, "gemm/TN/1x2"), "cc");
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%d", i);
        tuning_put(t, key, key);
    }
    CU_ASSERT_STRING_EQUAL(tuning_find(t, "k137"), "k137");
    tuning_close(&t);
    CU_ASSERT_PTR_NULL(t);
}

/* The table as "device libraries key value\n" of each choice. */
static const char *listing(const struct tuning *tuning)
{
    static char text[2000];
    struct tuning_rows rows;
    uint8_t *bytes;
    size_t size, used = 0;
    ASSERT_OK(tuning_export(tuning, &bytes, &size));
    ASSERT_OK(tuning_decode(bytes, size, &rows));
    for (int i = 0; i < rows.count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s %s %s\n", rows.rows[i].device, rows.rows[i].libraries,
                                 rows.rows[i].key, rows.rows[i].value);
    text[used] = '\0';
    tuning_rows_close(&rows);
    free(bytes);
    return text;
}

static void hand_over(const struct tuning *from, struct tuning *to)
{
    uint8_t *bytes;
    size_t size;
    ASSERT_OK(tuning_export(from, &bytes, &size));
    ASSERT_OK(tuning_import(to, bytes, size));
    free(bytes);
}

/* A table goes to another rank, and through a file; choices of another GPU or library are carried along, not used. */
static void export_and_import(void)
{
    struct tuning *h100 = open_for("NVIDIA H100/sm_90/132", "130100"), *other = open_for("NVIDIA H100/sm_90/132", "130100");
    struct tuning *a100 = open_for("NVIDIA A100/sm_80/108", "130100"), *newer = open_for("NVIDIA H100/sm_90/132", "130200");
    tuning_put(h100, "zebra", "1");
    tuning_put(h100, "ant", "2");
    CU_ASSERT_STRING_EQUAL(listing(h100), "NVIDIA_H100/sm_90/132 130100 ant 2\nNVIDIA_H100/sm_90/132 130100 zebra 1\n");
    tuning_put(other, "ant", "old");
    tuning_put(a100, "ant", "mine");
    hand_over(h100, other);
    hand_over(h100, a100);
    hand_over(h100, newer);
    CU_ASSERT_STRING_EQUAL(tuning_find(other, "ant"), "2");
    CU_ASSERT_STRING_EQUAL(tuning_find(a100, "ant"), "mine");
    CU_ASSERT_PTR_NULL(tuning_find(newer, "ant"));
    CU_ASSERT_STRING_EQUAL(listing(other), "NVIDIA_H100/sm_90/132 130100 ant 2\nNVIDIA_H100/sm_90/132 130100 zebra 1\n");
    CU_ASSERT_STRING_EQUAL(listing(a100), "NVIDIA_A100/sm_80/108 130100 ant mine\nNVIDIA_H100/sm_90/132 130100 ant 2\n"
                                          "NVIDIA_H100/sm_90/132 130100 zebra 1\n");
    tuning_close(&h100);
    tuning_close(&other);
    tuning_close(&a100);
    tuning_close(&newer);
}

static void import_row(struct tuning *tuning, const char *device, const char *libraries)
{
    const struct tuning_row row = {device, libraries, "k", "v"};
    uint8_t *bytes;
    size_t size;
    ASSERT_OK(tuning_encode(&row, 1, &bytes, &size));
    ASSERT_OK(tuning_import(tuning, bytes, size));
    free(bytes);
}

/* One line is due when all choices for this GPU are of other libraries: not for other GPUs, and not once it has some. */
static void tells_what_is_outdated(void)
{
    struct tuning *t = open_for("H100", "cublaslt-130200,cudnn-91900");
    char libraries[TUNING_WORD_BYTES];
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    import_row(t, "A100", "cublaslt-130100,cudnn-91900");
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    import_row(t, "H100", "cublaslt-130100,cudnn-91900");
    CU_ASSERT_TRUE(tuning_outdated(t, libraries));
    CU_ASSERT_STRING_EQUAL(libraries, "cublaslt-130100,cudnn-91900");
    CU_ASSERT_PTR_NULL(tuning_find(t, "k"));
    tuning_put(t, "k", "v");
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    tuning_close(&t);
}

static void damaged_tables(void)
{
    struct tuning *t = open_for("d", "1"), *good = open_for("d", "1");
    uint8_t *bytes;
    size_t size;
    tuning_put(good, "key", "value");
    ASSERT_OK(tuning_export(good, &bytes, &size));
    bytes[size / 2] ^= 1;
    ASSERT_FAILS(tuning_import(t, bytes, size), VT_E_FORMAT, "tuning table: damaged");
    CU_ASSERT_PTR_NULL(tuning_find(t, "key"));
    free(bytes);
    tuning_close(&t);
    tuning_close(&good);
}

/* ---- VT_CUDA_TUNE_FILE ---- */

static char kept[64];

static struct tuning *open_kept(const char *libraries)
{
    struct tuning *t = open_for("d", libraries);
    ASSERT_OK(tuning_kept_load(t));
    return t;
}
static void close_kept(struct tuning *t)
{
    tuning_kept_save(t);
    tuning_close(&t);
}

static void kept_for_other_programs(void)
{
    unlink(kept);
    struct tuning *t = open_kept("1");
    close_kept(t);
    CU_ASSERT_FALSE(file_exists(kept)); /* nothing to keep */
    t = open_kept("1");
    tuning_put(t, "a", "1");
    close_kept(t);
    /* Two at once: each adds to what the other wrote by then; on the same key the last one wins. */
    struct tuning *b = open_kept("1"), *c = open_kept("1");
    CU_ASSERT_STRING_EQUAL(tuning_find(b, "a"), "1");
    tuning_put(b, "b", "of-b");
    tuning_put(b, "both", "of-b");
    tuning_put(c, "both", "of-c");
    close_kept(b);
    close_kept(c);
    t = open_kept("1");
    CU_ASSERT_STRING_EQUAL(listing(t), "d 1 a 1\nd 1 b of-b\nd 1 both of-c\n");
    close_kept(t);
    t = open_kept("2"); /* other libraries: theirs stay */
    CU_ASSERT_PTR_NULL(tuning_find(t, "a"));
    tuning_put(t, "a", "2");
    close_kept(t);
    t = open_kept("1");
    CU_ASSERT_STRING_EQUAL(listing(t), "d 1 a 1\nd 1 b of-b\nd 1 both of-c\nd 2 a 2\n");
    close_kept(t);
}

/* What came from elsewhere (rank 0, a run folder) is not this program's to keep; nor what was there before. */
static void only_what_was_put(void)
{
    struct tuning *t, *from = open_for("d", "1");
    unlink(kept);
    t = open_kept("1");
    tuning_put(from, "k", "v");
    hand_over(from, t);
    tuning_put(t, "k", "v");
    close_kept(t);
    CU_ASSERT_FALSE(file_exists(kept));
    tuning_close(&from);
}

static void a_foreign_file_stays(void)
{
    static const char text[] = "dear diary, it is not a tuning table";
    struct tuning *t = open_for("d", "1");
    char *bytes;
    size_t size;
    ASSERT_OK(file_write_atomic(kept, text, sizeof text));
    ASSERT_FAILS(tuning_kept_load(t), VT_E_FORMAT, "VT_CUDA_TUNE_FILE: ");
    CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), kept));
    tuning_put(t, "k", "v");
    tuning_kept_save(t);
    ASSERT_OK(file_read(kept, 1000, &bytes, &size));
    CU_ASSERT(size == sizeof text && memcmp(bytes, text, size) == 0);
    free(bytes);
    unlink(kept);
    setenv("VT_CUDA_TUNE_FILE", "", 1);
    ASSERT_OK(tuning_kept_load(t));
    tuning_kept_save(t);
    tuning_kept_save(NULL);
    setenv("VT_CUDA_TUNE_FILE", kept, 1);
    CU_ASSERT_FALSE(file_exists(kept));
    tuning_close(&t);
}

static const struct test_case cases[] = {
    {"put, find, replace", put_find_replace},
    {"export and import", export_and_import},
    {"tells what is outdated", tells_what_is_outdated},
    {"damaged tables", damaged_tables},
    {"kept for other programs", kept_for_other_programs},
    {"only what was put is kept", only_what_was_put},
    {"a foreign file stays", a_foreign_file_stays},
};

int main(void)
{
    snprintf(kept, sizeof kept, "/tmp/vt_tuning.%ld.pb", (long)getpid());
    setenv("VT_CUDA_TUNE_FILE", kept, 1);
    int failed = run_tests("tuning", cases, (int)(sizeof cases / sizeof *cases));
    unlink(kept);
    return failed;
}
