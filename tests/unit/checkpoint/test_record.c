#include "checkpoint/record.h"

#include "base/crc32c.h"
#include "test.h"
#include "toy_checkpoint.h"

static uint32_t model_crc[3] = {1, 0, 0xffffffffu};
static const struct file_record files[] = {
    {"model.safetensors", 2 * CHUNK_BYTES + 1, 3, model_crc},
    {"empty", 0, 0, NULL},
};

static void encode(uint8_t **bytes, size_t *size)
{
    struct checkpoint_state state = toy_state(5);
    record_encode(&state, files, 2, bytes, size);
}

static void round_trip(void)
{
    uint8_t *a, *b;
    size_t a_size, b_size;
    struct record record;
    encode(&a, &a_size);
    encode(&b, &b_size);
    CU_ASSERT(a_size == b_size && memcmp(a, b, a_size) == 0);
    ASSERT_OK(record_decode("r", a, a_size, &record));
    CU_ASSERT_EQUAL(record.state.step, 5);
    CU_ASSERT_EQUAL_FATAL(record.file_count, 2);
    CU_ASSERT_STRING_EQUAL(record.files[0].name, "model.safetensors");
    CU_ASSERT_EQUAL(record.files[0].chunks, 3);
    CU_ASSERT_EQUAL(memcmp(record.files[0].crc, model_crc, sizeof model_crc), 0);
    CU_ASSERT_EQUAL(record.files[1].chunks, 0);
    record_close(&record);
    record_close(&record);
    free(a);
    free(b);
}

/* NULL strings and no classes are an empty state, not a crash. */
static void empty_state(void)
{
    struct checkpoint_state state = {.step = 0};
    uint8_t *bytes;
    size_t size;
    struct record record;
    record_encode(&state, NULL, 0, &bytes, &size);
    ASSERT_OK(record_decode("r", bytes, size, &record));
    CU_ASSERT_STRING_EQUAL(record.state.config_yaml, "");
    CU_ASSERT_PTR_NULL(record.state.tuning);
    CU_ASSERT_EQUAL(record.state.class_count, 0);
    record_close(&record);
    free(bytes);
}

static void every_bit_counts(void)
{
    uint8_t *bytes;
    size_t size;
    struct record record;
    encode(&bytes, &size);
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            CU_ASSERT_EQUAL(record_decode("r", bytes, size, &record), VT_E_FORMAT);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    for (size_t length = 0; length < size; length++)
        CU_ASSERT_EQUAL(record_decode("r", bytes, length, &record), VT_E_FORMAT);
    free(bytes);
}

/* The same file list with a right checksum but wrong content. */
static void content_is_checked_too(void)
{
    static const struct {
        struct file_record file;
        const char *text;
    } bad[] = {
        {{"../../etc/passwd", 1, 1, model_crc}, "'../../etc/passwd' is no name of a file"},
        {{"", 1, 1, model_crc}, "is no name of a file"},
        {{".hidden", 1, 1, model_crc}, "is no name of a file"},
        {{"model", 5 * CHUNK_BYTES, 3, model_crc}, "model has 3 checksums for 5242880 bytes"},
        {{"model", 1ull << 63, 3, model_crc}, "3 checksums"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct checkpoint_state state = toy_state(5);
        struct record record;
        uint8_t *bytes;
        size_t size;
        record_encode(&state, &bad[i].file, 1, &bytes, &size);
        ASSERT_FAILS(record_decode("r", bytes, size, &record), VT_E_FORMAT, bad[i].text);
        free(bytes);
    }
}

/* Steps skipped cannot be more than there were: the optimizer counts its updates by the difference. */
static void counters_are_checked(void)
{
    static const struct {
        int64_t skipped;
        int streak;
        const char *text; /* NULL: fine */
    } counters[] = {{0, 0, NULL},
                    {5, 5, NULL},
                    {4, 0, NULL},
                    {6, 0, "6 of 5 steps skipped"},
                    {-1, 0, "-1 of 5 steps skipped"},
                    {3, 4, "3 of 5 steps skipped, 4 in a row"},
                    {3, -1, "-1 in a row"}};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        struct checkpoint_state state = toy_state(5);
        struct record record;
        uint8_t *bytes;
        size_t size;
        state.skipped_steps = counters[i].skipped;
        state.nonfinite_streak = counters[i].streak;
        record_encode(&state, files, 2, &bytes, &size);
        if (counters[i].text) {
            ASSERT_FAILS(record_decode("r", bytes, size, &record), VT_E_FORMAT, counters[i].text);
        } else {
            ASSERT_OK(record_decode("r", bytes, size, &record));
            CU_ASSERT_EQUAL(record.state.skipped_steps, counters[i].skipped);
            CU_ASSERT_EQUAL(record.state.nonfinite_streak, counters[i].streak);
            record_close(&record);
        }
        free(bytes);
    }
}

static void number_of_files_is_bounded(void)
{
    enum { MANY = 1001 };
    struct file_record *many = calloc(MANY, sizeof *many);
    struct checkpoint_state state = toy_state(5);
    struct record record;
    uint8_t *bytes;
    size_t size;
    CU_ASSERT_PTR_NOT_NULL_FATAL(many);
    for (int i = 0; i < MANY; i++)
        strcpy(many[i].name, "x");
    record_encode(&state, many, MANY, &bytes, &size);
    ASSERT_FAILS(record_decode("r", bytes, size, &record), VT_E_LIMIT, "1001 files, at most 1000 are read");
    CU_ASSERT_PTR_NULL(record.state.class_names);
    free(bytes);
    free(many);
}

static const struct test_case cases[] = {
    {"round trip", round_trip},
    {"empty state", empty_state},
    {"every bit counts", every_bit_counts},
    {"content is checked too", content_is_checked_too},
    {"the number of files is bounded", number_of_files_is_bounded},
    {"counters are checked", counters_are_checked},
};
TEST_MAIN("checkpoint record", cases)
