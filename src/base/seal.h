/* A protobuf message that ends with a checksum of itself: field 2000, fixed32, the CRC-32C of all bytes before it, there even when
 * it is 0. Written and checked by hand, on the packed bytes. */
#ifndef VT_BASE_SEAL_H
#define VT_BASE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SEAL_BYTES = 6 };

/* After `body` bytes; there must be room for SEAL_BYTES more. */
void seal_write(uint8_t *bytes, size_t body);
/* `size` with the seal. `what` ("RUN/x.pb") begins the message. VT_E_FORMAT: cut short, damaged, or no such file at all. */
VT_MUST_CHECK vt_status seal_check(const char *what, const uint8_t *bytes, size_t size);

#endif
