#include "backend/cuda/attention_ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_cudnn.h"

enum { NOT_SUPPORTED = 801 }; /* cudaErrorNotSupported: of this call; unlike a launch failure it says nothing of the device */

struct attention_kind {
    const char *name;
    int (*choices)(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward);
    vt_status (*open)(struct cuda_backend *cuda, const struct attention_desc *desc, struct attention_way *way);
    void (*enqueue)(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                    const struct attention_call *call, void *workspace);
    enum attention_form (*form)(bool backward); /* cuDNN's only */
    bool own_sums;                              /* backward fills partial sums */
};

static float *partial_sums_of(const struct attention_way *way, const struct attention_call *call, void *workspace)
{
    return call->sums ? (float *)(void *)((char *)workspace + way->sums_at) : NULL;
}

/* ---- own kernels ---- */

static int head_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward)
{
    int choices = backward ? attention_head_backward_choices(desc, cuda->shared_bytes)
                           : attention_head_forward_choices(desc, cuda->shared_bytes);
    if (choices == 0)
        (void)VT_FAIL(VT_E_UNSUPPORTED, "attention: the whole-head kernel does not take this shape");
    return choices;
}

static vt_status open_head(struct cuda_backend *cuda, const struct attention_desc *desc, struct attention_way *way)
{
    int choices = head_choices(cuda, desc, way->backward);
    if (choices == 0 || way->choice < choices)
        return choices ? VT_OK : VT_E_UNSUPPORTED;
    return VT_FAIL(VT_E_UNSUPPORTED, "attention: the whole-head kernel has %d sizes for this shape, not a size %d", choices,
                   way->choice);
}

static void enqueue_head(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                         const struct attention_call *call, void *workspace)
{
    if (way->backward)
        attention_head_backward(&cuda->base, desc, call, cuda->shared_bytes, way->choice, partial_sums_of(way, call, workspace));
    else
        attention_head_forward(&cuda->base, desc, call, way->choice);
}

static int plain_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward)
{
    return (void)cuda, (void)desc, (void)backward, 1;
}

static vt_status open_plain(struct cuda_backend *cuda, const struct attention_desc *desc, struct attention_way *way)
{
    if (way->choice != 0)
        return VT_FAIL(VT_E_UNSUPPORTED, "attention: %s has one way", way->kind->name);
    way->workspace_bytes = attention_plain_workspace(&cuda->base, desc, way->backward);
    return VT_OK;
}

static void enqueue_plain(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                          const struct attention_call *call, void *workspace)
{
    (way->backward ? attention_plain_backward : attention_plain_forward)(&cuda->base, desc, call, workspace);
}

/* ---- cuDNN ---- */

/* One handle per backend, made when first asked for. */
static vt_status target_of(struct cuda_backend *cuda, struct cudnn_target *target)
{
    if (!cuda->cudnn)
        VT_TRY(cudnn_open_handle(cuda_stream(cuda), &cuda->cudnn));
    target->handle = cuda->cudnn;
    target->device_json = NULL;
    return VT_OK;
}

void cuda_attention_close(struct cuda_backend *cuda) { cudnn_close_handle(&cuda->cudnn); }

static vt_status open_cudnn(struct cuda_backend *cuda, const struct attention_desc *desc, enum attention_form form,
                            struct attention_way *way)
{
    struct cudnn_target target;
    VT_TRY(target_of(cuda, &target));
    VT_TRY(attention_cudnn_open(&target, desc, form, way->choice, &way->cudnn));
    way->workspace_bytes = attention_cudnn_workspace(way->cudnn);
    return VT_OK;
}

static enum attention_form unified_form(bool backward) { return (void)backward, ATTENTION_UNIFIED; }
static enum attention_form graph_form(bool backward) { return backward ? ATTENTION_BACKWARD : ATTENTION_FORWARD; }

static int count_cudnn(struct cuda_backend *cuda, const struct attention_desc *desc, enum attention_form form)
{
    struct cudnn_target target;
    int count = 0;
    vt_status status = target_of(cuda, &target);
    if (status == VT_OK)
        status = attention_cudnn_count(&target, desc, form, &count);
    if (status == VT_OK && count == 0)
        (void)VT_FAIL(VT_E_UNSUPPORTED, "cuDNN offers no way for this attention");
    return status == VT_OK ? count : 0;
}

static int unified_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward)
{
    if (!backward)
        return count_cudnn(cuda, desc, ATTENTION_UNIFIED);
    (void)VT_FAIL(VT_E_UNSUPPORTED, "attention: cuDNN has no unified backward");
    return 0;
}

static int graph_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward)
{
    return count_cudnn(cuda, desc, graph_form(backward));
}

static vt_status open_unified(struct cuda_backend *cuda, const struct attention_desc *desc, struct attention_way *way)
{
    if (way->backward)
        return VT_FAIL(VT_E_UNSUPPORTED, "attention: cuDNN has no unified backward");
    return open_cudnn(cuda, desc, unified_form(false), way);
}

static vt_status open_graph(struct cuda_backend *cuda, const struct attention_desc *desc, struct attention_way *way)
{
    return open_cudnn(cuda, desc, graph_form(way->backward), way);
}

