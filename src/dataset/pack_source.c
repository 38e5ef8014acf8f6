#include "dataset/pack_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "dataset/order.h"

enum { VAL_STREAM = 0x76616c, MAX_CLASS_FILE = 64 << 20 };

void pack_source_close(struct pack_source *source)
{
    if (source->close)
        source->close(source);
    for (int i = 0; i < source->class_count; i++)
        free(source->class_names[i]);
    free(source->class_names);
    for (int i = 0; i < source->split_count; i++) {
        free(source->splits[i].items);
        for (int t = 0; t < source->splits[i].tar_count; t++)
            free(source->splits[i].tars[t]);
        free(source->splits[i].tars);
    }
    memset(source, 0, sizeof *source);
}

struct pack_items *pack_split(struct pack_source *source, const char *name)
{
    for (int i = 0; i < source->split_count; i++)
        if (strcmp(source->splits[i].name, name) == 0)
            return &source->splits[i];
    if (source->split_count == PACK_MAX_SPLITS)
        return NULL;
    struct pack_items *items = &source->splits[source->split_count++];
    memset(items, 0, sizeof *items);
    snprintf(items->name, sizeof items->name, "%s", name);
    return items;
}

vt_status pack_items_append(struct pack_items *items, int64_t item, int32_t label)
{
    if (items->count == items->capacity) {
        int64_t capacity = items->capacity ? 2 * items->capacity : 4096;
        struct pack_item *bigger = realloc(items->items, (size_t)capacity * sizeof *bigger);
        if (!bigger)
            return VT_FAIL(VT_E_MEMORY, "no memory for a list of %lld samples", (long long)capacity);
        items->items = bigger;
        items->capacity = capacity;
    }
    items->items[items->count++] = (struct pack_item){item, label};
    return VT_OK;
}

vt_status pack_add_class(struct pack_source *source, const char *name)
{
    char **names = realloc(source->class_names, ((size_t)source->class_count + 1) * sizeof *names);
    if (names)
        source->class_names = names;
    char *copy = names ? strdup(name) : NULL;
    if (!copy)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d class names", source->class_count + 1);
    source->class_names[source->class_count++] = copy;
    return VT_OK;
}

vt_status pack_reserve(uint8_t **buffer, size_t *capacity, size_t needed)
{
    if (needed <= *capacity)
        return VT_OK;
    uint8_t *bigger = realloc(*buffer, needed);
    if (!bigger)
        return VT_FAIL(VT_E_MEMORY, "no memory for an image of %zu bytes", needed);
    *buffer = bigger;
    *capacity = needed;
    return VT_OK;
}

vt_status pack_override_classes(const char *classes, struct pack_source *source)
{
    if (!classes)
        return VT_OK;
    char *text = NULL;
    size_t size;
    if (file_exists(classes))
        VT_TRY(file_read(classes, MAX_CLASS_FILE, &text, &size));
    else if (!(text = strdup(classes)))
        return VT_FAIL(VT_E_MEMORY, "no memory for the class names");
    int count = 0, expected = source->class_count;
    vt_status status = VT_OK;
    const char *separators = strchr(text, '\n') || file_exists(classes) ? "\r\n" : ",";
    char *rest = NULL;
    for (char *name = strtok_r(text, separators, &rest); name && status == VT_OK;
         name = strtok_r(NULL, separators, &rest)) {
        if (count < expected) {
            char *copy = strdup(name);
            if (!copy)
                status = VT_FAIL(VT_E_MEMORY, "no memory for the class names");
            free(source->class_names[count]);
            source->class_names[count] = copy;
        }
        count++;
    }
    free(text);
    VT_TRY(status);
    if (count != expected)
        return VT_FAIL(VT_E_USAGE, "classes \"%s\": %d names, the source has %d classes", classes, count, expected);
    return VT_OK;
}

struct val_option {
    double percent; /* of the split, or of each class when stratified */
    int64_t count;  /* of the split, or of each class when per_class */
    int stratified, per_class;
};

