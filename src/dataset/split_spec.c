#include "dataset/split_spec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "dataset/dataset.h"
#include "dataset/manifest.h"

static vt_status fail(const char *text)
{
    return VT_FAIL(VT_E_USAGE, "split \"%s\": expected NAME, NAME[:10%%], NAME[500:] or NAME[10%%:20%%]", text);
}

/* A number, "12" or "12.5%", up to `stop`; nothing = not given. */
static bool parse_bound(const char **at, char stop, struct split_bound *bound)
{
    memset(bound, 0, sizeof *bound);
    const char *p = *at;
    if (*p != stop) {
        char *end;
        if (!isdigit((unsigned char)*p))
            return false;
        bound->given = true;
        bound->percent_value = strtod(p, &end);
        bound->percent = *end == '%';
        if (!bound->percent)
            bound->samples = strtoll(p, &end, 10);
        p = end + bound->percent;
        if (*p != stop || (bound->percent && bound->percent_value > 100))
            return false;
    }
    *at = p + 1;
    return true;
}

vt_status split_spec_parse(const char *text, struct split_spec *spec)
{
    memset(spec, 0, sizeof *spec);
    size_t name = strcspn(text, "[");
    if (name < 1 || name >= sizeof spec->name)
        return fail(text);
    memcpy(spec->name, text, name);
    if (!text[name])
        return VT_OK;
    const char *at = text + name + 1;
    if (!parse_bound(&at, ':', &spec->begin) || !parse_bound(&at, ']', &spec->end) || *at)
        return fail(text);
    return VT_OK;
}

static int64_t place(const struct split_bound *bound, int64_t samples, int64_t absent)
{
    if (!bound->given)
        return absent;
    return bound->percent ? (int64_t)((double)samples * bound->percent_value / 100 + 0.5) : bound->samples;
}

vt_status split_spec_range(const struct split_spec *spec, const char *text, int64_t samples, int64_t *begin,
                           int64_t *end)
{
    *begin = place(&spec->begin, samples, 0);
    *end = place(&spec->end, samples, samples);
    if (*begin < 0 || *end > samples || *begin >= *end)
        return VT_FAIL(VT_E_USAGE, "split \"%s\": samples %lld to %lld of %lld: empty or outside", text,
                       (long long)*begin, (long long)*end, (long long)samples);
    return VT_OK;
}

/* A dataset by its bare name, whatever characters are in it. */
static bool is_dataset(const char *path)
{
    char manifest[4096];
    if (strcmp(path_base(path), MANIFEST_FILE) == 0 && file_exists(path))
        return true;
    return path_join(manifest, sizeof manifest, path, MANIFEST_FILE) == VT_OK && file_exists(manifest);
}

vt_status dataset_parse_uri(const char *uri, const char *default_split, char *dir, char *spec, size_t bytes)
{
    const char *hash = strrchr(uri, '#');
    if (hash && is_dataset(uri))
        hash = NULL;
    size_t dir_bytes = hash ? (size_t)(hash - uri) : strlen(uri);
    const char *split = hash ? hash + 1 : default_split;
    if (dir_bytes == 0 || !*split)
        return VT_FAIL(VT_E_USAGE, "dataset \"%s\": expected DIR or DIR#SPLIT[:10%%]", uri);
    if (dir_bytes >= bytes || strlen(split) >= bytes)
        return VT_FAIL(VT_E_LIMIT, "dataset \"%s\": longer than %zu bytes", uri, bytes);
    memcpy(dir, uri, dir_bytes);
    dir[dir_bytes] = 0;
    snprintf(spec, bytes, "%s", split);
    struct split_spec parsed;
    return split_spec_parse(spec, &parsed);
}
