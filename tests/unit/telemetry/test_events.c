/* Reads event files back frame by frame, with a decoder of the wire format written here: field numbers and framing are
 * TensorBoard's, not the generated code's. */
#include "telemetry/events.h"

#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "test.h"

struct field {
    int number, wire;
    uint64_t integer; /* varint, or the 4 or 8 bytes of a fixed field */
    const uint8_t *bytes;
    size_t size;
};

static uint64_t little_endian(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static uint64_t varint(const uint8_t **at)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
}

static bool next_field(const uint8_t **at, const uint8_t *end, struct field *field)
{
    if (*at >= end)
        return false;
    uint64_t key = varint(at);
    *field = (struct field){.number = (int)(key >> 3), .wire = (int)(key & 7)};
    if (field->wire == 0) {
        field->integer = varint(at);
    } else if (field->wire == 2) {
        field->size = (size_t)varint(at);
        field->bytes = *at;
        *at += field->size;
    } else {
        int bytes = field->wire == 1 ? 8 : 4;
        CU_ASSERT_FATAL(field->wire == 1 || field->wire == 5);
        field->integer = little_endian(*at, bytes);
        *at += bytes;
    }
    CU_ASSERT_FATAL(*at <= end);
    return true;
}

/* Checks both checksums of the frame at *at and steps over it. */
static const uint8_t *next_frame(const uint8_t **at, const uint8_t *end, size_t *size)
{
    CU_ASSERT_FATAL(end - *at >= 16);
    *size = (size_t)little_endian(*at, 8);
    CU_ASSERT_FATAL((size_t)(end - *at) >= *size + 16);
    CU_ASSERT_EQUAL((uint32_t)little_endian(*at + 8, 4), crc32c_mask(crc32c_portable(0, *at, 8)));
    const uint8_t *payload = *at + 12;
    CU_ASSERT_EQUAL((uint32_t)little_endian(payload + *size, 4), crc32c_mask(crc32c_portable(0, payload, *size)));
    *at = payload + *size + 4;
    return payload;
}

static float as_float(uint64_t bits)
{
    uint32_t word = (uint32_t)bits;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

static double as_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static void check_value(const struct field *value, const char *tag, float expected)
{
    struct field field;
    const uint8_t *at = value->bytes;
    int seen = 0;
    CU_ASSERT_EQUAL(value->number, 1);
    while (next_field(&at, value->bytes + value->size, &field)) {
        if (field.number == 1)
            CU_ASSERT(field.size == strlen(tag) && memcmp(field.bytes, tag, field.size) == 0);
        if (field.number == 2)
            CU_ASSERT(field.wire == 5 && as_float(field.integer) == expected);
        seen += field.number;
    }
    CU_ASSERT_EQUAL(seen, 3); /* the tag and the value, also when the value is 0 */
}

static void check_scalars(const uint8_t *event, size_t size, int64_t step, double wall_time, const struct metric *expected)
{
    struct field field, value;
    const uint8_t *at = event;
    int seen = 0, values = 0;
    while (next_field(&at, event + size, &field)) {
        seen += field.number;
        if (field.number == 1)
            CU_ASSERT(field.wire == 1 && as_double(field.integer) == wall_time);
        if (field.number == 2)
            CU_ASSERT(field.wire == 0 && (int64_t)field.integer == step);
        if (field.number != 5)
            continue;
        const uint8_t *inner = field.bytes;
        for (; next_field(&inner, field.bytes + field.size, &value); values++)
            check_value(&value, expected[values].name, (float)expected[values].value);
    }
    CU_ASSERT_EQUAL(seen, 1 + 2 + 5);
    CU_ASSERT_EQUAL(values, 3);
}

static void test_frames(void)
{
    char dir[] = "/tmp/vt_events_XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    struct events *events = NULL;
    const struct metric values[] = {{"train/loss", 2.5}, {"val/top1", 0}, {"optim/lr", 1e-3}};
    ASSERT_OK(events_open(dir, 3, 1700000000.25, &events));
    ASSERT_OK(events_write_restart(events, 1700000001.5, 40));
    ASSERT_OK(events_write(events, 1700000002.75, (int64_t)1 << 40, values, 3));
    ASSERT_OK(events_flush(events));
    char path[4096], *bytes = NULL;
    snprintf(path, sizeof path, "%s", events_path(events));
    CU_ASSERT_PTR_NOT_NULL(strstr(path, "/events.out.tfevents.1700000000."));
    CU_ASSERT_STRING_EQUAL(path + strlen(path) - 2, ".3");
    events_close(&events);
    CU_ASSERT_PTR_NULL(events);

    size_t size = 0, frame_size = 0;
    ASSERT_OK(file_read(path, 1 << 20, &bytes, &size));
    const uint8_t *at = (uint8_t *)bytes, *end = at + size, *frame;
    struct field field;
    frame = next_frame(&at, end, &frame_size);
    const uint8_t version[] = "\x1a\x0d" "brain.Event:2"; /* field 3, wire 2, 13 bytes */
    CU_ASSERT(frame_size == 9 + 15 && memcmp(frame + 9, version, 15) == 0);

    frame = next_frame(&at, end, &frame_size);
    const uint8_t restart[] = {0x10, 41, 0x3a, 2, 0x08, 1}; /* step 41, session_log {status: START} */
    CU_ASSERT(frame_size == 9 + sizeof restart && memcmp(frame + 9, restart, sizeof restart) == 0);

    frame = next_frame(&at, end, &frame_size);
    check_scalars(frame, frame_size, (int64_t)1 << 40, 1700000002.75, values);
    CU_ASSERT_PTR_EQUAL(at, end);
    CU_ASSERT(!next_field(&at, end, &field));
    free(bytes);
    unlink(path);
    rmdir(dir);
}

static void test_bad_folder(void)
{
    struct events *events = NULL;
    ASSERT_FAILS(events_open("/nonexistent/folder", 1, 1, &events), VT_E_IO, "/nonexistent/folder/events.out.tfevents.1.");
    CU_ASSERT_PTR_NULL(events);
    events_close(&events);
    events_close(NULL);
}

static const struct test_case cases[] = {
    {"frames, checksums and fields", test_frames},
    {"a folder that is not there", test_bad_folder},
};
TEST_MAIN("telemetry/events", cases)
