/* Small text helpers: near-miss hints for unknown names, numbers for people. */
#ifndef VT_BASE_TEXT_H
#define VT_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Edits (insert, delete, replace, swap of neighbours) between a and b, case-blind. Over 127 characters: TEXT_FAR. */
enum { TEXT_FAR = 1000 };
int text_edit_distance(const char *a, const char *b);

/* The candidate nearest to `word`, or NULL when none is near enough (a third of its length, at least 2 edits).
 * candidates[i] of `count`; NULL entries are skipped. */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);

/* Shortest decimal text that strtod reads back to the same double: "0.1", "1e-06", "nan". Writes at most 32 bytes. */
void text_format_double(double value, char *text, size_t bytes);
/* "512 B", "1.5 KiB", "24.0 GiB" */
void text_format_bytes(double value, char *text, size_t bytes);
/* "950", "12.8k", "1.20M", "3.40G" */
void text_format_count(double value, char *text, size_t bytes);
/* "250 us", "1.5 ms", "12.3 s", "3 min 05 s", "2 h 07 min", "3 d 04 h" */
void text_format_seconds(double seconds, char *text, size_t bytes);

/* The ending of a plural: "" for 1, else "s". */
const char *text_s(int64_t count);

/* Adds formatted text behind what `text` holds; what does not fit into `bytes` is cut. */
void text_append(char *text, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Does `name` match the glob `pattern`? '*' = any run of characters (dots too), '?' = any one. */
int text_glob(const char *pattern, const char *name);

#endif
