#include "backend/tuning_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/seal.h"
#include "tuning.pb-c.h"

enum { FORMAT_VERSION = 1 };
static const char WHAT[] = "tuning table";

bool tuning_is_word(const char *text)
{
    size_t length = 0;
    for (; text[length]; length++)
        if (text[length] <= ' ' || text[length] >= 0x7f || length == TUNING_WORD_BYTES - 1)
            return false;
    return length > 0;
}

/* ---- writing ---- */

/* Everything of a message, in one allocation each. */
struct parts {
    Vitrail__TuningChoice *choices, **choice_pointers;
    Vitrail__TuningPlace *places, **place_pointers;
    size_t place_count;
};

static void parts_close(struct parts *parts)
{
    free(parts->choices);
    free(parts->choice_pointers);
    free(parts->places);
    free(parts->place_pointers);
}

static bool parts_open(struct parts *parts, size_t count)
{
    *parts = (struct parts){.choices = calloc(count + 1, sizeof *parts->choices),
                            .choice_pointers = calloc(count + 1, sizeof *parts->choice_pointers),
                            .places = calloc(count + 1, sizeof *parts->places),
                            .place_pointers = calloc(count + 1, sizeof *parts->place_pointers)};
    return parts->choices && parts->choice_pointers && parts->places && parts->place_pointers;
}

static bool same_place(const struct tuning_row *a, const struct tuning_row *b)
{
    return strcmp(a->device, b->device) == 0 && strcmp(a->libraries, b->libraries) == 0;
}

/* Strings are borrowed: the message is packed and forgotten. */
static void fill(struct parts *parts, const struct tuning_row *rows, int count)
{
    Vitrail__TuningPlace *place = NULL;
    for (int i = 0; i < count; i++) {
        if (i == 0 || !same_place(&rows[i - 1], &rows[i])) {
            place = parts->place_pointers[parts->place_count] = &parts->places[parts->place_count];
            parts->place_count++;
            vitrail__tuning_place__init(place);
            place->device = (char *)rows[i].device;
            place->libraries = (char *)rows[i].libraries;
            place->choices = &parts->choice_pointers[i];
        }
        Vitrail__TuningChoice *choice = parts->choice_pointers[i] = &parts->choices[i];
        vitrail__tuning_choice__init(choice);
        choice->key = (char *)rows[i].key;
        choice->value = (char *)rows[i].value;
        place->n_choices++;
    }
}

vt_status tuning_encode(const struct tuning_row *rows, int count, uint8_t **bytes, size_t *size)
{
    Vitrail__Tuning message = VITRAIL__TUNING__INIT;
    vt_status status = VT_OK;
    struct parts parts;
    uint8_t *packed = NULL;
    if (!parts_open(&parts, (size_t)count)) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %d choices", WHAT, count);
        goto out;
    }
    fill(&parts, rows, count);
    message.format = FORMAT_VERSION;
    message.places = parts.place_pointers;
    message.n_places = parts.place_count;
    size_t body = vitrail__tuning__get_packed_size(&message);
    if (body + SEAL_BYTES > TUNING_FILE_MAX_BYTES) {
        status = VT_FAIL(VT_E_LIMIT, "%s: %zu bytes for %d choices, at most %d are written", WHAT, body, count,
                         (int)TUNING_FILE_MAX_BYTES);
        goto out;
    }
    if (!(packed = malloc(body + SEAL_BYTES))) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu bytes", WHAT, body);
        goto out;
    }
    VT_CHECK(vitrail__tuning__pack(&message, packed) == body);
    seal_write(packed, body);
    *bytes = packed;
    *size = body + SEAL_BYTES;
out:
    parts_close(&parts);
    return status;
}

/* ---- reading ---- */

static vt_status take_choice(const Vitrail__TuningPlace *place, const Vitrail__TuningChoice *choice, struct tuning_rows *out)
{
    const struct tuning_row row = {place->device, place->libraries, choice->key, choice->value};
    if (!tuning_is_word(row.device) || !tuning_is_word(row.libraries) || !tuning_is_word(row.key) || !tuning_is_word(row.value))
        return VT_FAIL(VT_E_FORMAT,
                       "%s, choice %d ('%.40s'): expected device, libraries, key and value of 1 to %d printable characters", WHAT,
                       out->count + 1, row.key, TUNING_WORD_BYTES - 1);
    out->rows[out->count++] = row;
    return VT_OK;
}

static vt_status take_rows(const Vitrail__Tuning *message, struct tuning_rows *out)
{
    size_t count = 0;
    for (size_t p = 0; p < message->n_places; p++)
        count += message->places[p]->n_choices;
    if (!(out->rows = calloc(count + 1, sizeof *out->rows)))
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu choices", WHAT, count);
    for (size_t p = 0; p < message->n_places; p++)
        for (size_t c = 0; c < message->places[p]->n_choices; c++)
            VT_TRY(take_choice(message->places[p], message->places[p]->choices[c], out));
    return VT_OK;
}

vt_status tuning_decode(const void *bytes, size_t size, struct tuning_rows *out)
{
    *out = (struct tuning_rows){0};
    if (size > TUNING_FILE_MAX_BYTES)
        return VT_FAIL(VT_E_LIMIT, "%s: %zu bytes, at most %d are read", WHAT, size, (int)TUNING_FILE_MAX_BYTES);
    VT_TRY(seal_check(WHAT, bytes, size));
    Vitrail__Tuning *message = vitrail__tuning__unpack(NULL, size, bytes);
    if (!message)
        return VT_FAIL(VT_E_FORMAT, "%s: not a tuning table", WHAT);
    out->message = message;
    vt_status status = message->format == FORMAT_VERSION
                           ? take_rows(message, out)
                           : VT_FAIL(VT_E_UNSUPPORTED, "%s: format %u, this version reads %d", WHAT, message->format, FORMAT_VERSION);
    if (status != VT_OK)
        tuning_rows_close(out);
    return status;
}

void tuning_rows_close(struct tuning_rows *rows)
{
    if (rows->message)
        vitrail__tuning__free_unpacked(rows->message, NULL);
    free(rows->rows);
    *rows = (struct tuning_rows){0};
}
