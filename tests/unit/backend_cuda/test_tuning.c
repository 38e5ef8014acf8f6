#include "backend/cuda/tuning.h"
#include "test.h"

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

/* A table goes to another rank, and through a file; lines of another GPU or library are carried along, not used. */
static void export_and_import(void)
{
    struct tuning *h100 = open_for("NVIDIA H100/sm_90/132", "130100"), *other = open_for("NVIDIA H100/sm_90/132", "130100");
    struct tuning *a100 = open_for("NVIDIA A100/sm_80/108", "130100"), *newer = open_for("NVIDIA H100/sm_90/132", "130200");
    char *text = NULL, *again = NULL;
    tuning_put(h100, "zebra", "1");
    tuning_put(h100, "ant", "2");
    ASSERT_OK(tuning_export(h100, &text));
    CU_ASSERT_STRING_EQUAL(
        text, "vitrail-tuning 1\nNVIDIA_H100/sm_90/132 130100 ant 2\nNVIDIA_H100/sm_90/132 130100 zebra 1\n");
    tuning_put(other, "ant", "old");
    tuning_put(a100, "ant", "mine");
    ASSERT_OK(tuning_import(other, text));
    ASSERT_OK(tuning_import(a100, text));
    ASSERT_OK(tuning_import(newer, text));
    CU_ASSERT_STRING_EQUAL(tuning_find(other, "ant"), "2");
    CU_ASSERT_STRING_EQUAL(tuning_find(a100, "ant"), "mine");
    CU_ASSERT_PTR_NULL(tuning_find(newer, "ant"));
    ASSERT_OK(tuning_export(other, &again));
    CU_ASSERT_STRING_EQUAL(again, text);
    free(again);
    ASSERT_OK(tuning_export(a100, &again));
    CU_ASSERT_STRING_EQUAL(
        again, "vitrail-tuning 1\nNVIDIA_A100/sm_80/108 130100 ant mine\nNVIDIA_H100/sm_90/132 130100 ant 2\n"
               "NVIDIA_H100/sm_90/132 130100 zebra 1\n");
    free(text);
    free(again);
    tuning_close(&h100);
    tuning_close(&other);
    tuning_close(&a100);
    tuning_close(&newer);
}

/* One line is due when all choices for this GPU are of other libraries: not for other GPUs, and not once it has some. */
static void tells_what_is_outdated(void)
{
    struct tuning *t = open_for("H100", "cublaslt-130200,cudnn-91900");
    char libraries[TUNING_WORD_BYTES] = "";
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    ASSERT_OK(tuning_import(t, "vitrail-tuning 1\nA100 cublaslt-130100,cudnn-91900 k v\n"));
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    ASSERT_OK(tuning_import(t, "vitrail-tuning 1\nH100 cublaslt-130100,cudnn-91900 k v\n"));
    CU_ASSERT_TRUE(tuning_outdated(t, libraries));
    CU_ASSERT_STRING_EQUAL(libraries, "cublaslt-130100,cudnn-91900");
    CU_ASSERT_PTR_NULL(tuning_find(t, "k"));
    tuning_put(t, "k", "v");
    CU_ASSERT_FALSE(tuning_outdated(t, libraries));
    tuning_close(&t);
}

static void damaged_tables(void)
{
    struct tuning *t = open_for("d", "1");
    char line[700];
    ASSERT_FAILS(tuning_import(t, ""), VT_E_FORMAT, "line 1: expected \"vitrail-tuning 1\"");
    ASSERT_FAILS(tuning_import(t, "vitrail-tuning 2\n"), VT_E_FORMAT, "line 1");
    ASSERT_FAILS(tuning_import(t, "vitrail-tuning 1\nd 1 key value\nd 1 cut"), VT_E_FORMAT,
                 "line 3: expected four words");
    CU_ASSERT_PTR_NULL(tuning_find(t, "key")); /* all or nothing */
    ASSERT_FAILS(tuning_import(t, "vitrail-tuning 1\nd 1  value\n"), VT_E_FORMAT, "line 2");
    ASSERT_FAILS(tuning_import(t, "vitrail-tuning 1\nd 1 k\x01 v\n"), VT_E_FORMAT, "line 2");
    snprintf(line, sizeof line, "vitrail-tuning 1\nd 1 key %0300d\n", 7);
    ASSERT_FAILS(tuning_import(t, line), VT_E_FORMAT, "at most 255");
    ASSERT_OK(tuning_import(t, "vitrail-tuning 1\n\nd 1 key value"));
    CU_ASSERT_STRING_EQUAL(tuning_find(t, "key"), "value");
    tuning_close(&t);
}

static const struct test_case cases[] = {
    {"put, find, replace", put_find_replace},
    {"export and import", export_and_import},
    {"tells what is outdated", tells_what_is_outdated},
    {"damaged tables", damaged_tables},
};
TEST_MAIN("tuning", cases)
