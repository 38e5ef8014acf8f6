#include "checkpoint/safetensors.h"

#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "test.h"

static const struct safetensor *find(const struct safetensors *file, const char *name)
{
    const struct safetensor *tensor = safetensors_find(file, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    return tensor;
}

/* tests/golden/safetensors_dtypes.py made this file with the format's own library. */
static void reads_what_the_library_writes(void)
{
    struct safetensors file;
    float v[16];
    ASSERT_OK(safetensors_open(VT_SOURCE_DIR "/tests/golden/safetensors_dtypes.safetensors", &file));
    CU_ASSERT_EQUAL(file.count, 8);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file.metadata_json);
    CU_ASSERT_PTR_NOT_NULL(strstr(file.metadata_json, "\"format\":\"pt\""));
    const struct safetensor *t = find(&file, "blocks.0.attn.qkv.weight");
    CU_ASSERT_EQUAL(t->rank, 3);
    CU_ASSERT(t->dim[0] == 2 && t->dim[1] == 3 && t->dim[2] == 2 && t->count == 12);
    ASSERT_OK(safetensors_read_f32(&file, t, v));
    for (int i = 0; i < 12; i++)
        CU_ASSERT_EQUAL(v[i], (float)i / 7);
    ASSERT_OK(safetensors_read_f32(&file, find(&file, "half"), v));
    const float half[] = {0, 1, -2, 65504, 0x1p-14f, 0x1p-24f, -0x1p-15f, INFINITY, -INFINITY};
    for (int i = 0; i < 9; i++)
        CU_ASSERT_EQUAL(v[i], half[i]);
    CU_ASSERT_TRUE(isnan(v[9]));
    CU_ASSERT_EQUAL(v[10], 0.333251953125f);
    ASSERT_OK(safetensors_read_f32(&file, find(&file, "brain"), v));
    CU_ASSERT(v[0] == 1.5f && v[1] == -0.0078125f && fabsf(v[2] / 3e38f - 1) < 0.01f && v[3] == 0);
    ASSERT_OK(safetensors_read_f32(&file, find(&file, "double"), v));
    CU_ASSERT(v[0] == (float)(1.0 / 3) && v[1] == (float)-1e-40 && isinf(v[2]));
    t = find(&file, "scalar");
    CU_ASSERT(t->rank == 0 && t->count == 1);
    ASSERT_OK(safetensors_read_f32(&file, t, v));
    CU_ASSERT_EQUAL(v[0], 2.5f);
    t = find(&file, "empty");
    CU_ASSERT(t->count == 0 && t->begin == t->end);
    ASSERT_OK(safetensors_read_f32(&file, t, v));
    ASSERT_FAILS(safetensors_read_f32(&file, find(&file, "count"), v), VT_E_UNSUPPORTED, "tensor 'count' has dtype");
    CU_ASSERT_PTR_NULL(safetensors_find(&file, "absent"));
    safetensors_close(&file);
    CU_ASSERT_PTR_NULL(file.tensors);
    safetensors_close(&file); /* twice is fine */
}

static void layout_is_aligned_and_deterministic(void)
{
    static const char *const metadata[] = {"format", "pt"};
    struct safetensor t[2][2];
    char *header[2];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        memset(t[i], 0, sizeof t[i]);
        t[i][0] = (struct safetensor){.name = "b", .dtype = DTYPE_F32, .rank = 2, .dim = {3, 5}};
        t[i][1] = (struct safetensor){.name = "a \"x\"", .dtype = DTYPE_BF16, .rank = 1, .dim = {7}};
        safetensors_layout(t[i], 2, metadata, 1, &header[i], &bytes[i]);
    }
    CU_ASSERT_EQUAL(bytes[0] % 8, 0);
    CU_ASSERT_EQUAL_FATAL(bytes[0], bytes[1]);
    CU_ASSERT_EQUAL(memcmp(header[0], header[1], bytes[0]), 0);
    CU_ASSERT_EQUAL(t[0][0].begin, bytes[0]);
    CU_ASSERT_EQUAL(t[0][1].begin, bytes[0] + 60);
    CU_ASSERT_EQUAL(t[0][1].end, bytes[0] + 74);
    const char *expected =
        "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[3,5],\"data_offsets\":"
        "[0,60]},\"a \\\"x\\\"\":{\"dtype\":\"BF16\",\"shape\":[7],\"data_offsets\":[60,74]}}";
    CU_ASSERT_EQUAL(memcmp(header[0] + 8, expected, strlen(expected)), 0);
    struct safetensors file;
    ASSERT_OK(safetensors_parse("mem", (uint8_t *)header[0] + 8, bytes[0] - 8, bytes[0] + 74, &file));
    CU_ASSERT_EQUAL(file.count, 2);
    CU_ASSERT_STRING_EQUAL(file.tensors[1].name, "a \"x\"");
    safetensors_close(&file);
    free(header[0]);
    free(header[1]);
}

