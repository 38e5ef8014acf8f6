#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 128 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

int text_edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n >= WORD_MAX || m >= WORD_MAX)
        return TEXT_FAR;
    int rows[3][WORD_MAX]; /* rows i-2, i-1, i of the table, by i % 3 */
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
    int limit = (int)strlen(word) / 3, best = TEXT_FAR;
    const char *nearest = NULL;
    if (limit < 2)
        limit = 2;
    for (size_t i = 0; i < count; i++) {
        if (!candidates[i])
            continue;
        int distance = text_edit_distance(word, candidates[i]);
        /* A candidate all of whose letters would change is no hint. */
        if (distance < best && distance <= limit && distance < (int)strlen(candidates[i])) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}

void text_format_double(double value, char *text, size_t bytes)
{
    if (!isfinite(value)) {
        snprintf(text, bytes, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    char candidate[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(candidate, sizeof candidate, "%.*g", digits, value);
        if (strtod(candidate, NULL) == value)
            break;
    }
    snprintf(text, bytes, "%s", candidate);
}

void text_format_bytes(double value, char *text, size_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int unit = 0;
    while (fabs(value) >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    snprintf(text, bytes, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
}

void text_format_count(double value, char *text, size_t bytes)
{
    double size = fabs(value);
    if (size < 1e4)
        snprintf(text, bytes, "%.*f", size == floor(size) ? 0 : 1, value);
    else if (size < 1e6)
        snprintf(text, bytes, "%.1fk", value * 1e-3);
    else if (size < 1e9)
        snprintf(text, bytes, "%.2fM", value * 1e-6);
    else if (size < 1e12)
        snprintf(text, bytes, "%.2fG", value * 1e-9);
    else
        snprintf(text, bytes, "%.2fT", value * 1e-12);
}

void text_format_seconds(double seconds, char *text, size_t bytes)
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e15) {
        snprintf(text, bytes, "?");
        return;
    }
    long long whole = (long long)(seconds + 0.5);
    if (seconds < 0.9995e-3)
        snprintf(text, bytes, "%.0f us", seconds * 1e6);
    else if (seconds < 0.9995)
        snprintf(text, bytes, "%.1f ms", seconds * 1e3);
    else if (seconds < 59.95)
        snprintf(text, bytes, "%.1f s", seconds);
    else if (whole < 3600)
        snprintf(text, bytes, "%lld min %02lld s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(text, bytes, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
    else
        snprintf(text, bytes, "%lld d %02lld h", whole / 86400, whole % 86400 / 3600);
}

const char *text_s(int64_t count)
{
    return count == 1 ? "" : "s";
}

void text_append(char *text, size_t bytes, const char *format, ...)
{
    size_t used = strnlen(text, bytes);
    va_list arguments;
    va_start(arguments, format);
    if (used < bytes)
        vsnprintf(text + used, bytes - used, format, arguments);
    va_end(arguments);
}

int text_glob(const char *pattern, const char *name)
{
    /* One star is open at a time: on a mismatch, it swallows one character more. Linear in practice, no recursion. */
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return 0;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
