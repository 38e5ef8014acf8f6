/* Without a GPU: does the installed cuDNN take our attention graphs, for each kind of device? Its heuristics read the
 * device's properties as JSON (these are an H100's, by its datasheet, with other compute capabilities put in) and need some
 * libcuda to be there; where no driver is, the toolkit's stub does. What stays open here: loading, running, numbers. */
#include <dlfcn.h>

#include "backend/cuda/attention_cudnn.h"
#include "test.h"

enum { SKIPPED = 77 };

static const char JSON[] =
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
    "\"multiProcessorCount\":132,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
    "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"
    "\"supportCoopLaunch\":1,\"totalGlobalMem\":85000000000,\"smClockRateKHz\":1980000,\"memClockRateKHz\":2619000,"
    "\"l2CacheSize\":52428800,\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,\"deviceName\":\"sm_%d\"}";

/* What the product plans: packed qkv; and, in a last block that only the class token leaves, one query [B,A*d] over packed kv. */
static struct attention_desc packed(int64_t batch, int64_t heads, int64_t n, int64_t d)
{
    const struct attention_view qkv = {n * 3 * heads * d, d, 3 * heads * d}, o = {n * heads * d, d, heads * d};
    return (struct attention_desc){.batch = batch, .heads = heads, .queries = n, .keys = n, .head_dim = d, .dtype = DTYPE_BF16,
                                   .scale = 0.125f, .q = qkv, .k = qkv, .v = qkv, .o = o};
}

static struct attention_desc one_query(int64_t batch, int64_t heads, int64_t n, int64_t d)
{
    const struct attention_view row = {heads * d, d, heads * d}, kv = {n * 2 * heads * d, d, 2 * heads * d};
    return (struct attention_desc){.batch = batch, .heads = heads, .queries = 1, .keys = n, .head_dim = d, .dtype = DTYPE_BF16,
                                   .scale = 0.125f, .q = row, .k = kv, .v = kv, .o = row};
}

static const struct shape {
    const char *name;
    int64_t batch, heads, n, d;
} SHAPES[] = {
    {"S/16", 1024, 6, 197, 64},      {"B/16", 256, 12, 197, 64},     {"B/16, odd batch", 37, 12, 197, 64},
    {"B/16, no class", 64, 12, 196, 64}, {"L/16", 128, 16, 197, 64}, {"H/14", 64, 16, 257, 80},
    {"B/32", 64, 12, 50, 64},        {"Ti/16", 64, 3, 197, 64},      {"B/16, 384 px", 32, 12, 577, 64},
    {"L/16, 384 px", 32, 16, 577, 64}, {"S/4, 32 px", 128, 6, 65, 64},
};

static const char *json_of(int sm)
{
    static char text[1024];
    const int shared = sm == 80 ? 166912 : sm == 120 ? 101376 : 232448;
    snprintf(text, sizeof text, JSON, shared, sm * 10, sm);
    return text;
}

static const char *const FORMS[] = {"unified", "forward", "backward"};

static void check_counts(int sm)
{
    const struct cudnn_target target = {.device_json = json_of(sm)};
    for (size_t i = 0; i < 2 * sizeof SHAPES / sizeof *SHAPES; i++) {
        const struct shape *s = &SHAPES[i / 2];
        const struct attention_desc desc = (i % 2 ? one_query : packed)(s->batch, s->heads, s->n, s->d);
        printf("\n    sm_%d %s, %lld queries:", sm, s->name, (long long)desc.queries);
        for (int form = ATTENTION_UNIFIED; form <= ATTENTION_BACKWARD; form++) {
            int count = 0;
            ASSERT_OK(attention_cudnn_count(&target, &desc, (enum attention_form)form, &count));
            printf(" %s %d", FORMS[form], count);
            CU_ASSERT(count >= 1);
        }
    }
}

static void test_sm80(void) { check_counts(80); }
static void test_sm90(void) { check_counts(90); }
static void test_sm100(void) { check_counts(100); }
static void test_sm120(void) { check_counts(120); }

