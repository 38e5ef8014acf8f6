/* A config as text: the dump, one value, where it came from, what differs, and the help. */
#include "base/check.h"
#include "base/text.h"
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

static int section_length(const char *key)
{
    return (int)strcspn(key, ".");
}

static bool starts_section(int index)
{
    const char *key = option_at(index)->key;
    return index == 0 || strncmp(key, option_at(index - 1)->key, (size_t)section_length(key) + 1) != 0;
}

static void origin_of(const struct run_config *config, int index, char *text, size_t bytes)
{
    switch (config->origin[index].kind) {
    case CONFIG_FROM_DEFAULT:
        snprintf(text, bytes, "default");
        break;
    case CONFIG_FROM_ARGUMENT:
        snprintf(text, bytes, "command line");
        break;
    case CONFIG_FROM_FILE:
        snprintf(text, bytes, "%s:%d", config->source, config->origin[index].line);
        break;
    }
}

void run_config_origin(const struct run_config *config, const char *key, char *text, size_t bytes)
{
    int index = option_find(key);
    VT_CHECKF(index >= 0, "%s", key);
    origin_of(config, index, text, bytes);
}

void run_config_dump(const struct run_config *config, bool origins, FILE *out)
{
    for (int i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        int section = section_length(option->key);
        if (starts_section(i))
            fprintf(out, "%s%.*s:\n", i ? "\n" : "", section, option->key);
        char *value = option_text(option, config);
        int used = fprintf(out, "  %s: %s", option->key + section + 1, value);
        free(value);
        if (origins) {
            char text[CONFIG_PATH_BYTES + 32];
            origin_of(config, i, text, sizeof text);
            /* The path is any bytes; a comment is printable text. */
            for (char *p = text; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                    *p = '?';
            fprintf(out, "%*s # %s", used < 40 ? 40 - used : 0, "", text);
        }
        putc('\n', out);
    }
}

char *run_config_to_text(const struct run_config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    VT_CHECK(out);
    run_config_dump(config, false, out);
    VT_CHECK(fclose(out) == 0 && text);
    return text;
}

vt_status run_config_get(const struct run_config *config, const char *key, char **text)
{
    int index = option_find(key);
    if (index < 0)
        return option_unknown("", key);
    *text = option_text(option_at(index), config);
    return VT_OK;
}

static bool same_value(const struct option *option, const struct run_config *a, const struct run_config *b)
{
    char *x = option_text(option, a), *y = option_text(option, b);
    bool same = strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

bool run_config_is_default(const struct run_config *config, const char *key)
{
    struct run_config defaults;
    int index = option_find(key);
    VT_CHECKF(index >= 0, "%s", key);
    VT_CHECK(run_config_load(NULL, NULL, 0, &defaults) == VT_OK);
    return same_value(option_at(index), config, &defaults);
}

int run_config_diff(const struct run_config *before, const struct run_config *after, struct run_config_change *changes,
                    int capacity)
{
    int count = 0;
    for (int i = 0; i < option_count() && count < capacity; i++)
        if (!same_value(option_at(i), before, after))
            changes[count++] = (struct run_config_change){option_at(i)->key, option_at(i)->may_change};
    return count;
}

vt_status run_config_check_resume(const struct run_config *before, const struct run_config *after)
{
    struct run_config_change changes[CONFIG_KEYS_MAX];
    int count = run_config_diff(before, after, changes, CONFIG_KEYS_MAX);
    char list[VT_MESSAGE_BYTES - 200] = "";
    size_t used = 0;
    for (int i = 0; i < count && used < sizeof list; i++) {
        if (changes[i].may_change)
            continue;
        const struct option *option = option_at(option_find(changes[i].key));
        char *x = option_text(option, before), *y = option_text(option, after);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s (%.80s, now %.80s)", used ? ", " : "",
                                 option->key, x, y);
        free(x);
        free(y);
    }
    if (used)
        return VT_FAIL(VT_E_USAGE, "a resumed run may not change %s; set them back, or start a new run.dir", list);
    return VT_OK;
}

static void help_allowed(const struct option *option, FILE *out)
{
    char lo[40], hi[40];
    if (option->type == OPTION_ENUM) {
        for (int i = 0; option->choices[i]; i++)
            fprintf(out, "%s%s", i ? " | " : "", option->choices[i]);
        return;
    }
    fputs(option_type_name(option), out);
    if (option->min < option->max) {
        text_format_double(option->min, lo, sizeof lo);
        text_format_double(option->max, hi, sizeof hi);
        fprintf(out, ", %s to %s", lo, hi);
    }
    if (option->type == OPTION_DURATION)
        fputs(" (90ep, 10ksteps, 1.2Mimages, 3%)", out);
}

static void help_option(const struct option *option, FILE *out)
{
    fprintf(out, "%s: %s\n    %s\n    ", option->key, *option->initial ? option->initial : "\"\"", option->help);
    help_allowed(option, out);
    fprintf(out, "%s\n", option->may_change ? "; may change on resume" : "");
}

vt_status run_config_help(FILE *out, const char *name)
{
    int shown = 0;
    size_t length = name ? strlen(name) : 0;
    for (int i = 0; i < option_count(); i++) {
        const char *key = option_at(i)->key;
        if (name && strcmp(key, name) != 0 && !(strncmp(key, name, length) == 0 && key[length] == '.'))
            continue;
        if (shown && starts_section(i))
            putc('\n', out);
        help_option(option_at(i), out);
        shown++;
    }
    if (shown)
        return VT_OK;
    return strchr(name, '.') ? option_unknown("", name) : option_unknown_section("", name);
}
