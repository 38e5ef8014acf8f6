/* One value in and out of its field: checks of type and range, and the text that reads back equal. */
#include "base/check.h"
#include "base/text.h"
#include "config/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static vt_status bad(const struct option *option, const char *where, const char *text, const char *expected)
{
    return VT_FAIL(VT_E_USAGE, "%s: %s: \"%.100s\" is not a valid value, expected %s", where, option->key, text,
                   expected);
}

static vt_status out_of_range(const struct option *option, const char *where, const char *text)
{
    char lo[40], hi[40];
    text_format_double(option->min, lo, sizeof lo);
    text_format_double(option->max, hi, sizeof hi);
    return VT_FAIL(VT_E_USAGE, "%s: %s: %.100s is out of range, expected %s to %s", where, option->key, text, lo, hi);
}

static vt_status parse_int(const struct option *option, const char *text, const char *where, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end)
        return bad(option, where, text, "an integer");
    if (errno == ERANGE || (double)value < option->min || (double)value > option->max)
        return out_of_range(option, where, text);
    *out = value;
    return VT_OK;
}

static vt_status parse_float(const struct option *option, const char *text, const char *where, double *out)
{
    char *end;
    /* Decimal digits only: strtod also takes hexadecimal, nan and inf. */
    size_t plain = strspn(text, "0123456789+-.eE");
    double value = strtod(text, &end);
    if (end == text || *end || plain != strlen(text))
        return bad(option, where, text, "a number");
    if (!(value >= option->min && value <= option->max))
        return out_of_range(option, where, text);
    *out = value;
    return VT_OK;
}

/* The choice that an old word stands for, or the word itself. */
static const char *today(const struct option *option, const char *text)
{
    for (const char *const *word = option->formerly; word && *word; word += 2)
        if (strcmp(text, word[0]) == 0)
            return word[1];
    return text;
}

static vt_status parse_enum(const struct option *option, const char *text, const char *where, int *out)
{
    char choices[256] = "";
    size_t used = 0;
    for (int i = 0; option->choices[i]; i++) {
        if (strcmp(today(option, text), option->choices[i]) == 0) {
            *out = i;
            return VT_OK;
        }
        used += (size_t)snprintf(choices + used, sizeof choices - used, "%s%s", i ? ", " : "", option->choices[i]);
        VT_CHECK(used < sizeof choices);
    }
    return VT_FAIL(VT_E_USAGE, "%s: %s: \"%.100s\" is not a choice, expected one of %s", where, option->key, text,
                   choices);
}

/* Printable UTF-8, as YAML can carry it, so that every dump loads again. */
static bool is_printable(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        int more = *p < 0x80 ? 0 : (*p & 0xE0) == 0xC0 ? 1 : (*p & 0xF0) == 0xE0 ? 2 : (*p & 0xF8) == 0xF0 ? 3 : -1;
        if (more < 0)
            return false;
        static const uint32_t mask[] = {0x7F, 0x1F, 0x0F, 0x07}, least[] = {0, 0x80, 0x800, 0x10000};
        uint32_t code = *p++ & mask[more];
        for (int i = 0; i < more; i++, p++) {
            if ((*p & 0xC0) != 0x80)
                return false;
            code = code << 6 | (*p & 0x3F);
        }
        if (code < least[more] || code > 0x10FFFF || code < 0x20 || (code >= 0x7F && code < 0xA0))
            return false;
        if ((code >= 0xD800 && code < 0xE000) || code == 0xFEFF || code == 0xFFFE || code == 0xFFFF)
            return false;
    }
    return true;
}

static vt_status check_text(const struct option *option, const char *text, size_t capacity, const char *where)
{
    if (strlen(text) >= capacity)
        return VT_FAIL(VT_E_USAGE, "%s: %s: \"%.40s...\" is longer than %zu bytes", where, option->key, text,
                       capacity - 1);
    if (!is_printable(text))
        return VT_FAIL(VT_E_USAGE, "%s: %s: has bytes that are not printable UTF-8 text", where, option->key);
    return VT_OK;
}

static vt_status wrong_count(const struct option *option, int count, const char *where, const char *either)
{
    int least = option->min_count ? option->min_count : 1;
    char range[24] = "";
    if (least < option->max_count)
        snprintf(range, sizeof range, "%d to ", least);
    return VT_FAIL(VT_E_USAGE, "%s: %s: %d number%s, expected %s%d%s", where, option->key, count, text_s(count), range,
                   option->max_count, either);
}

static vt_status set_floats(const struct option *option, const struct option_value *value, const char *where,
                            struct config_floats *field)
{
    struct config_floats floats = {0};
    if (value->shape == VALUE_SCALAR && option->min_count == 0 && strcmp(value->scalar, "auto") == 0) {
        *field = floats;
        return VT_OK;
    }
    const char *either = option->min_count == 0 ? " or auto" : "";
    if (value->shape != VALUE_LIST)
        return VT_FAIL(VT_E_USAGE, "%s: %s: expected a list of numbers, as [0.9, 0.999]%s", where, option->key, either);
    if (value->count < (option->min_count ? option->min_count : 1) || value->count > option->max_count)
        return wrong_count(option, value->count, where, either);
    for (int i = 0; i < value->count; i++)
        VT_TRY(parse_float(option, value->element[i], where, &floats.value[i]));
    floats.count = value->count;
    *field = floats;
    return VT_OK;
}

