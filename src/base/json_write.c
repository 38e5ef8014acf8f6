/* JSON values as text. jansson's own writer prints doubles with a fixed number of digits (0.1 as 0.10000000000000001);
 * ours prints the shortest form that reads back equal. Works through json.h alone. */
#include "base/check.h"
#include "base/json.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void write_string(const char *text, FILE *out)
{
    putc('"', out);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", out);
        else if (c == '\t')
            fputs("\\t", out);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

static void write_double(double value, FILE *out)
{
    char text[40];
    text_format_double(value, text, sizeof text);
    fputs(text, out);
    /* So that it reads back as a double, not as an integer. */
    if (!strpbrk(text, ".e"))
        fputs(".0", out);
}

/* New line and indent, when pretty (indent >= 0). */
static void write_break(int indent, FILE *out)
{
    if (indent >= 0)
        fprintf(out, "\n%*s", 2 * indent, "");
}

static void write_value(const struct json *json, int indent, FILE *out);

static void write_object(const struct json *json, int indent, FILE *out)
{
    int inner = indent >= 0 ? indent + 1 : -1, first = 1;
    putc('{', out);
    for (struct json_member member = {0}; json_next(json, &member); first = 0) {
        if (!first)
            putc(',', out);
        write_break(inner, out);
        write_string(member.key, out);
        fputs(indent >= 0 ? ": " : ":", out);
        write_value(member.value, inner, out);
    }
    if (!first)
        write_break(indent, out);
    putc('}', out);
}

static void write_array(const struct json *json, int indent, FILE *out)
{
    /* Arrays of scalars (mean, shapes) stay on one line. */
    int nested = 0;
    for (size_t i = 0; i < json_count(json); i++)
        nested |= json_kind(json_at(json, i)) <= JSON_KIND_ARRAY;
    int inner = nested && indent >= 0 ? indent + 1 : -1;
    putc('[', out);
    for (size_t i = 0; i < json_count(json); i++) {
        if (i)
            fputs(indent >= 0 && !nested ? ", " : ",", out);
        write_break(inner, out);
        write_value(json_at(json, i), inner, out);
    }
    if (nested)
        write_break(indent, out);
    putc(']', out);
}

static void write_value(const struct json *json, int indent, FILE *out)
{
    switch (json_kind(json)) {
    case JSON_KIND_OBJECT:
        write_object(json, indent, out);
        break;
    case JSON_KIND_ARRAY:
        write_array(json, indent, out);
        break;
    case JSON_KIND_STRING:
        write_string(json_string_of(json), out);
        break;
    case JSON_KIND_INT:
        fprintf(out, "%lld", (long long)json_int_of(json));
        break;
    case JSON_KIND_DOUBLE:
        write_double(json_double_of(json), out);
        break;
    case JSON_KIND_BOOL:
        fputs(json_int_of(json) ? "true" : "false", out);
        break;
    case JSON_KIND_NULL:
        fputs("null", out);
        break;
    }
}

static char *to_text(const struct json *json, int indent)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    VT_CHECK(out);
    write_value(json, indent, out);
    if (indent >= 0)
        putc('\n', out);
    VT_CHECK(fclose(out) == 0 && text);
    return text;
}

char *json_to_text(const struct json *json)
{
    return to_text(json, -1);
}
char *json_to_pretty_text(const struct json *json)
{
    return to_text(json, 0);
}

vt_status json_write_line(const struct json *json, FILE *out, const char *name)
{
    errno = 0;
    write_value(json, -1, out);
    putc('\n', out);
    if ((fflush(out) != 0 || ferror(out)) && errno != EPIPE)
        return VT_FAIL(VT_E_IO, "%s: cannot write: %s", name, strerror(errno));
    return VT_OK;
}
