#include "checkpoint/record.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/seal.h"
#include "checkpoint.pb-c.h"

enum { FORMAT_VERSION = 1, RECORD_MAX_BYTES = 256 << 20, CLASSES_MAX = 10 * 1000 * 1000, FILES_MAX = 1000 };

static char *text_or_empty(char *text) { return text ? text : (char *)""; }

/* Every string of the message is borrowed from the state. */
static void state_to_message(const struct checkpoint_state *state, Vitrail__Checkpoint *message)
{
    message->format = FORMAT_VERSION;
    message->writer = text_or_empty(state->version);
    message->step = state->step;
    message->position = state->position;
    message->update = state->update;
    message->skipped_steps = state->skipped_steps;
    message->nonfinite_streak = state->nonfinite_streak;
    message->evaluation_owed = state->evaluation_owed;
    message->seed = state->seed;
    message->data_seed = state->data_seed;
    message->batch = state->batch;
    message->attempt = state->attempt;
    message->world_size = state->world_size;
    message->best_metric = state->best_metric;
    message->best_step = state->best_step;
    message->config_yaml = text_or_empty(state->config_yaml);
    message->model_config_json = text_or_empty(state->model_config_json);
    message->dataset_fingerprint = state->dataset_fingerprint;
    message->dataset_uri = text_or_empty(state->dataset_uri);
    message->class_names = state->class_names;
    message->n_class_names = (size_t)state->class_count;
    message->eval_transform = text_or_empty(state->eval_transform);
    message->mean = (float *)state->mean;
    message->std = (float *)state->std;
    message->n_mean = message->n_std = sizeof state->mean / sizeof *state->mean;
    message->channels = state->channels;
    message->image_size = state->image_size;
    message->tuning.data = state->tuning;
    message->tuning.len = state->tuning ? state->tuning_bytes : 0;
}

void record_encode(const struct checkpoint_state *state, const struct file_record *files, int file_count,
                   uint8_t **bytes, size_t *size)
{
    Vitrail__Checkpoint message = VITRAIL__CHECKPOINT__INIT;
    Vitrail__CheckpointFile *list = calloc((size_t)file_count + 1, sizeof *list);
    Vitrail__CheckpointFile **pointers = calloc((size_t)file_count + 1, sizeof *pointers);
    VT_CHECK(list && pointers);
    state_to_message(state, &message);
    for (int i = 0; i < file_count; i++) {
        vitrail__checkpoint_file__init(&list[i]);
        list[i].name = (char *)files[i].name;
        list[i].bytes = files[i].bytes;
        list[i].crc32c = files[i].crc;
        list[i].n_crc32c = (size_t)files[i].chunks;
        pointers[i] = &list[i];
    }
    message.files = pointers;
    message.n_files = (size_t)file_count;
    size_t body = vitrail__checkpoint__get_packed_size(&message);
    *bytes = malloc(body + SEAL_BYTES);
    VT_CHECK(*bytes);
    VT_CHECK(vitrail__checkpoint__pack(&message, *bytes) == body);
    free(list);
    free(pointers);
    seal_write(*bytes, body);
    *size = body + SEAL_BYTES;
}

static vt_status decode_file(const char *path, const Vitrail__CheckpointFile *message, struct file_record *file)
{
    size_t length = strlen(message->name);
    if (length == 0 || length >= sizeof file->name || strchr(message->name, '/') || message->name[0] == '.')
        return VT_FAIL(VT_E_FORMAT, "%s: '%.80s' is no name of a file of a checkpoint", path, message->name);
    if (message->bytes > INT64_MAX || (uint64_t)file_chunks(message->bytes) != message->n_crc32c)
        return VT_FAIL(VT_E_FORMAT, "%s: %s has %zu checksums for %llu bytes", path, message->name, message->n_crc32c,
                       (unsigned long long)message->bytes);
    strcpy(file->name, message->name);
    file->bytes = message->bytes;
    file->chunks = file_chunks(message->bytes);
    file->crc = calloc(message->n_crc32c + 1, sizeof *file->crc);
    if (!file->crc)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu checksums", path, message->n_crc32c);
    if (message->n_crc32c)
        memcpy(file->crc, message->crc32c, message->n_crc32c * sizeof *file->crc);
    return VT_OK;
}

/* The strings of a message as the state's own. Stops at the first that has no room; the rest stay NULL. */
static bool copy_strings(const Vitrail__Checkpoint *message, struct checkpoint_state *state)
{
    if (!(state->config_yaml = strdup(message->config_yaml)) ||
        !(state->model_config_json = strdup(message->model_config_json)) ||
        !(state->dataset_uri = strdup(message->dataset_uri)) ||
        !(state->eval_transform = strdup(message->eval_transform)) || !(state->version = strdup(message->writer)))
        return false;
    if (message->tuning.len) {
        if (!(state->tuning = malloc(message->tuning.len)))
            return false;
        memcpy(state->tuning, message->tuning.data, message->tuning.len);
        state->tuning_bytes = message->tuning.len;
    }
    state->class_names = calloc(message->n_class_names + 1, sizeof *state->class_names);
    if (!state->class_names)
        return false;
    for (size_t i = 0; i < message->n_class_names; i++, state->class_count++)
        if (!(state->class_names[i] = strdup(message->class_names[i])))
            return false;
    return true;
}

