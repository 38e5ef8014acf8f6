/* Unknown keys and sections: what the user most likely meant. */
#include "base/text.h"
#include "config/options.h"

#include <stdio.h>
#include <string.h>

/* Names that users of other trainers type, too far from ours for an edit distance. */
static const struct {
    const char *theirs, *ours;
} known_as[] = {
    {"learning_rate", "optim.lr"},
    {"batch_size", "data.batch"},
    {"epochs", "train.duration"},
    {"total_epochs", "train.duration"},
    {"total_steps", "train.duration"},
    {"steps", "train.duration"},
    {"wd", "optim.weight_decay"},
    {"clip_grad", "optim.clip"},
    {"grad_clip_norm", "optim.clip"},
    {"grad_clip", "optim.clip"},
    {"warmup_epochs", "optim.warmup"},
    {"warmup_steps", "optim.warmup"},
    {"label_smoothing", "loss.smoothing"},
    {"num_classes", "model.classes"},
    {"img_size", "model.image_size"},
    {"embed_dim", "model.width"},
    {"num_heads", "model.heads"},
    {"opt", "optim.name"},
    {"sched", "optim.schedule"},
    {"workers", "data.threads"},
    {"num_workers", "data.threads"},
    {"drop_path_rate", "model.drop_path"},
    {"global_pool", "model.pool"},
    {"ema_decay", "train.ema"},
    {"model_ema_decay", "train.ema"},
    {"amp", "compute.dtype"},
    {"precision", "compute.dtype"},
    {"grad_checkpointing", "compute.recompute"},
    {"gradient_checkpointing", "compute.recompute"},
    {"activation_checkpointing", "compute.recompute"},
    {"recompute_granularity", "compute.recompute"},
    {"pretrained", "model.init_from"},
    {"output", "run.dir"},
    {"micro_batch_size", "compute.micro_batch"},
    {"accum_steps", "compute.micro_batch"},
    {"aug", "data.transform"},
};

static const char *known_name(const char *field)
{
    for (size_t i = 0; i < sizeof known_as / sizeof *known_as; i++)
        if (strcmp(field, known_as[i].theirs) == 0)
            return known_as[i].ours;
    return NULL;
}

static const char *field_of(int index)
{
    return strchr(option_at(index)->key, '.') + 1;
}

/* The right field in the wrong section: of several, where the section is the least wrong. */
static const char *same_field_elsewhere(const char *key, const char *field)
{
    const char *near = NULL;
    int best = TEXT_FAR;
    for (int i = 0; i < option_count(); i++) {
        int distance = strcmp(field_of(i), field) == 0 ? text_edit_distance(key, option_at(i)->key) : TEXT_FAR;
        if (distance < best) {
            best = distance;
            near = option_at(i)->key;
        }
    }
    return near;
}

/* A slip in section or field, then a slip in a field of any section. */
static const char *nearly_spelled(const char *key, const char *field)
{
    const char *keys[CONFIG_KEYS_MAX], *fields[CONFIG_KEYS_MAX];
    size_t count = (size_t)option_count();
    for (size_t i = 0; i < count; i++) {
        keys[i] = option_at((int)i)->key;
        fields[i] = field_of((int)i);
    }
    const char *near = text_nearest(key, keys, count);
    const char *near_field = near ? NULL : text_nearest(field, fields, count);
    for (size_t i = 0; i < count && near_field && !near; i++)
        if (fields[i] == near_field)
            near = keys[i];
    return near;
}

static const char *nearest_key(const char *key)
{
    const char *dot = strrchr(key, '.'), *field = dot ? dot + 1 : key;
    const char *near = known_name(field);
    if (!near)
        near = same_field_elsewhere(key, field);
    return near ? near : nearly_spelled(key, field);
}

vt_status option_unknown(const char *where, const char *key)
{
    const char *near = nearest_key(key), *colon = *where ? ": " : "";
    if (near)
        return VT_FAIL(VT_E_USAGE, "%s%sunknown key %.100s; did you mean %s?", where, colon, key, near);
    return VT_FAIL(VT_E_USAGE, "%s%sunknown key %.100s; vitrail help config lists them", where, colon, key);
}

/* The sections, each once, in table order; returns their number. */
static int list_sections(char names[CONFIG_KEYS_MAX][CONFIG_NAME_BYTES])
{
    int count = 0;
    for (int i = 0; i < option_count(); i++) {
        const char *key = option_at(i)->key;
        snprintf(names[count], CONFIG_NAME_BYTES, "%.*s", (int)strcspn(key, "."), key);
        if (count == 0 || strcmp(names[count], names[count - 1]) != 0)
            count++;
    }
    return count;
}

static const char *nearest_section(const char *name, char names[CONFIG_KEYS_MAX][CONFIG_NAME_BYTES], int count)
{
    const char *sections[CONFIG_KEYS_MAX];
    for (int i = 0; i < count; i++)
        sections[i] = names[i];
    const char *near = text_nearest(name, sections, (size_t)count);
    /* optimizer, evaluation, checkpoints: ours is how theirs begins. */
    for (int i = 0; i < count && !near; i++)
        if (strncmp(name, sections[i], strlen(sections[i])) == 0)
            near = sections[i];
    return near;
}

vt_status option_unknown_section(const char *where, const char *name)
{
    char names[CONFIG_KEYS_MAX][CONFIG_NAME_BYTES], list[256] = "";
    const char *colon = *where ? ": " : "";
    int count = list_sections(names);
    if (option_find(name) >= 0)
        return VT_FAIL(VT_E_USAGE, "%s%s%s is written as the section %.*s: with the key below it", where, colon, name,
                       (int)strcspn(name, "."), name);
    const char *near = nearest_section(name, names, count);
    if (!near)
        near = nearest_key(name); /* a key without its section */
    if (near)
        return VT_FAIL(VT_E_USAGE, "%s%sunknown section %.100s; did you mean %s?", where, colon, name, near);
    size_t used = 0;
    for (int i = 0; i < count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    return VT_FAIL(VT_E_USAGE, "%s%sunknown section %.100s, expected one of %s", where, colon, name, list);
}
