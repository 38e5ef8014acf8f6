#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/tuning_file.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "cli/cli.h"
#include "dataset/inspect.h"
#include "tensor/shape.h"

static struct json *tensors_json(const struct safetensors *file)
{
    struct json *list = json_new_array();
    for (int i = 0; i < file->count; i++) {
        struct json *entry = json_new_object(), *shape = json_new_array();
        json_set_string(entry, "name", file->tensors[i].name);
        json_set_string(entry, "dtype", dtype_name(file->tensors[i].dtype));
        for (int d = 0; d < file->tensors[i].rank; d++)
            json_add_int(shape, file->tensors[i].dim[d]);
        json_set(entry, "shape", shape);
        json_add(list, entry);
    }
    return list;
}

static void print_tensors(const struct safetensors *file)
{
    for (int i = 0; i < file->count; i++) {
        char shape[SHAPE_TEXT_BYTES];
        printf("  %-44s %-5s %s\n", file->tensors[i].name, dtype_name(file->tensors[i].dtype),
               shape_text(file->tensors[i].dim, file->tensors[i].rank, shape, sizeof shape));
    }
}

static vt_status inspect_safetensors(const char *path, bool json)
{
    struct safetensors file;
    VT_TRY(safetensors_open(path, &file));
    vt_status status = VT_OK;
    if (json) {
        struct json *list = tensors_json(&file);
        status = json_write_line(list, stdout, "stdout");
        json_free(&list);
    } else {
        printf("%s: safetensors, %d tensors\n", path, file.count);
        print_tensors(&file);
    }
    safetensors_close(&file);
    return status;
}

static struct json *floats_json(const float *values, int count)
{
    struct json *list = json_new_array();
    for (int i = 0; i < count; i++)
        json_add_double(list, (double)values[i]);
    return list;
}

static struct json *state_json(const char *path, const struct checkpoint_state *state)
{
    struct json *object = json_new_object();
    json_set_string(object, "checkpoint", path);
    json_set_int(object, "step", state->step);
    json_set_int(object, "position", (int64_t)state->position);
    json_set_int(object, "skipped_steps", state->skipped_steps);
    json_set_int(object, "nonfinite_streak", state->nonfinite_streak);
    json_set_bool(object, "evaluation_owed", state->evaluation_owed);
    json_set_int(object, "attempt", state->attempt);
    json_set_int(object, "world_size", state->world_size);
    json_set_int(object, "batch", state->batch);
    json_set_string(object, "dataset", state->dataset_uri);
    json_set_int(object, "classes", state->class_count);
    json_set_string(object, "eval_transform", state->eval_transform);
    int channels = state->channels < 4 ? state->channels : 4;
    json_set(object, "mean", floats_json(state->mean, channels));
    json_set(object, "std", floats_json(state->std, channels));
    struct json *names = json_new_array();
    for (int i = 0; i < state->class_count; i++)
        json_add_string(names, state->class_names[i]);
    json_set(object, "class_names", names);
    json_set_double(object, "best_metric", state->best_metric);
    json_set_int(object, "best_step", state->best_step);
    json_set_string(object, "version", state->version);
    json_set_string(object, "config", state->config_yaml);
    return object;
}

static vt_status inspect_checkpoint(const char *path, bool json)
{
    char folder[CONFIG_PATH_BYTES + 64], model[CONFIG_PATH_BYTES + 128];
    struct checkpoint_state state = {0};
    vt_status status;
    VT_TRY(checkpoint_resolve(path, false, folder, sizeof folder));
    VT_TRY_OUT(checkpoint_read_state(folder, &state));
    if (json) {
        struct json *object = state_json(folder, &state);
        status = json_write_line(object, stdout, "stdout");
        json_free(&object);
    } else {
        printf("%s: checkpoint of step %lld (attempt %d, %d rank%s), stream position %llu\nwritten by %s\ndata %s, %d classes, "
               "evaluated with %s\n",
               folder, (long long)state.step, state.attempt, state.world_size, text_s(state.world_size), (unsigned long long)state.position, state.version,
               state.dataset_uri, state.class_count, state.eval_transform);
        if (state.skipped_steps)
            printf("%lld non-finite steps skipped, the last %d of them just before\n", (long long)state.skipped_steps,
                   state.nonfinite_streak);
        if (state.evaluation_owed)
            puts("stopped before the evaluation of this step was done: it is the first thing when the run goes on");
        if (state.best_metric == state.best_metric)
            printf("best val/top1 %.4f at step %lld\n", state.best_metric, (long long)state.best_step);
        status = checkpoint_verify(folder);
        if (status == VT_OK)
            puts("all checksums match");
        if (status == VT_OK)
            status = path_join(model, sizeof model, folder, "model.safetensors");
        if (status == VT_OK)
            status = inspect_safetensors(model, false);
    }
out:
    checkpoint_state_close(&state);
    return status;
}

