#include "base/json.h"
#include "base/check.h"
#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* struct json is never defined: its pointers are json_t pointers under another name. */
static json_t *theirs(const struct json *json)
{
    return (json_t *)json;
}
static struct json *ours(json_t *json)
{
    return (struct json *)json;
}

struct json *json_new_object(void)
{
    json_t *object = json_object();
    VT_CHECK(object);
    return ours(object);
}

struct json *json_new_array(void)
{
    json_t *array = json_array();
    VT_CHECK(array);
    return ours(array);
}

void json_free(struct json **json)
{
    json_decref(theirs(*json));
    *json = NULL;
}

/* json_string refuses what is not UTF-8; then every byte above ASCII becomes '?'. */
static json_t *make_string(const char *value)
{
    json_t *string = json_string(value);
    if (string)
        return string;
    char *clean = strdup(value);
    VT_CHECK(clean);
    for (char *p = clean; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    string = json_string(clean);
    free(clean);
    VT_CHECK(string);
    return string;
}

static json_t *make_double(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void put(struct json *object, const char *key, json_t *value)
{
    VT_CHECK(value);
    if (json_object_set(theirs(object), key, value) != 0) {
        json_t *clean = make_string(key); /* a key that is not UTF-8 */
        VT_CHECK(json_object_set(theirs(object), json_string_value(clean), value) == 0);
        json_decref(clean);
    }
    json_decref(value);
}

void json_set_string(struct json *object, const char *key, const char *value)
{
    put(object, key, make_string(value));
}
void json_set_int(struct json *object, const char *key, int64_t value)
{
    put(object, key, json_integer(value));
}
void json_set_double(struct json *object, const char *key, double value)
{
    put(object, key, make_double(value));
}
void json_set_bool(struct json *object, const char *key, bool value)
{
    put(object, key, json_boolean(value));
}
void json_set_null(struct json *object, const char *key)
{
    put(object, key, json_null());
}
void json_set(struct json *object, const char *key, struct json *child)
{
    put(object, key, theirs(child));
}

static void append(struct json *array, json_t *value)
{
    VT_CHECK(value);
    VT_CHECK(json_array_append_new(theirs(array), value) == 0);
}

void json_add_string(struct json *array, const char *value)
{
    append(array, make_string(value));
}
void json_add_int(struct json *array, int64_t value)
{
    append(array, json_integer(value));
}
void json_add_double(struct json *array, double value)
{
    append(array, make_double(value));
}
void json_add(struct json *array, struct json *child)
{
    append(array, theirs(child));
}

vt_status json_parse(const char *text, size_t size, const char *name, struct json **out)
{
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root)
        return VT_FAIL(VT_E_FORMAT, "%s:%d: not valid JSON: %s (column %d)", name, error.line, error.text,
                       error.column);
    *out = ours(root);
    return VT_OK;
}

vt_status json_parse_file(const char *path, size_t max_bytes, struct json **out)
{
    char *text = NULL;
    size_t size = 0;
    VT_TRY(file_read(path, max_bytes, &text, &size));
    vt_status status = json_parse(text, size, path, out);
    free(text);
    return status;
}

enum json_kind json_kind(const struct json *json)
{
    switch (json_typeof(theirs(json))) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_INTEGER:
        return JSON_KIND_INT;
    case JSON_REAL:
        return JSON_KIND_DOUBLE;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
        break;
    }
    return JSON_KIND_NULL;
}

const char *json_string_of(const struct json *json)
{
    VT_CHECK(json_is_string(theirs(json)));
    return json_string_value(theirs(json));
}

int64_t json_int_of(const struct json *json)
{
    const json_t *value = theirs(json);
    VT_CHECK(json_is_integer(value) || json_is_boolean(value));
    return json_is_integer(value) ? json_integer_value(value) : json_is_true(value);
}

double json_double_of(const struct json *json)
{
    VT_CHECK(json_is_number(theirs(json)));
    return json_number_value(theirs(json));
}