static vt_status set_rules(const struct option *option, const struct option_value *value, const char *where,
                           struct config_rules *field)
{
    struct config_rules rules = {0};
    if (value->shape != VALUE_RULES && !(value->shape == VALUE_LIST && value->count == 0))
        return VT_FAIL(VT_E_USAGE, "%s: %s: expected a list of pattern: value, as [\"*.bias\": 0]", where, option->key);
    for (int i = 0; i < value->count; i++) {
        VT_TRY(check_text(option, value->pattern[i], sizeof rules.rule[i].pattern, where));
        if (!*value->pattern[i])
            return VT_FAIL(VT_E_USAGE, "%s: %s: an empty pattern matches nothing", where, option->key);
        strcpy(rules.rule[i].pattern, value->pattern[i]);
        VT_TRY(parse_float(option, value->element[i], where, &rules.rule[i].value));
    }
    rules.count = value->count;
    *field = rules;
    return VT_OK;
}

static vt_status set_duration(const struct option *option, const char *text, const char *where, struct duration *field)
{
    vt_status status = duration_parse(text, field);
    return status == VT_OK ? VT_OK : status_prefix(status, "%s: %s", where, option->key);
}

/* The rest take one scalar. */
static vt_status set_scalar(const struct option *option, const char *text, const char *where, void *field)
{
    int64_t integer = 0;
    int choice = 0;
    switch (option->type) {
    case OPTION_INT:
        VT_TRY(parse_int(option, text, where, &integer));
        *(int *)field = (int)integer;
        return VT_OK;
    case OPTION_INT64:
        return parse_int(option, text, where, field);
    case OPTION_FLOAT:
        return parse_float(option, text, where, field);
    case OPTION_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return bad(option, where, text, "true or false");
        *(bool *)field = text[0] == 't';
        return VT_OK;
    case OPTION_STRING:
        VT_TRY(check_text(option, text, option->bytes, where));
        /* The whole field, so that equal configs have equal bytes. */
        memset(field, 0, option->bytes);
        memcpy(field, text, strlen(text));
        return VT_OK;
    case OPTION_ENUM:
        VT_TRY(parse_enum(option, text, where, &choice));
        memcpy(field, &choice, sizeof choice);
        return VT_OK;
    case OPTION_DURATION:
        return set_duration(option, text, where, field);
    case OPTION_FLOATS:
    case OPTION_RULES:
        break;
    }
    VT_CHECK(!"a scalar option");
    return VT_OK;
}

vt_status option_set(const struct option *option, const struct option_value *value, const char *where,
                     struct run_config *config)
{
    void *field = (char *)config + option->offset;
    if (value->shape == VALUE_SCALAR && !*value->scalar && !value->quoted)
        return VT_FAIL(VT_E_USAGE, "%s: %s: has no value, expected %s%s", where, option->key, option_type_name(option),
                       option->type == OPTION_STRING ? " (\"\" for none)" : "");
    if (option->type == OPTION_FLOATS)
        return set_floats(option, value, where, field);
    if (option->type == OPTION_RULES)
        return set_rules(option, value, where, field);
    if (value->shape != VALUE_SCALAR)
        return VT_FAIL(VT_E_USAGE, "%s: %s: is a list, expected one value (%s)", where, option->key,
                       option_type_name(option));
    return set_scalar(option, value->scalar, where, field);
}

/* Plain where YAML cannot mistake it, else in double quotes. */
static void write_string(const char *text, FILE *out)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+()|,=%#";
    bool plain = text[0] && strspn(text, safe) == strlen(text) && !strchr("#-%|,=", text[0]);
    if (plain) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            putc('\\', out);
        putc(*p, out);
    }
    putc('"', out);
}

static void write_floats(const struct config_floats *floats, FILE *out)
{
    char number[40];
    if (floats->count == 0)
        fputs("auto", out);
    for (int i = 0; i < floats->count; i++) {
        text_format_double(floats->value[i], number, sizeof number);
        fprintf(out, "%s%s%s", i ? ", " : "[", number, i == floats->count - 1 ? "]" : "");
    }
}

static void write_rules(const struct config_rules *rules, FILE *out)
{
    char number[40];
    putc('[', out);
    for (int i = 0; i < rules->count; i++) {
        /* Always quoted: '*' and ',' mean other things in a YAML list. */
        fputs(i ? ", \"" : "\"", out);
        for (const char *p = rules->rule[i].pattern; *p; p++) {
            if (*p == '"' || *p == '\\')
                putc('\\', out);
            putc(*p, out);
        }
        text_format_double(rules->rule[i].value, number, sizeof number);
        fprintf(out, "\": %s", number);
    }
    putc(']', out);
}

char *option_text(const struct option *option, const struct run_config *config)
{
    const void *field = (const char *)config + option->offset;
    char *text = NULL, number[48];
    size_t size = 0;
    int choice = 0;
    FILE *out = open_memstream(&text, &size);
    VT_CHECK(out);
    switch (option->type) {
    case OPTION_INT:
        fprintf(out, "%d", *(const int *)field);
        break;
    case OPTION_INT64:
        fprintf(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case OPTION_FLOAT:
        text_format_double(*(const double *)field, number, sizeof number);
        fputs(number, out);
        break;
    case OPTION_BOOL:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case OPTION_STRING:
        write_string(field, out);
        break;
    case OPTION_ENUM:
        memcpy(&choice, field, sizeof choice);
        fputs(option->choices[choice], out);
        break;
    case OPTION_DURATION:
        duration_format(*(const struct duration *)field, number, sizeof number);
        fputs(number, out);
        break;
    case OPTION_FLOATS:
        write_floats(field, out);
        break;
    case OPTION_RULES:
        write_rules(field, out);
        break;
    }
    VT_CHECK(fclose(out) == 0 && text);
    return text;
}
