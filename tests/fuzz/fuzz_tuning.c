/* FUZZ_ROOMS: backend
 * Any bytes as a tuning.pb, with its own checksum put right first. What is accepted must be words, and must come back
 * the same once it was written again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "backend/tuning_file.h"
#include "base/seal.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_rows(const struct tuning_rows *a)
{
    struct tuning_rows b;
    uint8_t *bytes;
    size_t size;
    require(tuning_encode(a->rows, a->count, &bytes, &size) == VT_OK);
    require(tuning_decode(bytes, size, &b) == VT_OK && b.count == a->count);
    for (int i = 0; i < a->count; i++) {
        require(strcmp(a->rows[i].device, b.rows[i].device) == 0 && strcmp(a->rows[i].libraries, b.rows[i].libraries) == 0);
        require(strcmp(a->rows[i].key, b.rows[i].key) == 0 && strcmp(a->rows[i].value, b.rows[i].value) == 0);
        require(tuning_is_word(b.rows[i].device) && tuning_is_word(b.rows[i].libraries));
        require(tuning_is_word(b.rows[i].key) && tuning_is_word(b.rows[i].value));
    }
    tuning_rows_close(&b);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct tuning_rows rows;
    if (size > 1 << 16)
        return 0;
    uint8_t *copy = malloc(size + SEAL_BYTES);
    require(copy != NULL);
    if (size)
        memcpy(copy, bytes, size);
    seal_write(copy, size);
    if (tuning_decode(copy, size + SEAL_BYTES, &rows) == VT_OK)
        check_rows(&rows);
    else
        require(strlen(status_message()) > 0 && !strchr(status_message(), '\n'));
    tuning_rows_close(&rows);
    free(copy);
    return 0;
}
