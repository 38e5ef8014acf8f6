#include "config/run_config.h"
#include "base/check.h"
#include "base/file.h"
#include "config/options.h"
#include "config/yaml_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_FILE_MAX = 1 << 20, WHERE_BYTES = CONFIG_PATH_BYTES + 32 };

/* What one source is read into, and what its values are stamped with. */
struct source {
    struct run_config *config;
    const char *name; /* the file; NULL = defaults or command line */
    struct config_origin origin;
};

static void describe_place(const struct source *source, int line, char *where, size_t bytes)
{
    switch (source->origin.kind) {
    case CONFIG_FROM_FILE:
        snprintf(where, bytes, "%s:%d", source->name, line);
        break;
    case CONFIG_FROM_ARGUMENT:
        snprintf(where, bytes, "command line");
        break;
    case CONFIG_FROM_DEFAULT:
        snprintf(where, bytes, "default");
        break;
    }
}

static vt_status take_entry(void *context, const char *key, const struct option_value *value, int line)
{
    struct source *source = context;
    char where[WHERE_BYTES];
    describe_place(source, line, where, sizeof where);
    int index = option_find(key);
    if (index < 0)
        return option_unknown(where, key);
    VT_TRY(option_set(option_at(index), value, where, source->config));
    source->config->origin[index] = source->origin;
    if (source->origin.kind == CONFIG_FROM_FILE)
        source->config->origin[index].line = line;
    return VT_OK;
}

/* Text of a value outside a file: lists are YAML, everything else is taken as it stands, so that no '#', ':' or '*' in
 * a path needs quotes. */
static vt_status take_text(struct source *source, const char *key, const char *text)
{
    char where[WHERE_BYTES];
    describe_place(source, 0, where, sizeof where);
    int index = option_find(key);
    if (index < 0)
        return option_unknown(where, key);
    enum option_type type = option_at(index)->type;
    if (type == OPTION_RULES || (type == OPTION_FLOATS && text[0] == '['))
        return yaml_read_value(text, where, key, take_entry, source);
    struct option_value value = {.shape = VALUE_SCALAR, .scalar = text, .quoted = type == OPTION_STRING};
    return take_entry(source, key, &value, 0);
}

static void set_defaults(struct run_config *config)
{
    memset(config, 0, sizeof *config);
    struct source source = {.config = config, .origin = {CONFIG_FROM_DEFAULT, 0}};
    for (int i = 0; i < option_count(); i++)
        VT_CHECKF(take_text(&source, option_at(i)->key, option_at(i)->initial) == VT_OK, "%s", status_message());
}

static vt_status take_override(struct run_config *config, const char *argument, int number)
{
    char key[CONFIG_NAME_BYTES];
    const char *equals = strchr(argument, '=');
    if (!equals || equals == argument || !memchr(argument, '.', (size_t)(equals - argument)))
        return VT_FAIL(VT_E_USAGE, "command line: \"%.100s\": expected section.key=value", argument);
    snprintf(key, sizeof key, "%.*s", (int)(equals - argument), argument);
    struct source source = {.config = config, .origin = {CONFIG_FROM_ARGUMENT, number}};
    return take_text(&source, key, equals + 1);
}

static vt_status take_overrides(struct run_config *config, const char *const *overrides, int count)
{
    int given_by[CONFIG_KEYS_MAX] = {0};
    for (int i = 0; i < count; i++) {
        VT_TRY(take_override(config, overrides[i], i + 1));
        for (int k = 0; k < option_count(); k++) {
            if (config->origin[k].kind != CONFIG_FROM_ARGUMENT || config->origin[k].line != i + 1)
                continue;
            if (given_by[k])
                return VT_FAIL(VT_E_USAGE, "command line: duplicate key %s, given twice", option_at(k)->key);
            given_by[k] = i + 1;
        }
    }
    return VT_OK;
}

/* run.dir auto: runs/<config file without folder and .yaml>. */
static vt_status resolve_dir(struct run_config *config)
{
    if (strcmp(config->run.dir, "auto") != 0)
        return VT_OK;
    char stem[CONFIG_PATH_BYTES];
    snprintf(stem, sizeof stem, "%s", config->source[0] ? path_base(config->source) : "default");
    char *dot = strrchr(stem, '.');
    if (dot && dot != stem && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        *dot = '\0';
    memset(config->run.dir, 0, sizeof config->run.dir);
    return path_join(config->run.dir, sizeof config->run.dir, "runs", stem);
}

/* model.image_size where nobody gave one: timm's names carry it, as vit_tiny_patch16_384.tag does. */
static void resolve_image_size(struct run_config *config)
{
    struct config_origin *origin = &config->origin[option_find("model.image_size")];
    const char *patch = strstr(config->model.name, "_patch");
    int size = 0, end = 0;
    if (origin->kind != CONFIG_FROM_DEFAULT || !patch || sscanf(patch, "_patch%*5u_%5d%n", &size, &end) != 1 || size < 1 ||
        (patch[end] && patch[end] != '.'))
        return;
    config->model.image_size = size;
    *origin = config->origin[option_find("model.name")];
}

static vt_status load_text(const char *text, size_t size, const char *name, const char *const *overrides, int count,
                           struct run_config *out)
{
    struct run_config config;
    set_defaults(&config);
    if (text) {
        if (strlen(name) >= sizeof config.source)
            return VT_FAIL(VT_E_USAGE, "%.100s...: the path is longer than %zu bytes", name, sizeof config.source - 1);
        strcpy(config.source, name);
        struct source source = {.config = &config, .name = name, .origin = {CONFIG_FROM_FILE, 0}};
        VT_TRY(yaml_read(text, size, name, take_entry, &source));
    }
    VT_TRY(take_overrides(&config, overrides, count));
    resolve_image_size(&config);
    VT_TRY(run_config_check(&config));
    VT_TRY(resolve_dir(&config));
    *out = config;
    return VT_OK;
}

vt_status run_config_load(const char *path, const char *const *overrides, int count, struct run_config *out)
{
    if (!path)
        return load_text(NULL, 0, NULL, overrides, count, out);
    char *text = NULL;
    size_t size = 0;
    VT_TRY(file_read(path, CONFIG_FILE_MAX, &text, &size));
    vt_status status = load_text(text, size, path, overrides, count, out);
    free(text);
    return status;
}

vt_status run_config_from_text(const char *text, const char *name, const char *const *overrides, int count,
                               struct run_config *out)
{
    return load_text(text, strlen(text), name, overrides, count, out);
}