static void enqueue_cudnn(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                          const struct attention_call *call, void *workspace)
{
    (void)desc;
    if (attention_cudnn_enqueue(way->cudnn, call, workspace) == VT_OK)
        return;
    if (!cuda->error) /* else someone may be reading the words of the first */
        snprintf(cuda->attention_error, sizeof cuda->attention_error, "attention by %s: %.200s", way->kind->name, status_message());
    cuda_note(cuda, NOT_SUPPORTED, cuda->attention_error);
}

/* ---- the table ---- */

static const struct attention_kind KINDS[ATTENTION_KINDS] = {
    {"head", head_choices, open_head, enqueue_head, NULL, true},
    {"cudnn-unified", unified_choices, open_unified, enqueue_cudnn, unified_form, false},
    {"cudnn-graph", graph_choices, open_graph, enqueue_cudnn, graph_form, false},
    {"plain", plain_choices, open_plain, enqueue_plain, NULL, false},
};

int attention_way_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, int kind)
{
    VT_CHECK(kind >= 0 && kind < ATTENTION_KINDS);
    return KINDS[kind].choices(cuda, desc, backward);
}

static vt_status open_choice(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, int kind, int choice,
                             struct attention_way *way)
{
    struct attention_way made = {.kind = &KINDS[kind], .backward = backward, .choice = choice};
    VT_TRY(made.kind->open(cuda, desc, &made));
    if (backward && desc->sums) {
        made.own_sums = made.kind->own_sums;
        made.sums_at = (made.workspace_bytes + 255) / 256 * 256;
        made.workspace_bytes = made.sums_at + attention_sums_workspace(desc);
    }
    *way = made;
    return VT_OK;
}

vt_status attention_way_open(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, int kind, int choice,
                             struct attention_way *way)
{
    VT_CHECK(kind >= 0 && kind < ATTENTION_KINDS && choice >= ATTENTION_ANY);
    if (choice != ATTENTION_ANY)
        return open_choice(cuda, desc, backward, kind, choice, way);
    vt_status status = VT_E_UNSUPPORTED;
    int choices = attention_way_choices(cuda, desc, backward, kind);
    for (int i = 0; i < choices && status != VT_OK; i++)
        status = open_choice(cuda, desc, backward, kind, i, way);
    return status;
}

vt_status attention_way_share(const struct attention_way *of, const struct attention_desc *desc, struct attention_way *way)
{
    struct attention_way made = *of;
    made.cudnn = NULL;
    if (of->cudnn)
        VT_TRY(attention_cudnn_share(of->cudnn, desc, &made.cudnn));
    *way = made;
    return VT_OK;
}

void attention_way_close(struct attention_way *way)
{
    attention_cudnn_close(&way->cudnn);
    memset(way, 0, sizeof *way);
}

void attention_way_store(const struct attention_way *way, char text[ATTENTION_STORED_BYTES])
{
    char config[ATTENTION_CONFIG_BYTES];
    attention_way_name(way, text, ATTENTION_STORED_BYTES);
    size_t used = strlen(text);
    if (way->cudnn && attention_cudnn_config(way->cudnn, config) == VT_OK)
        snprintf(text + used, ATTENTION_STORED_BYTES - used, ":%s", config);
}

vt_status attention_way_restore(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, const char *text,
                                struct attention_way *way)
{
    char name[32];
    int kind, choice;
    const char *config = strchr(text, ':');
    snprintf(name, sizeof name, "%.*s", config ? (int)(config - text) : 31, text);
    if (!attention_way_parse(name, &kind, &choice))
        return VT_FAIL(VT_E_UNSUPPORTED, "no way of attention is called %s", name);
    if (config && KINDS[kind].form) {
        struct cudnn_target target;
        VT_TRY(target_of(cuda, &target));
        VT_TRY(attention_cudnn_find(&target, desc, KINDS[kind].form(backward), config + 1, &choice));
    }
    return attention_way_open(cuda, desc, backward, kind, choice, way);
}

void attention_way_name(const struct attention_way *way, char *text, size_t bytes)
{
    if (way->cudnn || way->choice)
        snprintf(text, bytes, "%s.%d", way->kind->name, way->choice);
    else
        snprintf(text, bytes, "%s", way->kind->name);
}

const char *attention_kind_name(int kind) { return KINDS[kind].name; }

bool attention_way_parse(const char *text, int *kind, int *choice)
{
    for (int i = 0; i < ATTENTION_KINDS; i++) {
        size_t length = strlen(KINDS[i].name);
        if (strncmp(text, KINDS[i].name, length) != 0 || (text[length] != '\0' && text[length] != '.'))
            continue;
        *kind = i;
        *choice = text[length] == '.' ? atoi(text + length + 1) : ATTENTION_ANY;
        return *choice >= ATTENTION_ANY;
    }
    return false;
}

void attention_way_enqueue(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                           const struct attention_call *call, void *workspace)
{
    way->kind->enqueue(cuda, desc, way, call, workspace);
    if (!way->backward || !call->sums)
        return;
    float *partial = partial_sums_of(way, call, workspace);
    if (!way->own_sums)
        attention_sums_pass(&cuda->base, desc, call, partial);
    attention_sums_finish(&cuda->base, desc, call->sums, partial);
}
