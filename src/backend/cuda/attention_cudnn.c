#include "backend/cuda/attention_cudnn.h"

#include <cudnn.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_cudnn_graph.h"
#include "base/check.h"

enum { CONFIGS_MAX = 16, SCRATCH_ALIGN = 256 };

struct compiled {
    int users;
    struct attention_graph plain;
    struct cudnn_graph graph;
    cudnn_descriptor properties, heuristic, config[CONFIGS_MAX], plan;
    int configs, choice;
    void *handle; /* borrowed from the target; NULL: compiled without a device */
    size_t row_sum_bytes, plan_bytes;
};

struct attention_cudnn {
    struct compiled *compiled;
    cudnn_descriptor pack;
    const void *bound[GRAPH_TENSORS], *bound_workspace; /* what `pack` says */
    float scale, one; /* host scalars, read at each enqueue */
};

vt_status attention_cudnn_graph(const struct attention_desc *desc, enum attention_form form, struct attention_graph *graph)
{
    const char *reason;
    if (!attention_graph_supports(desc, &reason))
        return VT_FAIL(VT_E_UNSUPPORTED, "attention by cuDNN: %s", reason);
    if (form == ATTENTION_UNIFIED)
        attention_graph_unified(desc, graph);
    else if (form == ATTENTION_FORWARD)
        attention_graph_forward(desc, graph);
    else
        attention_graph_backward(desc, graph);
    return VT_OK;
}

static vt_status open_properties(struct compiled *c, const char *json)
{
    VT_TRY(cudnn_new(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &c->properties));
    VT_TRY(cudnn_set(c->properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json));
    return cudnn_finalize(c->properties, "device properties");
}

/* No result may depend on which thread block comes first. */
static vt_status keep_repeatable(struct compiled *c)
{
    int kept = 0;
    for (int i = 0; i < c->configs; i++) {
        bool repeats;
        VT_TRY(cudnn_config_repeats(c->config[i], &repeats));
        if (!repeats)
            continue;
        cudnn_descriptor other = c->config[kept];
        c->config[kept++] = c->config[i];
        c->config[i] = other;
    }
    c->configs = kept;
    return VT_OK;
}

/* Engine configurations in the order the heuristic likes them. */
static vt_status open_configs(struct compiled *c)
{
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    int64_t found = 0;
    VT_TRY(cudnn_new(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &c->heuristic));
    VT_TRY(cudnn_set(c->heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->graph.graph));
    VT_TRY(cudnn_set(c->heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    if (c->properties)
        VT_TRY(cudnn_set(c->heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->properties));
    VT_TRY(cudnn_finalize(c->heuristic, "heuristic"));
    for (int i = 0; i < CONFIGS_MAX; i++)
        VT_TRY(cudnn_new(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &c->config[i]));
    VT_TRY(cudnn_get(c->heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS_MAX, &found,
                     c->config));
    c->configs = found > CONFIGS_MAX ? CONFIGS_MAX : (int)found;
    return keep_repeatable(c);
}

static vt_status open_graph(const struct cudnn_target *target, const struct attention_desc *desc, enum attention_form form,
                            struct compiled *c)
{
    VT_TRY(cudnn_load());
    VT_TRY(attention_cudnn_graph(desc, form, &c->plain));
    VT_TRY(cudnn_graph_open(&c->plain, target->handle, &c->graph));
    if (target->device_json)
        VT_TRY(open_properties(c, target->device_json));
    VT_TRY(open_configs(c));
    c->handle = target->handle;
    return VT_OK;
}

static vt_status no_choice(const struct compiled *c, int choice)
{
    return VT_FAIL(VT_E_UNSUPPORTED, "cuDNN offers %d ways for this attention, not a way %d", c->configs, choice);
}

static vt_status open_plan(struct compiled *c, int choice)
{
    int64_t bytes = 0;
    if (choice >= c->configs)
        return no_choice(c, choice);
    VT_TRY(cudnn_new(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &c->plan));
    VT_TRY(cudnn_set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->config[choice]));
    if (c->properties)
        VT_TRY(cudnn_set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c->properties));
    else
        VT_TRY(cudnn_set(c->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->handle));
    VT_TRY(cudnn_finalize(c->plan, "execution plan"));
    VT_TRY(cudnn_get(c->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, NULL, &bytes));
    c->plan_bytes = (size_t)bytes;
    return VT_OK;
}

