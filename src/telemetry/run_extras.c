/* config.yaml, env.json and eval.json of a run folder. */
#include "telemetry/run_data.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

enum { SETTINGS_MAX = 1024, CLASSES_MAX = 1000000, EXTRA_BYTES_MAX = 256 << 20 };

/* Cut a trailing comment and spaces. A '#' begins a comment after a space and outside quotes. */
static void trim_line(char *line)
{
    char quote = '\0';
    for (char *at = line; *at; at++) {
        if (quote ? *at == quote : *at == '"' || *at == '\'')
            quote = quote ? '\0' : *at;
        else if (!quote && *at == '#' && (at == line || at[-1] == ' '))
            *at = '\0';
        if (!*at)
            break;
    }
    size_t size = strlen(line);
    while (size > 0 && strchr(" \t\r", line[size - 1]))
        line[--size] = '\0';
}

static void add_setting(struct run_data *run, const char *section, const char *key, const char *value)
{
    if (run->setting_count == SETTINGS_MAX)
        return;
    struct run_setting *grown = realloc(run->settings, (size_t)(run->setting_count + 1) * sizeof *grown);
    VT_CHECK(grown);
    run->settings = grown;
    struct run_setting *setting = &grown[run->setting_count];
    int bytes = asprintf(&setting->key, "%s%s%s", section, *section ? "." : "", key);
    setting->value = strdup(value);
    VT_CHECK(bytes >= 0 && setting->value);
    run->setting_count++;
}

/* A list written over several lines belongs to the key above it. */
static void extend_setting(struct run_data *run, const char *more)
{
    if (run->setting_count == 0)
        return;
    struct run_setting *last = &run->settings[run->setting_count - 1];
    char *longer = NULL;
    VT_CHECK(asprintf(&longer, "%s%s%s", last->value, *last->value ? " " : "", more) >= 0);
    free(last->value);
    last->value = longer;
}

/* The form `vitrail train` writes: sections, and under each "  key: value". Not a YAML reader: a report only shows
 * lines. */
static void read_settings(struct run_data *run, char *text)
{
    char section[64] = "";
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        trim_line(line);
        const char *body = line + strspn(line, " ");
        if (!*body)
            continue;
        char *colon = strstr(line, ": ");
        size_t size = strlen(line);
        if (*body == '-' || (!colon && line[size - 1] != ':')) {
            extend_setting(run, body);
        } else if (!colon) {
            line[size - 1] = '\0';
            if (body == line)
                snprintf(section, sizeof section, "%s", body);
            else
                add_setting(run, section, body, "");
        } else {
            *colon = '\0';
            add_setting(run, body == line ? "" : section, body, colon + 2 + strspn(colon + 2, " "));
        }
    }
}

static void load_settings(struct run_data *run)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    if (path_join(path, sizeof path, run->dir, "config.yaml") != VT_OK || !file_exists(path))
        return;
    if (file_read(path, EXTRA_BYTES_MAX, &text, &size) != VT_OK) {
        log_warn("%s", status_message());
        return;
    }
    read_settings(run, text);
    free(text);
}

/* The file as an object, or NULL with a warning if it is there and none. */
static struct json *load_object(const struct run_data *run, const char *name)
{
    char path[PATH_MAX];
    struct json *root = NULL;
    if (path_join(path, sizeof path, run->dir, name) != VT_OK || !file_exists(path))
        return NULL;
    if (json_parse_file(path, EXTRA_BYTES_MAX, &root) != VT_OK) {
        log_warn("%s", status_message());
        return NULL;
    }
    return root;
}