static const char *kind_name(const json_t *value)
{
    static const char *const names[] = {"an object", "an array",      "a string", "an integer",
                                        "a number",  "true or false", "null"};
    return value ? names[json_kind(ours((json_t *)value))] : "nothing";
}

static vt_status wrong_kind(const char *where, const char *key, const char *expected, const json_t *found)
{
    if (!found)
        return VT_FAIL(VT_E_FORMAT, "%s.%s: missing, expected %s", where, key, expected);
    return VT_FAIL(VT_E_FORMAT, "%s.%s: expected %s, found %s", where, key, expected, kind_name(found));
}

const struct json *json_find(const struct json *object, const char *key)
{
    return ours(json_object_get(theirs(object), key));
}

/* The four scalar readers work on a value found by key or by index; `key` is for the message. */
static vt_status read_string(json_t *value, const char *where, const char *key, const char **out)
{
    if (!json_is_string(value))
        return wrong_kind(where, key, "a string", value);
    *out = json_string_value(value);
    return VT_OK;
}

static vt_status read_int(json_t *value, const char *where, const char *key, int64_t *out)
{
    if (!json_is_integer(value))
        return wrong_kind(where, key, "an integer", value);
    *out = json_integer_value(value);
    return VT_OK;
}

static vt_status read_double(json_t *value, const char *where, const char *key, double *out)
{
    if (!json_is_number(value))
        return wrong_kind(where, key, "a number", value);
    *out = json_number_value(value);
    return VT_OK;
}

vt_status json_get_string(const struct json *object, const char *where, const char *key, const char **out)
{
    return read_string(theirs(json_find(object, key)), where, key, out);
}

vt_status json_get_int(const struct json *object, const char *where, const char *key, int64_t *out)
{
    return read_int(theirs(json_find(object, key)), where, key, out);
}

vt_status json_get_double(const struct json *object, const char *where, const char *key, double *out)
{
    return read_double(theirs(json_find(object, key)), where, key, out);
}

vt_status json_get_bool(const struct json *object, const char *where, const char *key, bool *out)
{
    const json_t *value = theirs(json_find(object, key));
    if (!json_is_boolean(value))
        return wrong_kind(where, key, "true or false", value);
    *out = json_is_true(value);
    return VT_OK;
}

vt_status json_get_object(const struct json *object, const char *where, const char *key, const struct json **out)
{
    json_t *value = theirs(json_find(object, key));
    if (!json_is_object(value))
        return wrong_kind(where, key, "an object", value);
    *out = ours(value);
    return VT_OK;
}

vt_status json_get_array(const struct json *object, const char *where, const char *key, const struct json **out)
{
    json_t *value = theirs(json_find(object, key));
    if (!json_is_array(value))
        return wrong_kind(where, key, "an array", value);
    *out = ours(value);
    return VT_OK;
}

size_t json_count(const struct json *json)
{
    return json_is_array(theirs(json)) ? json_array_size(theirs(json)) : json_object_size(theirs(json));
}

const struct json *json_at(const struct json *array, size_t i)
{
    return ours(json_array_get(theirs(array), i));
}

vt_status json_at_int(const struct json *array, const char *where, size_t i, int64_t *out)
{
    char index[24];
    snprintf(index, sizeof index, "%zu", i);
    return read_int(theirs(json_at(array, i)), where, index, out);
}

vt_status json_at_double(const struct json *array, const char *where, size_t i, double *out)
{
    char index[24];
    snprintf(index, sizeof index, "%zu", i);
    return read_double(theirs(json_at(array, i)), where, index, out);
}

vt_status json_at_string(const struct json *array, const char *where, size_t i, const char **out)
{
    char index[24];
    snprintf(index, sizeof index, "%zu", i);
    return read_string(theirs(json_at(array, i)), where, index, out);
}

bool json_next(const struct json *object, struct json_member *member)
{
    json_t *table = theirs(object);
    member->iterator = member->iterator ? json_object_iter_next(table, member->iterator) : json_object_iter(table);
    if (!member->iterator)
        return false;
    member->key = json_object_iter_key(member->iterator);
    member->value = ours(json_object_iter_value(member->iterator));
    return true;
}
