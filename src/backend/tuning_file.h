/* The bytes of RUN/tuning.pb (proto/tuning.proto): choices made by timing, as rows. Pure; the plugin makes and takes them, the
 * program keeps and shows them. */
#ifndef VT_BACKEND_TUNING_FILE_H
#define VT_BACKEND_TUNING_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TUNING_WORD_BYTES = 256 };         /* of each string of a row, its end included */
enum { TUNING_FILE_MAX_BYTES = 4 << 20 }; /* more than 10,000 choices */

struct tuning_row {
    const char *device, *libraries, *key, *value; /* borrowed */
};

/* 1 to 255 printable characters without blanks: what every string of a row must be. */
bool tuning_is_word(const char *text);

/* Rows sorted by device, libraries, key. The same rows give the same bytes; malloc'ed, the caller's. VT_E_LIMIT: too many. */
VT_MUST_CHECK vt_status tuning_encode(const struct tuning_row *rows, int count, uint8_t **bytes, size_t *size);

struct tuning_rows {
    struct tuning_row *rows; /* in the order of the file */
    int count;
    void *message; /* what they point into */
};
/* Outside bytes. VT_E_FORMAT, VT_E_LIMIT or VT_E_UNSUPPORTED (another format) says what is wrong; *out is zero then. */
VT_MUST_CHECK vt_status tuning_decode(const void *bytes, size_t size, struct tuning_rows *out);
void tuning_rows_close(struct tuning_rows *rows);

#endif