/* Rows of one place follow each other: whether row i begins one. */
static bool begins_place(const struct tuning_rows *table, int i)
{
    const struct tuning_row *rows = table->rows;
    return i == 0 || strcmp(rows[i - 1].device, rows[i].device) != 0 || strcmp(rows[i - 1].libraries, rows[i].libraries) != 0;
}

static struct json *tuning_json(const char *path, const struct tuning_rows *table)
{
    struct json *object = json_new_object(), *places = json_new_array(), *choices = NULL;
    json_set_string(object, "tuning", path);
    for (int i = 0; i < table->count; i++) {
        if (begins_place(table, i)) {
            struct json *place = json_new_object();
            choices = json_new_object();
            json_set_string(place, "device", table->rows[i].device);
            json_set_string(place, "libraries", table->rows[i].libraries);
            json_set(place, "choices", choices);
            json_add(places, place);
        }
        json_set_string(choices, table->rows[i].key, table->rows[i].value);
    }
    json_set(object, "places", places);
    return object;
}

static vt_status inspect_tuning(const char *path, bool json)
{
    struct tuning_rows table;
    char *bytes;
    size_t size;
    VT_TRY(file_read(path, TUNING_FILE_MAX_BYTES, &bytes, &size));
    vt_status status = tuning_decode(bytes, size, &table);
    free(bytes);
    if (status != VT_OK)
        return status_prefix(status, "%s", path);
    if (json) {
        struct json *object = tuning_json(path, &table);
        status = json_write_line(object, stdout, "stdout");
        json_free(&object);
    } else {
        printf("%s: %d choice%s made by timing\n", path, table.count, text_s(table.count));
        for (int i = 0; i < table.count; i++) {
            if (begins_place(&table, i))
                printf("%s, %s\n", table.rows[i].device, table.rows[i].libraries);
            printf("  %s  %s\n", table.rows[i].key, table.rows[i].value);
        }
    }
    tuning_rows_close(&table);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A checkpoint, a run or a folder of checkpoints: what checkpoint_resolve takes; datasets have a manifest. */
static bool looks_like_run(const char *path)
{
    char file[CONFIG_PATH_BYTES + 64];
    static const char *const signs[] = {"checkpoint.pb", "config.yaml", "latest", "model.safetensors"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (path_join(file, sizeof file, path, signs[i]) == VT_OK && file_exists(file))
            return true;
    return false;
}

vt_status verb_inspect(int argc, char **argv)
{
    bool json = false;
    const struct arg_option options[] = {{"--json", NULL, &json}};
    char **positional;
    int count;
    VT_TRY(args_parse(argc, argv, options, 1, 1, 1, &positional, &count));
    const char *path = positional[0];
    if (!file_exists(path))
        return VT_FAIL(VT_E_IO, "%s: no such file or folder", path);
    if (ends_with(path, ".safetensors"))
        return inspect_safetensors(path, json);
    if (ends_with(path, "tuning.pb"))
        return inspect_tuning(path, json);
    if (file_is_dir(path) && looks_like_run(path))
        return inspect_checkpoint(path, json);
    const struct inspect_desc desc = {.path = path, .json = json};
    return inspect_dataset(&desc, stdout);
}
