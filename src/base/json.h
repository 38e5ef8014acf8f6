/* JSON: the one wrapper over jansson (json.c is its only home). A `struct json` is one value. Building owns: a child
 * set into a parent belongs to it. Reading borrows: children live as long as their root. Objects keep the order of
 * their keys. Building never fails for the caller (out of memory aborts). Not thread-safe per value. */
#ifndef VT_BASE_JSON_H
#define VT_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct json;

struct json *json_new_object(void);
struct json *json_new_array(void);
/* Only for roots, and for children never set into a parent. */
void json_free(struct json **json);

/* Set a key (replaces an old value in place). Strings that are not UTF-8 get '?' for each bad byte; non-finite doubles
 * become null, as JSON has no word for them. */
void json_set_string(struct json *object, const char *key, const char *value);
void json_set_int(struct json *object, const char *key, int64_t value);
void json_set_double(struct json *object, const char *key, double value);
void json_set_bool(struct json *object, const char *key, bool value);
void json_set_null(struct json *object, const char *key);
void json_set(struct json *object, const char *key, struct json *child); /* takes child */
/* Append to an array. */
void json_add_string(struct json *array, const char *value);
void json_add_int(struct json *array, int64_t value);
void json_add_double(struct json *array, double value);
void json_add(struct json *array, struct json *child); /* takes child */

/* Compact text, one line, malloc'ed (caller frees): ',' and ':' without spaces; doubles in the shortest form that reads
 * back equal. */
char *json_to_text(const struct json *json);
/* Two-space indented, newline at the end: for files people read. */
char *json_to_pretty_text(const struct json *json);
/* Compact, with a newline: one JSONL line. VT_E_IO naming `name`; a pipe nobody reads is VT_OK. */
VT_MUST_CHECK vt_status json_write_line(const struct json *json, FILE *out, const char *name);

/* Parse one value (any kind); `name` stands in messages as "name:line: ...". Duplicate keys and trailing text are
 * refused. The result is the caller's to json_free. */
VT_MUST_CHECK vt_status json_parse(const char *text, size_t size, const char *name, struct json **out);
VT_MUST_CHECK vt_status json_parse_file(const char *path, size_t max_bytes, struct json **out);

enum json_kind {
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_INT,
    JSON_KIND_DOUBLE,
    JSON_KIND_BOOL,
    JSON_KIND_NULL
};
enum json_kind json_kind(const struct json *json);

/* A bare value of known kind; another kind aborts. json_int_of takes a bool too (0 or 1), json_double_of an int. */
const char *json_string_of(const struct json *json);
int64_t json_int_of(const struct json *json);
double json_double_of(const struct json *json);

/* Members of an object. `where` is the path of the object for messages ("config.json: pretrained_cfg"): a missing key
 * or another type is VT_E_FORMAT "where.key: expected an integer, found a string". Strings are borrowed. */
VT_MUST_CHECK vt_status json_get_string(const struct json *object, const char *where, const char *key,
                                        const char **out);
VT_MUST_CHECK vt_status json_get_int(const struct json *object, const char *where, const char *key, int64_t *out);
VT_MUST_CHECK vt_status json_get_double(const struct json *object, const char *where, const char *key,
                                        double *out); /* int too */
VT_MUST_CHECK vt_status json_get_bool(const struct json *object, const char *where, const char *key, bool *out);
VT_MUST_CHECK vt_status json_get_object(const struct json *object, const char *where, const char *key,
                                        const struct json **out);
VT_MUST_CHECK vt_status json_get_array(const struct json *object, const char *where, const char *key,
                                       const struct json **out);
/* NULL when the key is absent or `object` is no object. */
const struct json *json_find(const struct json *object, const char *key);

/* Elements of an array, or members of an object: their number. 0 for other kinds. */
size_t json_count(const struct json *json);
/* Element i of an array (i < json_count). */
const struct json *json_at(const struct json *array, size_t i);
VT_MUST_CHECK vt_status json_at_int(const struct json *array, const char *where, size_t i, int64_t *out);
VT_MUST_CHECK vt_status json_at_double(const struct json *array, const char *where, size_t i, double *out);
VT_MUST_CHECK vt_status json_at_string(const struct json *array, const char *where, size_t i, const char **out);
/* Members in order: `struct json_member m = {0}; while (json_next(object, &m)) ...`. */
struct json_member {
    const char *key;
    const struct json *value;
    void *iterator; /* private */
};
bool json_next(const struct json *object, struct json_member *member);

#endif
