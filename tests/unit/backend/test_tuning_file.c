#include "backend/tuning_file.h"
#include "base/seal.h"
#include "test.h"

static const struct tuning_row rows[] = {{"H100/sm_90/132", "lt-130100", "gemm/x", "0a"},
                                         {"H100/sm_90/132", "lt-130100", "zebra", "1"},
                                         {"H100/sm_90/132", "lt-130200", "k", "v"}};

/* The same three choices, written by hand after the protobuf specification, with a bitwise CRC-32C. */
static const char GOLDEN[] =
    "\x08\x01\x12\x35\x0a\x0e\x48\x31\x30\x30\x2f\x73\x6d\x5f\x39\x30\x2f\x31\x33\x32\x12\x09\x6c\x74\x2d\x31"
    "\x33\x30\x31\x30\x30\x1a\x0c\x0a\x06\x67\x65\x6d\x6d\x2f\x78\x12\x02\x30\x61\x1a\x0a\x0a\x05\x7a\x65\x62"
    "\x72\x61\x12\x01\x31\x12\x23\x0a\x0e\x48\x31\x30\x30\x2f\x73\x6d\x5f\x39\x30\x2f\x31\x33\x32\x12\x09\x6c"
    "\x74\x2d\x31\x33\x30\x32\x30\x30\x1a\x06\x0a\x01\x6b\x12\x01\x76\x85\x7d\x30\x04\xee\x56";
enum { GOLDEN_BYTES = sizeof GOLDEN - 1 };

static void bytes_are_those_of_the_format(void)
{
    struct tuning_rows back;
    uint8_t *bytes;
    size_t size;
    ASSERT_OK(tuning_encode(rows, 3, &bytes, &size));
    CU_ASSERT_EQUAL_FATAL(size, GOLDEN_BYTES);
    CU_ASSERT_EQUAL(memcmp(bytes, GOLDEN, size), 0);
    free(bytes);
    ASSERT_OK(tuning_decode(GOLDEN, GOLDEN_BYTES, &back));
    CU_ASSERT_EQUAL_FATAL(back.count, 3);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_STRING_EQUAL(back.rows[i].device, rows[i].device);
        CU_ASSERT_STRING_EQUAL(back.rows[i].libraries, rows[i].libraries);
        CU_ASSERT_STRING_EQUAL(back.rows[i].key, rows[i].key);
        CU_ASSERT_STRING_EQUAL(back.rows[i].value, rows[i].value);
    }
    tuning_rows_close(&back);
    tuning_rows_close(&back);
}

static void no_rows(void)
{
    struct tuning_rows back;
    uint8_t *bytes;
    size_t size;
    ASSERT_OK(tuning_encode(NULL, 0, &bytes, &size));
    ASSERT_OK(tuning_decode(bytes, size, &back));
    CU_ASSERT_EQUAL(back.count, 0);
    tuning_rows_close(&back);
    free(bytes);
}

static void every_bit_counts(void)
{
    struct tuning_rows back;
    uint8_t bytes[GOLDEN_BYTES];
    memcpy(bytes, GOLDEN, sizeof bytes);
    for (size_t at = 0; at < sizeof bytes; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            CU_ASSERT_EQUAL(tuning_decode(bytes, sizeof bytes, &back), VT_E_FORMAT);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    for (size_t length = 0; length < sizeof bytes; length++)
        CU_ASSERT_EQUAL(tuning_decode(bytes, length, &back), VT_E_FORMAT);
    CU_ASSERT_PTR_NULL(back.rows);
}

/* `text` is what a string of a row must not be. */
static void word_is_refused(const char *text)
{
    struct tuning_rows back;
    for (int field = 0; field < 4; field++) {
        const char *words[4] = {"d", "l", "k", "v"};
        uint8_t *bytes;
        size_t size;
        words[field] = text;
        const struct tuning_row row = {words[0], words[1], words[2], words[3]};
        ASSERT_OK(tuning_encode(&row, 1, &bytes, &size));
        ASSERT_FAILS(tuning_decode(bytes, size, &back), VT_E_FORMAT, "tuning table, choice 1 ('");
        CU_ASSERT_PTR_NULL(back.rows);
        free(bytes);
    }
}

static void content_is_checked_too(void)
{
    char word[TUNING_WORD_BYTES + 1];
    memset(word, 'x', sizeof word);
    word[TUNING_WORD_BYTES] = '\0';
    word_is_refused(word);
    word_is_refused("");
    word_is_refused("two words");
    word_is_refused("line\n");
    word_is_refused("\x7f");
    word_is_refused("\xc3\xa4");
    word[TUNING_WORD_BYTES - 1] = '\0';
    CU_ASSERT_TRUE(tuning_is_word(word));
}

static void other_files(void)
{
    static const char text[] = "vitrail-tuning 1\nnothing of the kind\n";
    struct tuning_rows back;
    uint8_t bytes[2 + SEAL_BYTES] = {0x08, 2}, broken[3 + SEAL_BYTES] = {0x12, 9, 0};
    ASSERT_FAILS(tuning_decode("", 0, &back), VT_E_FORMAT, "tuning table: 0 bytes: truncated, or not of vitrail");
    ASSERT_FAILS(tuning_decode(text, sizeof text - 1, &back), VT_E_FORMAT, "tuning table: does not end with its checksum");
    seal_write(bytes, 2);
    ASSERT_FAILS(tuning_decode(bytes, sizeof bytes, &back), VT_E_UNSUPPORTED, "tuning table: format 2, this version reads 1");
    seal_write(broken, 3);
    ASSERT_FAILS(tuning_decode(broken, sizeof broken, &back), VT_E_FORMAT, "tuning table: not a tuning table");
}

static void size_is_bounded(void)
{
    enum { MANY = 20000 };
    static char words[MANY][TUNING_WORD_BYTES];
    static struct tuning_row many[MANY];
    struct tuning_rows back;
    uint8_t *bytes;
    size_t size;
    for (int i = 0; i < MANY; i++) {
        snprintf(words[i], sizeof words[i], "%0255d", i);
        many[i] = (struct tuning_row){"d", "l", words[i], "v"};
    }
    ASSERT_FAILS(tuning_encode(many, MANY, &bytes, &size), VT_E_LIMIT, "for 20000 choices, at most 4194304 are written");
    ASSERT_OK(tuning_encode(many, MANY / 2, &bytes, &size));
    ASSERT_OK(tuning_decode(bytes, size, &back));
    CU_ASSERT_EQUAL(back.count, MANY / 2);
    tuning_rows_close(&back);
    ASSERT_FAILS(tuning_decode(bytes, TUNING_FILE_MAX_BYTES + 1, &back), VT_E_LIMIT, "at most 4194304 are read");
    free(bytes);
}

static const struct test_case cases[] = {
    {"the bytes are those of the format", bytes_are_those_of_the_format},
    {"no rows", no_rows},
    {"every bit counts", every_bit_counts},
    {"content is checked too", content_is_checked_too},
    {"other files", other_files},
    {"the size is bounded", size_is_bounded},
};
TEST_MAIN("tuning file", cases)
