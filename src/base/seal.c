#include "base/seal.h"

#include "base/check.h"
#include "base/crc32c.h"

/* The key on the wire, as a varint of two bytes: field 2000, four fixed bytes. */
enum { SEAL_KEY = 2000 << 3 | 5 };

void seal_write(uint8_t *bytes, size_t body)
{
    uint32_t crc = crc32c(0, bytes, body);
    uint8_t *tail = bytes + body;
    size_t at = 0;
    for (uint32_t key = SEAL_KEY; key; key >>= 7)
        tail[at++] = (uint8_t)((key & 127) | (key > 127 ? 128 : 0));
    for (int i = 0; i < 4; i++)
        tail[at++] = (uint8_t)(crc >> (8 * i));
    VT_CHECK(at == SEAL_BYTES);
}

vt_status seal_check(const char *what, const uint8_t *bytes, size_t size)
{
    if (size < SEAL_BYTES)
        return VT_FAIL(VT_E_FORMAT, "%s: %zu bytes: truncated, or not of vitrail", what, size);
    const uint8_t *tail = bytes + size - SEAL_BYTES;
    uint32_t key = (tail[0] & 127u) | (uint32_t)tail[1] << 7;
    uint32_t stored = 0, found = crc32c(0, bytes, size - SEAL_BYTES);
    for (int i = 0; i < 4; i++)
        stored |= (uint32_t)tail[2 + i] << (8 * i);
    if (tail[0] < 128 || key != SEAL_KEY)
        return VT_FAIL(VT_E_FORMAT, "%s: does not end with its checksum: truncated or damaged", what);
    if (stored != found)
        return VT_FAIL(VT_E_FORMAT, "%s: damaged: CRC32C %08x, expected %08x", what, found, stored);
    return VT_OK;
}