/* A plan is compiled up to where the driver loads it; only that may fail here, and cuDNN's words say so. */
static void check_plans(const struct attention_desc *desc, int choices)
{
    const struct cudnn_target target = {.device_json = json_of(90)};
    for (int form = ATTENTION_UNIFIED; form <= ATTENTION_BACKWARD; form++) {
        int count = 0;
        ASSERT_OK(attention_cudnn_count(&target, desc, (enum attention_form)form, &count));
        for (int choice = 0; choice < count && choice < choices; choice++) {
            struct attention_cudnn *plan = NULL;
            vt_status status = attention_cudnn_open(&target, desc, (enum attention_form)form, choice, &plan);
            printf("\n    %lld queries, %lld keys, d=%lld, %s %d: %s", (long long)desc->queries, (long long)desc->keys,
                   (long long)desc->head_dim, FORMS[form], choice, status == VT_OK ? "finalised" : status_message());
            if (status == VT_OK)
                printf(", workspace %zu", attention_cudnn_workspace(plan));
            CU_ASSERT(status == VT_OK || strstr(status_message(), "FAILED_CUDA_DRIVER"));
            attention_cudnn_close(&plan);
        }
    }
}

static void test_plan(void)
{
    const struct attention_desc b16 = packed(64, 12, 197, 64), h14 = packed(64, 16, 257, 80), large = packed(32, 12, 577, 64);
    const struct attention_desc class_b16 = one_query(64, 12, 197, 64), class_h14 = one_query(64, 16, 257, 80);
    check_plans(&b16, 16);
    check_plans(&h14, 16);
    check_plans(&large, 1);
    check_plans(&class_b16, 16);
    check_plans(&class_h14, 1);
}

/* Every configuration has words of its own, by which it is found again. */
static void test_configurations(void)
{
    const struct cudnn_target target = {.device_json = json_of(90)};
    const struct attention_desc desc = packed(64, 12, 197, 64);
    for (int form = ATTENTION_UNIFIED; form <= ATTENTION_BACKWARD; form++) {
        int count = 0, choice = -1;
        char text[16][ATTENTION_CONFIG_BYTES];
        ASSERT_OK(attention_cudnn_count(&target, &desc, (enum attention_form)form, &count));
        for (int i = 0; i < count && i < 16; i++) {
            ASSERT_OK(attention_cudnn_describe(&target, &desc, (enum attention_form)form, i, text[i]));
            printf("\n    %s %d: %s", FORMS[form], i, text[i]);
            for (int j = 0; j < i; j++)
                CU_ASSERT_STRING_NOT_EQUAL(text[i], text[j]);
            ASSERT_OK(attention_cudnn_find(&target, &desc, (enum attention_form)form, text[i], &choice));
            CU_ASSERT_EQUAL(choice, i);
        }
        ASSERT_FAILS(attention_cudnn_find(&target, &desc, (enum attention_form)form, "e999", &choice), VT_E_UNSUPPORTED,
                     "no configuration e999");
    }
}

static void test_refusals(void)
{
    const struct cudnn_target target = {.device_json = json_of(90)};
    struct attention_desc desc = packed(64, 12, 197, 64);
    struct attention_cudnn *plan = NULL;
    ASSERT_FAILS(attention_cudnn_open(&target, &desc, ATTENTION_FORWARD, 15, &plan), VT_E_UNSUPPORTED, "not a way 15");
    desc.dropout = 0.1f;
    ASSERT_FAILS(attention_cudnn_open(&target, &desc, ATTENTION_FORWARD, 0, &plan), VT_E_UNSUPPORTED, "attention dropout");
    CU_ASSERT_PTR_NULL(plan);
}

static const struct test_case CASES[] = {
    {"sm_80", test_sm80},   {"sm_90", test_sm90}, {"sm_100", test_sm100},
    {"sm_120", test_sm120}, {"plans", test_plan}, {"configurations", test_configurations},
    {"refusals", test_refusals},
};

int main(void)
{
    if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) && !dlopen(VT_CUDA_STUB, RTLD_NOW | RTLD_GLOBAL)) {
        printf("SKIPPED: neither a driver nor the toolkit's stub libcuda: %s\n", dlerror());
        return SKIPPED;
    }
    if (cudnn_load() != VT_OK) {
        printf("SKIPPED: %s\n", status_message());
        return SKIPPED;
    }
    printf("cuDNN %zu\n", cudnn_version());
    return run_tests("attention_cudnn", CASES, (int)(sizeof CASES / sizeof *CASES));
}