static vt_status decode_state(const char *path, const Vitrail__Checkpoint *message, struct checkpoint_state *state)
{
    size_t channels = sizeof state->mean / sizeof *state->mean;
    if (message->step < 0 || message->update < 0 || message->n_class_names > CLASSES_MAX ||
        message->n_mean != channels || message->n_std != channels)
        return VT_FAIL(VT_E_FORMAT, "%s: step %lld, %lld updates, %zu classes, %zu means: out of range", path,
                       (long long)message->step, (long long)message->update, message->n_class_names, message->n_mean);
    if (message->skipped_steps < 0 || message->skipped_steps > message->step || message->nonfinite_streak < 0 ||
        message->nonfinite_streak > message->skipped_steps)
        return VT_FAIL(VT_E_FORMAT, "%s: %lld of %lld steps skipped, %d in a row at the end: out of range", path,
                       (long long)message->skipped_steps, (long long)message->step, (int)message->nonfinite_streak);
    *state = (struct checkpoint_state){
        .step = message->step, .position = message->position, .update = message->update, .seed = message->seed,
        .data_seed = message->data_seed, .batch = message->batch, .attempt = message->attempt,
        .world_size = message->world_size, .dataset_fingerprint = message->dataset_fingerprint,
        .channels = message->channels, .image_size = message->image_size, .best_metric = message->best_metric,
        .best_step = message->best_step, .skipped_steps = message->skipped_steps,
        .nonfinite_streak = message->nonfinite_streak, .evaluation_owed = message->evaluation_owed,
    };
    memcpy(state->mean, message->mean, sizeof state->mean);
    memcpy(state->std, message->std, sizeof state->std);
    if (!copy_strings(message, state))
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for the state and %zu class names", path, message->n_class_names);
    return VT_OK;
}

vt_status record_decode(const char *path, const uint8_t *bytes, size_t size, struct record *record)
{
    vt_status status = VT_OK;
    *record = (struct record){0};
    VT_TRY(seal_check(path, bytes, size));
    Vitrail__Checkpoint *message = vitrail__checkpoint__unpack(NULL, size, bytes);
    if (!message)
        return VT_FAIL(VT_E_FORMAT, "%s: not a checkpoint record", path);
    if (message->format != FORMAT_VERSION) {
        status = VT_FAIL(VT_E_UNSUPPORTED, "%s: checkpoint format %u, this version reads %d", path, message->format,
                         FORMAT_VERSION);
        goto out;
    }
    VT_TRY_OUT(decode_state(path, message, &record->state));
    if (message->n_files > FILES_MAX) {
        status = VT_FAIL(VT_E_LIMIT, "%s: %zu files, at most %d are read", path, message->n_files, FILES_MAX);
        goto out;
    }
    record->files = calloc(message->n_files + 1, sizeof *record->files);
    if (!record->files) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu files", path, message->n_files);
        goto out;
    }
    for (size_t i = 0; i < message->n_files; i++) {
        record->file_count++;
        VT_TRY_OUT(decode_file(path, message->files[i], &record->files[i]));
    }
out:
    vitrail__checkpoint__free_unpacked(message, NULL);
    if (status != VT_OK)
        record_close(record);
    return status;
}

vt_status record_read(const char *checkpoint, struct record *record)
{
    char path[4096], *bytes = NULL;
    size_t size;
    *record = (struct record){0};
    VT_TRY(path_join(path, sizeof path, checkpoint, RECORD_NAME));
    VT_TRY(file_read(path, RECORD_MAX_BYTES, &bytes, &size));
    vt_status status = record_decode(path, (const uint8_t *)bytes, size, record);
    free(bytes);
    return status;
}

void record_close(struct record *record)
{
    for (int i = 0; i < record->file_count; i++)
        free(record->files[i].crc);
    free(record->files);
    checkpoint_state_close(&record->state);
    *record = (struct record){0};
}

void checkpoint_state_close(struct checkpoint_state *state)
{
    free(state->config_yaml);
    free(state->model_config_json);
    free(state->dataset_uri);
    for (int i = 0; i < state->class_count; i++)
        free(state->class_names[i]);
    free(state->class_names);
    free(state->eval_transform);
    free(state->tuning);
    free(state->version);
    *state = (struct checkpoint_state){0};
}