#define T(name, shape, begin, end)                                                                                     \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static const struct {
    const char *header;
    uint64_t data; /* bytes after the header */
    vt_status code;
    const char *text;
} bad[] = {
    {"", 0, VT_E_FORMAT, "does not begin with '{'"},
    {" {}", 0, VT_E_FORMAT, "does not begin with '{'"},
    {"{", 0, VT_E_FORMAT, "f.safetensors"},
    {"{}", 4, VT_E_FORMAT, "the tensors end at byte 10, the file has 14"},
    {"{" T("a", "[2]", "0", "8") "}", 4, VT_E_FORMAT, "not inside the file's 4 bytes"},
    {"{" T("a", "[2]", "0", "8") "}", 12, VT_E_FORMAT, "tensors end at byte"},
    {"{" T("a", "[3]", "0", "8") "}", 8, VT_E_FORMAT, "8 bytes of data for 3 values of fp32"},
    {"{" T("a", "[2]", "4", "12") "}", 12, VT_E_FORMAT, "hole or overlap"},
    {"{" T("a", "[2]", "0", "8") "," T("b", "[1]", "4", "8") "}", 8, VT_E_FORMAT, "hole or overlap"},
    {"{" T("a", "[1]", "0", "4") "," T("b", "[1]", "8", "12") "}", 12, VT_E_FORMAT, "hole or overlap"},
    {"{" T("a", "[1]", "0", "4") "," T("a", "[1]", "4", "8") "}", 8, VT_E_FORMAT, "f.safetensors"},
    {"{" T("a", "[1]", "4", "0") "}", 4, VT_E_FORMAT, "not inside"},
    {"{" T("a", "[1]", "-4", "0") "}", 4, VT_E_FORMAT, "not inside"},
    {"{" T("a", "[-1]", "0", "4") "}", 4, VT_E_FORMAT, "shape[0] is -1"},
    {"{" T("a", "[4294967296,4294967296]", "0", "4") "}", 4, VT_E_FORMAT, "too large"},
    {"{" T("a", "[4611686018427387904]", "0", "0") "}", 0, VT_E_FORMAT, "bytes of data for"},
    {"{" T("a", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, VT_E_UNSUPPORTED, "9 dimensions"},
    {"{" T("a", "[1.5]", "0", "4") "}", 4, VT_E_FORMAT, "integer"},
    {"{" T("a", "[1]", "0", "4,4") "}", 4, VT_E_FORMAT, "3 numbers, expected 2"},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, VT_E_UNSUPPORTED, "dtype F8_E4M3"},
    {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, VT_E_FORMAT, "dtype"},
    {"{\"a\":[1]}", 4, VT_E_FORMAT, "tensor 'a': expected an object"},
};

static void broken_rules_are_named(void)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct safetensors file;
        size_t size = strlen(bad[i].header);
        ASSERT_FAILS(
            safetensors_parse("f.safetensors", (const uint8_t *)bad[i].header, size, 8 + size + bad[i].data, &file),
            bad[i].code, bad[i].text);
        CU_ASSERT_PTR_NULL(file.tensors);
    }
    char name[600];
    struct safetensors file;
    snprintf(name, sizeof name, "{\"%0*d\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 300, 7);
    ASSERT_FAILS(safetensors_parse("f", (const uint8_t *)name, strlen(name), 12 + strlen(name), &file), VT_E_LIMIT,
                 "more than 255 bytes");
}

static void bad_files(void)
{
    struct safetensors file;
    uint8_t bytes[16] = {0};
    ASSERT_FAILS(safetensors_open(scratch_path("absent"), &file), VT_E_IO, "cannot open");
    safetensors_close(&file);
    ASSERT_FAILS(safetensors_open(scratch_write("short", bytes, 7), &file), VT_E_FORMAT,
                 "7 bytes: not a safetensors file");
    ASSERT_FAILS(safetensors_open(scratch_write("zero", bytes, 16), &file), VT_E_FORMAT, "does not begin with");
    bytes[0] = 9;
    ASSERT_FAILS(safetensors_open(scratch_write("long", bytes, 16), &file), VT_E_FORMAT,
                 "claims 9 bytes in a file of 16");
    memset(bytes, 0xff, 8);
    ASSERT_FAILS(safetensors_open(scratch_write("huge", bytes, 16), &file), VT_E_FORMAT,
                 "claims 18446744073709551615 bytes");
    ASSERT_FAILS(safetensors_open(scratch_dir(), &file), VT_E_IO, "not a regular file");
}

enum { MANY = 100 * 1000 };

/* A header of `count` empty tensors, "t0" the last of the names in the file. */
static char *many_tensors(int count, size_t *size)
{
    char *text = malloc((size_t)count * 64 + 8);
    size_t at = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    text[at++] = '{';
    for (int i = count - 1; i >= 0; i--)
        at += (size_t)sprintf(text + at, T("t%d", "[0]", "0", "0") "%s", i, i ? "," : "}");
    *size = at;
    return text;
}

/* Each is found in far less time than a look at all of them takes. */
static void many_are_found_fast(void)
{
    size_t size;
    char *header = many_tensors(MANY, &size), name[16];
    struct safetensors file;
    ASSERT_OK(safetensors_parse("many", (uint8_t *)header, size, 8 + size, &file));
    CU_ASSERT_EQUAL_FATAL(file.count, MANY);
    clock_t start = clock();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "t%d", i);
        const struct safetensor *tensor = safetensors_find(&file, name);
        CU_ASSERT_FATAL(tensor && strcmp(tensor->name, name) == 0);
        snprintf(name, sizeof name, "t%d ", i);
        CU_ASSERT_PTR_NULL_FATAL(safetensors_find(&file, name));
    }
    CU_ASSERT((double)(clock() - start) / CLOCKS_PER_SEC < 5); /* minutes by comparing with each */
    safetensors_close(&file);
    free(header);
    header = many_tensors(MANY + 1, &size);
    ASSERT_FAILS(safetensors_parse("many", (uint8_t *)header, size, 8 + size, &file), VT_E_LIMIT,
                 "100001 tensors, at most 100000 are read");
    free(header);
}

static const struct test_case cases[] = {
    {"reads what the library writes", reads_what_the_library_writes},
    {"the layout is aligned and deterministic", layout_is_aligned_and_deterministic},
    {"broken rules are named", broken_rules_are_named},
    {"bad files", bad_files},
    {"many are found fast", many_are_found_fast},
};
TEST_MAIN("safetensors", cases)
