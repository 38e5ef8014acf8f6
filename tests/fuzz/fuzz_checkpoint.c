/* FUZZ_ROOMS: checkpoint
 * First byte even: a safetensors header, in a file as long as the next byte's multiple of its length says. Odd: a
 * checkpoint.pb, whose own checksum is put right first, so that what lies behind it is reached. What is accepted must
 * obey the rules the rest of the room relies on. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "checkpoint/record.h"
#include "checkpoint/safetensors.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_message(void) { require(strlen(status_message()) > 0 && !strchr(status_message(), '\n')); }

static void check_tensors(const struct safetensors *file, uint64_t data_begin, uint64_t file_bytes)
{
    uint64_t at = data_begin;
    for (int i = 0; i < file->count; i++) {
        const struct safetensor *tensor = &file->tensors[i];
        require(tensor->begin == at && tensor->end >= at && tensor->end <= file_bytes);
        require(tensor->count >= 0 && (uint64_t)tensor->count * dtype_bytes(tensor->dtype) == tensor->end - at);
        require(safetensors_find(file, tensor->name) == tensor);
        at = tensor->end;
    }
    require(at == file_bytes);
}

static void fuzz_safetensors(const uint8_t *bytes, size_t size, uint8_t data_bytes)
{
    struct safetensors file;
    uint64_t file_bytes = 8 + (uint64_t)size + data_bytes;
    if (safetensors_parse("fuzz.safetensors", bytes, size, file_bytes, &file) == VT_OK) {
        char *config = NULL;
        check_tensors(&file, 8 + (uint64_t)size, file_bytes);
        require(safetensors_metadata(&file, SAFETENSORS_CONFIG, &config) == VT_OK);
        free(config);
    } else
        check_message();
    safetensors_close(&file);
}

/* What decodes must encode and decode to the same. */
static void check_round_trip(const struct record *record)
{
    struct record back;
    uint8_t *first, *second;
    size_t first_size, second_size;
    record_encode(&record->state, record->files, record->file_count, &first, &first_size);
    require(record_decode("again", first, first_size, &back) == VT_OK);
    record_encode(&back.state, back.files, back.file_count, &second, &second_size);
    require(first_size == second_size && memcmp(first, second, first_size) == 0);
    record_close(&back);
    free(first);
    free(second);
}

static void fuzz_record(const uint8_t *bytes, size_t size)
{
    struct record record;
    uint8_t *copy = malloc(size + 6);
    require(copy != NULL);
    if (size)
        memcpy(copy, bytes, size);
    uint32_t crc = crc32c(0, copy, size);
    const uint8_t tail[6] = {0x85, 0x7d, (uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
    memcpy(copy + size, tail, sizeof tail);
    if (record_decode("fuzz.pb", copy, size + 6, &record) == VT_OK)
        check_round_trip(&record);
    else
        check_message();
    record_close(&record);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2)
        return 0;
    if (bytes[0] % 2 == 0)
        fuzz_safetensors(bytes + 2, size - 2, bytes[1]);
    else
        fuzz_record(bytes + 2, size - 2);
    return 0;
}
