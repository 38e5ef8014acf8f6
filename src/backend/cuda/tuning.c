#include "backend/cuda/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static const char HEADER[] = "vitrail-tuning 1";

struct entry {
    char *name; /* "DEVICE LIBRARIES KEY" */
    char *value;
};

struct tuning {
    char place[2 * TUNING_WORD_BYTES]; /* "DEVICE LIBRARIES " of this process */
    size_t device_length;              /* of its "DEVICE " */
    struct entry *entries;
    int count, capacity;
};

/* A word of the text and the blank after it; returns the end. */
static char *write_word(char *at, const char *text)
{
    const char *end = at + TUNING_WORD_BYTES - 2;
    for (const char *p = text; *p && at < end; p++)
        *at++ = *p > ' ' && *p < 0x7f ? *p : '_';
    *at++ = ' ';
    *at = '\0';
    return at;
}

vt_status tuning_open(const char *device, const char *libraries, struct tuning **out)
{
    struct tuning *tuning = calloc(1, sizeof *tuning);
    if (!tuning)
        return VT_FAIL(VT_E_MEMORY, "no memory for the tuning table");
    char *end = write_word(tuning->place, device);
    tuning->device_length = (size_t)(end - tuning->place);
    write_word(end, libraries);
    *out = tuning;
    return VT_OK;
}

static void clear(struct tuning *tuning)
{
    for (int i = 0; i < tuning->count; i++) {
        free(tuning->entries[i].name);
        free(tuning->entries[i].value);
    }
    free(tuning->entries);
    tuning->entries = NULL;
    tuning->count = tuning->capacity = 0;
}

void tuning_close(struct tuning **tuning)
{
    if (!*tuning)
        return;
    clear(*tuning);
    free(*tuning);
    *tuning = NULL;
}

static struct entry *lookup(const struct tuning *tuning, const char *name)
{
    for (int i = 0; i < tuning->count; i++)
        if (strcmp(tuning->entries[i].name, name) == 0)
            return &tuning->entries[i];
    return NULL;
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text);
    VT_CHECKF(copy != NULL, "no memory for a tuning entry");
    return copy;
}

static void put(struct tuning *tuning, const char *name, const char *value)
{
    struct entry *entry = lookup(tuning, name);
    if (entry) {
        char *fresh = copy_of(value);
        free(entry->value);
        entry->value = fresh;
        return;
    }
    if (tuning->count == tuning->capacity) {
        tuning->capacity = tuning->capacity ? 2 * tuning->capacity : 32;
        tuning->entries = realloc(tuning->entries, (size_t)tuning->capacity * sizeof *tuning->entries);
        VT_CHECKF(tuning->entries != NULL, "no memory for %d tuning entries", tuning->capacity);
    }
    tuning->entries[tuning->count++] = (struct entry){copy_of(name), copy_of(value)};
}

static bool is_word(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length >= TUNING_WORD_BYTES)
        return false;
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return false;
    return true;
}

static void name_of(const struct tuning *tuning, const char *key, char name[3 * TUNING_WORD_BYTES])
{
    VT_CHECKF(is_word(key), "tuning key '%s'", key);
    snprintf(name, 3 * TUNING_WORD_BYTES, "%s%s", tuning->place, key);
}

const char *tuning_find(const struct tuning *tuning, const char *key)
{
    char name[3 * TUNING_WORD_BYTES];
    name_of(tuning, key, name);
    const struct entry *entry = lookup(tuning, name);
    return entry ? entry->value : NULL;
}

void tuning_put(struct tuning *tuning, const char *key, const char *value)
{
    char name[3 * TUNING_WORD_BYTES];
    VT_CHECKF(is_word(value), "tuning value '%s' of %s", value, key);
    name_of(tuning, key, name);
    put(tuning, name, value);
}

static vt_status bad_line(int number, const char *expected)
{
    return VT_FAIL(VT_E_FORMAT, "tuning table, line %d: expected %s", number, expected);
}

/* line: DEVICE LIBRARIES KEY VALUE; cut into name and value in place. */
static vt_status parse_line(char *line, int number, char **value)
{
    int blanks = 0;
    char *last = NULL;
    for (char *p = line; *p; p++)
        if (*p == ' ') {
            blanks++;
            last = p;
        }
    if (blanks != 3)
        return bad_line(number, "four words: device, library versions, key, value");
    *last = '\0';
    *value = last + 1;
    char words[3 * TUNING_WORD_BYTES], *rest = words;
    if (strlen(line) >= sizeof words)
        return bad_line(number, "words of at most 255 printable characters");
    memcpy(words, line, strlen(line) + 1);
    bool good = is_word(*value);
    for (char *word; (word = strsep(&rest, " "));)
        good = good && is_word(word);
    return good ? VT_OK : bad_line(number, "words of at most 255 printable characters");
}

static vt_status import_lines(struct tuning *tuning, char *text)
{
    char *rest = text, *line = strsep(&rest, "\n");
    if (strcmp(line, HEADER) != 0)
        return bad_line(1, "\"vitrail-tuning 1\"");
    for (int number = 2; (line = strsep(&rest, "\n")); number++) {
        char *value;
        if (!*line)
            continue;
        VT_TRY(parse_line(line, number, &value));
        if (tuning)
            put(tuning, line, value);
    }
    return VT_OK;
}

vt_status tuning_import(struct tuning *tuning, const char *text)
{
    char *copy = copy_of(text);
    vt_status status = import_lines(NULL, copy); /* looks first */
    free(copy);
    VT_TRY(status);
    copy = copy_of(text);
    status = import_lines(tuning, copy);
    free(copy);
    return status;
}

bool tuning_outdated(const struct tuning *tuning, char libraries[TUNING_WORD_BYTES])
{
    const char *found = NULL;
    for (int i = 0; i < tuning->count; i++) {
        const char *name = tuning->entries[i].name;
        if (strncmp(name, tuning->place, strlen(tuning->place)) == 0)
            return false;
        if (strncmp(name, tuning->place, tuning->device_length) == 0)
            found = name + tuning->device_length;
    }
    if (found)
        snprintf(libraries, TUNING_WORD_BYTES, "%.*s", (int)strcspn(found, " "), found);
    return found != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct entry *const *)a)->name, (*(const struct entry *const *)b)->name);
}

vt_status tuning_export(const struct tuning *tuning, char **text)
{
    size_t bytes = 0;
    const struct entry **sorted = calloc((size_t)tuning->count + 1, sizeof *sorted);
    FILE *out = open_memstream(text, &bytes);
    VT_CHECKF(sorted && out, "no memory for the tuning table's text");
    for (int i = 0; i < tuning->count; i++)
        sorted[i] = &tuning->entries[i];
    qsort(sorted, (size_t)tuning->count, sizeof *sorted, by_name);
    fprintf(out, "%s\n", HEADER);
    for (int i = 0; i < tuning->count; i++)
        fprintf(out, "%s %s\n", sorted[i]->name, sorted[i]->value);
    free(sorted);
    return fclose(out) == 0 ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory for the tuning table's text");
}