static vt_status parse_val(const char *text, struct val_option *option)
{
    char *end;
    memset(option, 0, sizeof *option);
    double number = strtod(text, &end);
    if (end != text && *end == '%' && number > 0 && number < 100) {
        option->percent = number;
        option->stratified = strcmp(end + 1, ":stratified") == 0;
        if (option->stratified || !end[1])
            return VT_OK;
    } else if (end != text && number >= 1 && number < 1e15 && number == (double)(int64_t)number) {
        option->count = (int64_t)number;
        option->per_class = strcmp(end, "/class") == 0;
        if (option->per_class || !*end)
            return VT_OK;
    }
    return VT_FAIL(VT_E_USAGE, "val \"%s\": expected 10%%, 10%%:stratified, N or N/class", text);
}

/* How many of a group of `total` go to val. */
static int64_t val_share(const struct val_option *option, int64_t total)
{
    return option->percent > 0 ? (int64_t)((double)total * option->percent / 100 + 0.5) : option->count;
}

/* Marks val members of one group: the items whose permuted rank is below the share. */
static vt_status draw_group(const struct val_option *option, uint64_t seed, uint64_t group, const char *group_name,
                            const int64_t *members, int64_t count, char *in_val)
{
    int64_t share = val_share(option, count);
    if (count == 0)
        return VT_OK;
    if (share >= count)
        return VT_FAIL(VT_E_USAGE, "val: %lld samples wanted of %s, which has %lld; at least one must stay in train",
                       (long long)share, group_name, (long long)count);
    struct permutation permutation;
    permutation_init(&permutation, (uint64_t)count, seed, VAL_STREAM + (group << 24));
    for (int64_t i = 0; i < count; i++)
        in_val[members[i]] = permutation_apply(&permutation, (uint64_t)i) < (uint64_t)share;
    return VT_OK;
}

static vt_status draw(const struct val_option *option, uint64_t seed, const struct pack_source *source,
                      const struct pack_items *train, char *in_val)
{
    int64_t *members = malloc(((size_t)train->count + 1) * sizeof *members);
    vt_status status =
        members ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory for a list of %lld samples", (long long)train->count);
    int groups = option->stratified || option->per_class ? source->class_count : 1;
    /* Counting sort by class: members of class c are [start[c], start[c + 1]). */
    int64_t *start = calloc((size_t)groups + 2, sizeof *start);
    if (!start)
        status = VT_FAIL(VT_E_MEMORY, "no memory for %d classes", groups);
    VT_TRY_OUT(status);
    for (int64_t i = 0; i < train->count; i++)
        start[(groups > 1 ? train->items[i].label : 0) + 2]++;
    for (int g = 0; g < groups; g++)
        start[g + 2] += start[g + 1];
    for (int64_t i = 0; i < train->count; i++)
        members[start[(groups > 1 ? train->items[i].label : 0) + 1]++] = i;
    for (int g = 0; g < groups; g++)
        VT_TRY_OUT(draw_group(option, seed, (uint64_t)g, groups > 1 ? source->class_names[g] : "train",
                              members + start[g], start[g + 1] - start[g], in_val));
out:
    free(members);
    free(start);
    return status;
}

vt_status pack_draw_val(const char *option_text, uint64_t seed, struct pack_source *source)
{
    struct val_option option;
    if (!option_text)
        return VT_OK;
    VT_TRY(parse_val(option_text, &option));
    for (int i = 0; i < source->split_count; i++)
        if (strcmp(source->splits[i].name, "val") == 0)
            return VT_FAIL(VT_E_USAGE, "val \"%s\": the source has a val split of its own (%lld samples)", option_text,
                           (long long)source->splits[i].count);
    struct pack_items *train = pack_split(source, "train"), *val = pack_split(source, "val");
    char *in_val = train && val ? calloc((size_t)train->count + 1, 1) : NULL;
    if (!in_val)
        return VT_FAIL(VT_E_MEMORY, "no memory to draw a val split");
    vt_status status = draw(&option, seed, source, train, in_val);
    int64_t kept = 0;
    for (int64_t i = 0; status == VT_OK && i < train->count; i++) {
        if (in_val[i])
            status = pack_items_append(val, train->items[i].item, train->items[i].label);
        else
            train->items[kept++] = train->items[i];
    }
    if (status == VT_OK)
        train->count = kept;
    free(in_val);
    if (status == VT_OK && val->count == 0)
        return VT_FAIL(VT_E_USAGE, "val \"%s\": draws no sample at all from %lld", option_text,
                       (long long)train->count);
    return status;
}
