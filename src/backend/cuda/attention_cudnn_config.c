/* An engine configuration in words, so that a resume finds the very one again whatever order the heuristic has by then; and whether
 * its results can be relied on to be the same again. */
#include <cudnn.h>
#include <inttypes.h>
#include <stdio.h>

#include "backend/cuda/attention_cudnn_graph.h"

enum { KNOBS_MAX = 32, NOTES_MAX = CUDNN_NUMERICAL_NOTE_TYPE_COUNT };

/* Appends; VT_E_MEMORY when it does not fit. */
static vt_status append(char *text, size_t bytes, size_t *used, int64_t a, const char *between, int64_t b)
{
    int n = between ? snprintf(text + *used, bytes - *used, ".k%" PRId64 "%s%" PRId64, a, between, b)
                    : snprintf(text + *used, bytes - *used, "e%" PRId64, a);
    if (n < 0 || *used + (size_t)n >= bytes)
        return VT_FAIL(VT_E_MEMORY, "cuDNN: a configuration of many knobs");
    *used += (size_t)n;
    return VT_OK;
}

static vt_status find_engine(cudnn_descriptor config, cudnn_descriptor *engine)
{
    VT_TRY(cudnn_new(CUDNN_BACKEND_ENGINE_DESCRIPTOR, engine));
    return cudnn_get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, NULL, engine);
}

static vt_status write_engine(cudnn_descriptor config, cudnn_descriptor *engine, char *text, size_t bytes, size_t *used)
{
    int64_t index = -1;
    VT_TRY(find_engine(config, engine));
    VT_TRY(cudnn_get(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, NULL, &index));
    return append(text, bytes, used, index, NULL, 0);
}

static vt_status write_knobs(cudnn_descriptor config, cudnn_descriptor knobs[KNOBS_MAX], char *text, size_t bytes, size_t *used)
{
    int64_t count = 0;
    for (int i = 0; i < KNOBS_MAX; i++)
        VT_TRY(cudnn_new(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]));
    VT_TRY(cudnn_get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS_MAX, &count, knobs));
    for (int64_t i = 0; i < count && i < KNOBS_MAX; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)0;
        int64_t value = 0;
        VT_TRY(cudnn_get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, NULL, &type));
        VT_TRY(cudnn_get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, NULL, &value));
        VT_TRY(append(text, bytes, used, (int64_t)type, "=", value));
    }
    return VT_OK;
}

vt_status cudnn_config_text(cudnn_descriptor config, char *text, size_t bytes)
{
    cudnn_descriptor engine = NULL, knobs[KNOBS_MAX] = {NULL};
    size_t used = 0;
    vt_status status = write_engine(config, &engine, text, bytes, &used);
    if (status == VT_OK)
        status = write_knobs(config, knobs, text, bytes, &used);
    for (int i = 0; i < KNOBS_MAX; i++)
        cudnn_free(&knobs[i]);
    cudnn_free(&engine);
    return status;
}

static vt_status read_notes(cudnn_descriptor engine, bool *repeats)
{
    cudnnBackendNumericalNote_t note[NOTES_MAX];
    int64_t count = 0;
    VT_TRY(cudnn_get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES_MAX, &count, note));
    *repeats = true;
    for (int64_t i = 0; i < count && i < NOTES_MAX; i++)
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            *repeats = false;
    return VT_OK;
}

vt_status cudnn_config_repeats(cudnn_descriptor config, bool *repeats)
{
    cudnn_descriptor engine = NULL;
    vt_status status = find_engine(config, &engine);
    if (status == VT_OK)
        status = read_notes(engine, repeats);
    cudnn_free(&engine);
    return status;
}