/* "hosts a, b": a string, a number, or the distinct strings of an array. */
static void describe(FILE *out, const struct json *object, const char *key, bool *first)
{
    const struct json *value = json_find(object, key);
    enum json_kind kind = value ? json_kind(value) : JSON_KIND_NULL;
    if (kind != JSON_KIND_STRING && kind != JSON_KIND_INT && (kind != JSON_KIND_ARRAY || json_count(value) == 0))
        return;
    fprintf(out, "%s%s ", *first ? "" : " · ", key);
    *first = false;
    if (kind == JSON_KIND_STRING)
        fputs(json_string_of(value), out);
    if (kind == JSON_KIND_INT)
        fprintf(out, "%lld", (long long)json_int_of(value));
    for (size_t i = 0, shown = 0; kind == JSON_KIND_ARRAY && i < json_count(value); i++) {
        const struct json *item = json_at(value, i), *before = i > 0 ? json_at(value, i - 1) : NULL;
        bool again = before && json_kind(before) == JSON_KIND_STRING && json_kind(item) == JSON_KIND_STRING &&
                     strcmp(json_string_of(before), json_string_of(item)) == 0;
        if (json_kind(item) != JSON_KIND_STRING || again)
            continue;
        if (shown++ == 4) {
            fprintf(out, ", ...");
            break;
        }
        fprintf(out, "%s%s", shown > 1 ? ", " : "", json_string_of(item));
    }
}

/* env.json is an object, or an array of one per attempt: the last one counts. */
static void load_environment(struct run_data *run)
{
    static const char *const keys[] = {"device", "ranks", "comm", "hosts", "version"};
    struct json *root = load_object(run, "env.json");
    const struct json *newest = root;
    if (root && json_kind(root) == JSON_KIND_OBJECT && json_find(root, "attempts"))
        newest = json_find(root, "attempts");
    if (newest && json_kind(newest) == JSON_KIND_ARRAY)
        newest = json_count(newest) > 0 ? json_at(newest, json_count(newest) - 1) : NULL;
    if (newest && json_kind(newest) == JSON_KIND_OBJECT) {
        size_t size = 0;
        bool first = true;
        FILE *out = open_memstream(&run->environment, &size);
        VT_CHECK(out);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            describe(out, newest, keys[i], &first);
        VT_CHECK(fclose(out) == 0);
        const struct json *flops = json_find(newest, "train_flops_per_image");
        if (flops && (json_kind(flops) == JSON_KIND_INT || json_kind(flops) == JSON_KIND_DOUBLE))
            run->flops_per_image = json_double_of(flops);
    }
    json_free(&root);
}

static vt_status read_class(const struct json *item, struct run_class *out)
{
    const char *name = NULL;
    if (json_kind(item) != JSON_KIND_OBJECT)
        return VT_FAIL(VT_E_FORMAT, "eval.json: a class is no object");
    VT_TRY(json_get_string(item, "eval.json: classes", "name", &name));
    VT_TRY(json_get_int(item, "eval.json: classes", "count", &out->count));
    VT_TRY(json_get_int(item, "eval.json: classes", "correct", &out->correct));
    if (out->correct < 0 || out->count < out->correct)
        return VT_FAIL(VT_E_FORMAT, "eval.json: class %s: correct %lld is not within 0..count %lld", name,
                       (long long)out->correct, (long long)out->count);
    out->name = strdup(name);
    VT_CHECK(out->name);
    return VT_OK;
}

static vt_status read_evaluation(struct run_data *run, const struct json *root)
{
    const struct json *classes = NULL;
    if (json_kind(root) != JSON_KIND_OBJECT)
        return VT_FAIL(VT_E_FORMAT, "eval.json: expected an object");
    VT_TRY(json_get_array(root, "eval.json", "classes", &classes));
    if (json_count(classes) > CLASSES_MAX)
        return VT_FAIL(VT_E_LIMIT, "eval.json: %zu classes, at most %d", json_count(classes), CLASSES_MAX);
    run->classes = calloc(json_count(classes) + 1, sizeof *run->classes);
    VT_CHECK(run->classes);
    for (size_t i = 0; i < json_count(classes); i++) {
        VT_TRY(read_class(json_at(classes, i), &run->classes[i]));
        run->class_count++;
    }
    return json_get_double(root, "eval.json", "top1", &run->eval_top1);
}

static void load_evaluation(struct run_data *run)
{
    struct json *root = load_object(run, "eval.json");
    if (root && read_evaluation(run, root) != VT_OK)
        log_warn("%s/%s", run->dir, status_message());
    json_free(&root);
}

void run_data_load_extras(struct run_data *run)
{
    load_settings(run);
    load_environment(run);
    load_evaluation(run);
}
