#include "test.h"

#include "base/crc32c.h"

static void both(const void *bytes, size_t size, uint32_t expected)
{
    CU_ASSERT_EQUAL(crc32c(0, bytes, size), expected);
    CU_ASSERT_EQUAL(crc32c_portable(0, bytes, size), expected);
}

/* RFC 3720, appendix B.4 (bytes of its CRCs are in wire order there), and the check value of the CRC catalogue. */
static void known_answers(void)
{
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    both(bytes, 32, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    both(bytes, 32, 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    both(bytes, 32, 0x46dd794e);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    both(bytes, 32, 0x113fdb5c);
    static const uint8_t scsi_read[48] = {0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                          0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                          0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    both(scsi_read, 48, 0xd9963a56);
    both("123456789", 9, 0xe3069283);
    both("", 0, 0);
}

static void versions_agree_at_any_length_and_split(void)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 131 + i / 7);
    for (size_t start = 0; start < 9; start++) {
        for (size_t size = 0; size + start <= sizeof bytes; size += 1 + size / 40) {
            uint32_t whole = crc32c(0, bytes + start, size);
            CU_ASSERT_EQUAL(whole, crc32c_portable(0, bytes + start, size));
            size_t cut = size / 3;
            CU_ASSERT_EQUAL(whole, crc32c(crc32c(0, bytes + start, cut), bytes + start + cut, size - cut));
        }
    }
}

/* LevelDB and TensorFlow: mask(crc("foo")) differs from it, and unmasks by the inverse rotation. */
static void mask(void)
{
    uint32_t crc = crc32c(0, "foo", 3), masked = crc32c_mask(crc), back = masked - 0xa282ead8u;
    CU_ASSERT_NOT_EQUAL(masked, crc);
    CU_ASSERT_EQUAL(back >> 17 | back << 15, crc);
}

static const struct test_case cases[] = {
    {"known answers", known_answers},
    {"versions agree", versions_agree_at_any_length_and_split},
    {"mask", mask},
};
TEST_MAIN("crc32c", cases)