static size_t row_sum_bytes(const struct attention_desc *desc)
{
    size_t bytes = (size_t)(desc->batch * desc->heads * desc->queries) * sizeof(float);
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

static void leave(struct compiled **compiled)
{
    struct compiled *c = *compiled;
    *compiled = NULL;
    if (!c || --c->users > 0)
        return;
    cudnn_free(&c->plan);
    for (int i = 0; i < CONFIGS_MAX; i++)
        cudnn_free(&c->config[i]);
    cudnn_free(&c->heuristic);
    cudnn_free(&c->properties);
    cudnn_graph_close(&c->graph);
    free(c);
}

/* With one user, and not compiled yet. */
static vt_status look_up(const struct cudnn_target *target, const struct attention_desc *desc, enum attention_form form,
                         struct compiled **out)
{
    struct compiled *c = calloc(1, sizeof *c);
    if (!c)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for an attention plan");
    c->users = 1;
    vt_status status = open_graph(target, desc, form, c);
    if (status != VT_OK) {
        leave(&c);
        return status;
    }
    *out = c;
    return VT_OK;
}

/* Takes the compiled plan, also when it fails. */
static vt_status new_user(struct compiled *compiled, const struct attention_desc *desc, struct attention_cudnn **out)
{
    struct attention_cudnn *c = calloc(1, sizeof *c);
    if (!c) {
        leave(&compiled);
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for an attention plan");
    }
    *c = (struct attention_cudnn){.compiled = compiled, .scale = desc->scale, .one = 1.0f};
    *out = c;
    return VT_OK;
}

vt_status attention_cudnn_open(const struct cudnn_target *target, const struct attention_desc *desc, enum attention_form form,
                               int choice, struct attention_cudnn **out)
{
    struct compiled *c = NULL;
    VT_TRY(look_up(target, desc, form, &c));
    vt_status status = open_plan(c, choice);
    if (status != VT_OK) {
        leave(&c);
        return status;
    }
    c->choice = choice;
    c->row_sum_bytes = form == ATTENTION_BACKWARD ? row_sum_bytes(desc) : 0;
    return new_user(c, desc, out);
}

vt_status attention_cudnn_share(const struct attention_cudnn *of, const struct attention_desc *desc, struct attention_cudnn **out)
{
    of->compiled->users++;
    return new_user(of->compiled, desc, out);
}

vt_status attention_cudnn_count(const struct cudnn_target *target, const struct attention_desc *desc,
                                enum attention_form form, int *count)
{
    struct compiled *c = NULL;
    VT_TRY(look_up(target, desc, form, &c));
    *count = c->configs;
    leave(&c);
    return VT_OK;
}

vt_status attention_cudnn_config(const struct attention_cudnn *c, char text[ATTENTION_CONFIG_BYTES])
{
    return cudnn_config_text(c->compiled->config[c->compiled->choice], text, ATTENTION_CONFIG_BYTES);
}

vt_status attention_cudnn_describe(const struct cudnn_target *target, const struct attention_desc *desc,
                                   enum attention_form form, int choice, char text[ATTENTION_CONFIG_BYTES])
{
    struct compiled *c = NULL;
    VT_TRY(look_up(target, desc, form, &c));
    vt_status status = choice < c->configs ? cudnn_config_text(c->config[choice], text, ATTENTION_CONFIG_BYTES)
                                           : no_choice(c, choice);
    leave(&c);
    return status;
}

vt_status attention_cudnn_find(const struct cudnn_target *target, const struct attention_desc *desc,
                               enum attention_form form, const char *config, int *choice)
{
    struct compiled *c = NULL;
    char text[ATTENTION_CONFIG_BYTES];
    bool found = false;
    VT_TRY(look_up(target, desc, form, &c));
    for (int i = 0; !found && i < c->configs; i++)
        if (cudnn_config_text(c->config[i], text, sizeof text) == VT_OK && strcmp(text, config) == 0) {
            *choice = i;
            found = true;
        }
    leave(&c);
    return found ? VT_OK : VT_FAIL(VT_E_UNSUPPORTED, "cuDNN has no configuration %s for this attention", config);
}

void attention_cudnn_close(struct attention_cudnn **cudnn)
{
    struct attention_cudnn *c = *cudnn;
    if (!c)
        return;
    cudnn_free(&c->pack);
    leave(&c->compiled);
    free(c);
    *cudnn = NULL;
}

size_t attention_cudnn_workspace(const struct attention_cudnn *c)
{
    return c->compiled->row_sum_bytes + c->compiled->plan_bytes;
}

/* The buffer behind a real tensor; scalars are host memory. */
static const void *buffer_of(const struct attention_cudnn *c, int64_t id, const struct attention_call *call, void *row_sum)
{
    switch (id) {
    case GRAPH_Q: return call->q;
    case GRAPH_K: return call->k;
    case GRAPH_V: return call->v;
    case GRAPH_O: return call->o;
    case GRAPH_STATS: return call->lse;
    case GRAPH_D_O: return call->d_o;
    case GRAPH_DQ: return call->dq;
    case GRAPH_DK: return call->dk;
    case GRAPH_DV: return call->dv;
    case GRAPH_ROW_SUM: return row_sum;
    case GRAPH_SCALE: return &c->scale;
    case GRAPH_ONE: return &c->one;
    default: return NULL;
    }
}

/* A pack takes no new pointers once it is finalised. A layer's stay the same from step to step, so this is rare. */
static vt_status bind(struct attention_cudnn *c, const int64_t *ids, const void *const *pointers, int64_t count, void *workspace)
{
    size_t bytes = (size_t)count * sizeof *pointers;
    void *plan_workspace = (char *)workspace + c->compiled->row_sum_bytes;
    if (c->bound_workspace == workspace && memcmp(c->bound, pointers, bytes) == 0)
        return VT_OK;
    c->bound_workspace = NULL;
    cudnn_free(&c->pack);
    VT_TRY(cudnn_new(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &c->pack));
    VT_TRY(cudnn_set(c->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids));
    VT_TRY(cudnn_set(c->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers));
    VT_TRY(cudnn_set(c->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &plan_workspace));
    VT_TRY(cudnn_finalize(c->pack, "variant pack"));
    memcpy(c->bound, pointers, bytes);
    c->bound_workspace = workspace;
    return VT_OK;
}

vt_status attention_cudnn_enqueue(struct attention_cudnn *c, const struct attention_call *call, void *workspace)
{
    int64_t ids[GRAPH_TENSORS], count = 0;
    const void *pointers[GRAPH_TENSORS];
    const struct compiled *compiled = c->compiled;
    VT_CHECK(compiled->handle);
    for (int i = 0; i < compiled->plain.tensors; i++) {
        if (compiled->plain.tensor[i].is_virtual)
            continue;
        ids[count] = compiled->plain.tensor[i].id;
        pointers[count] = buffer_of(c, ids[count], call, workspace);
        VT_CHECK(pointers[count]);
        count++;
    }
    VT_TRY(bind(c, ids, pointers, count, workspace));
    return cudnn_execute(compiled->handle, compiled->plan, c->pack);
}
