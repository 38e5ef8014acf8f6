/* CRC-32C (Castagnoli polynomial, reflected 0x82F63B78), as in RFC 3720 and in TFRecord, iSCSI, ext4. The CPU's
 * instruction where it has one, else tables; same values. Any thread. */
#ifndef VT_BASE_CRC32C_H
#define VT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `size` bytes following those that gave `crc`; start with 0: crc32c(crc32c(0, a), b) = crc32c(0, a followed by
 * b). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);
/* The table version, whatever the CPU: for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t size);
/* The masked form that TFRecord and TensorBoard event files store. */
static inline uint32_t crc32c_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

#endif
