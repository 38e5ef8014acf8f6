/* Attention of the CUDA backend: a way for forward and one for backward, chosen when planned. In this order: what the
 * tuning table says, VT_CUDA_ATTENTION=NAME (head, cudnn-unified, cudnn-graph, plain: where it takes the shape), timing on
 * the device, and, where nothing is timed, the first kind that takes the shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/attention_ways.h"
#include "backend/cuda/tuning.h"

struct attention_plan {
    struct op_plan plan;
    struct attention_desc desc;
    struct attention_way forward, backward;
};

static void destroy(struct op_plan *plan)
{
    struct attention_plan *p = (struct attention_plan *)plan;
    attention_way_close(&p->forward);
    attention_way_close(&p->backward);
    free(p);
}

/* Everything a choice depends on besides the device and the libraries, which the table adds. */
static void make_key(const struct attention_desc *d, bool backward, char *key, size_t bytes)
{
    const struct attention_view *v[] = {&d->q, &d->k, &d->v, &d->o};
    int n = snprintf(key, bytes, "attention/%s/%s/%lldx%lldx%lldx%lldx%lld/drop%d", backward ? "backward" : "forward",
                     dtype_name(d->dtype), (long long)d->batch, (long long)d->heads, (long long)d->queries, (long long)d->keys,
                     (long long)d->head_dim, d->dropout > 0);
    for (int i = 0; i < 4 && n > 0 && (size_t)n < bytes; i++)
        n += snprintf(key + n, bytes - (size_t)n, "/%lld.%lld.%lld", (long long)v[i]->batch, (long long)v[i]->head,
                      (long long)v[i]->row);
}

static bool open_named(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, const char *name,
                       struct attention_way *way)
{
    return name && *name && attention_way_restore(cuda, desc, backward, name, way) == VT_OK;
}

static vt_status open_first(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                            struct attention_way *way)
{
    vt_status status = VT_E_UNSUPPORTED;
    for (int kind = 0; kind < ATTENTION_KINDS && status != VT_OK; kind++)
        status = attention_way_open(cuda, desc, backward, kind, 0, way);
    return status;
}

static vt_status choose(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, struct attention_way *way)
{
    char key[TUNING_WORD_BYTES], stored[ATTENTION_STORED_BYTES];
    make_key(desc, backward, key, sizeof key);
    if (open_named(cuda, desc, backward, cuda_tuning_find(cuda, key), way) ||
        open_named(cuda, desc, backward, getenv("VT_CUDA_ATTENTION"), way))
        return VT_OK;
    if (!cuda->tune || attention_tune(cuda, desc, backward, way) != VT_OK)
        return open_first(cuda, desc, backward, way);
    attention_way_store(way, stored);
    cuda_tuning_put(cuda, key, stored);
    return VT_OK;
}

static vt_status check_wish(void)
{
    const char *wish = getenv("VT_CUDA_ATTENTION");
    int kind, choice;
    if (wish && *wish && !attention_way_parse(wish, &kind, &choice))
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_ATTENTION=%s: expected head, cudnn-unified, cudnn-graph or plain", wish);
    return VT_OK;
}

static vt_status finish(struct cuda_backend *cuda, struct attention_plan *p)
{
    VT_TRY(choose(cuda, &p->desc, false, &p->forward));
    VT_TRY(choose(cuda, &p->desc, true, &p->backward));
    char forward[24], backward[24];
    attention_way_name(&p->forward, forward, sizeof forward);
    attention_way_name(&p->backward, backward, sizeof backward);
    snprintf(p->plan.algorithm, sizeof p->plan.algorithm, "%s/%s", forward, backward);
    cuda_plan_workspace(&p->plan, p->forward.workspace_bytes);
    cuda_plan_workspace(&p->plan, p->backward.workspace_bytes);
    return VT_OK;
}

static vt_status attention_plan(struct backend *be, const struct attention_desc *desc, struct op_plan **plan)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    const double pairs = (double)(desc->batch * desc->heads) * (double)(desc->queries * desc->keys);
    VT_CHECK(desc->batch > 0 && desc->heads > 0 && desc->queries > 0 && desc->keys > 0 && desc->head_dim > 0);
    VT_CHECK(desc->dropout >= 0 && desc->dropout < 1);
    VT_CHECK(desc->dropout == 0 || desc->heads * desc->queries * desc->keys <= UINT32_MAX);
    VT_TRY(cuda_check_dtype("attention", desc->dtype));
    VT_TRY(check_wish());
    struct attention_plan *made;
    VT_TRY(cuda_plan_new(be, "", sizeof *made, 0, (void **)&made));
    made->plan.destroy = destroy;
    made->desc = *desc;
    made->plan.flops = 4.0 * pairs * (double)desc->head_dim;
    vt_status status = finish(cuda, made);
    if (status != VT_OK) {
        destroy(&made->plan);
        return status;
    }
    *plan = &made->plan;
    return VT_OK;
}

static void attention_forward(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random)
{
    const struct attention_plan *p = (struct attention_plan *)plan;
    const struct attention_call call = {.q = q, .k = k, .v = v, .o = o, .lse = lse, .random = random};
    attention_way_enqueue(cuda_of(plan), &p->desc, &p->forward, &call, cuda_workspace(plan));
}

static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct op_random *random)
{
    const struct attention_plan *p = (struct attention_plan *)plan;
    const struct attention_call call = {.q = q, .k = k, .v = v, .o = (void *)o, .lse = (float *)lse, .d_o = d_o,
                                        .dq = dq, .dk = dk, .dv = dv, .random = random};
    attention_way_enqueue(cuda_of(plan), &p->desc, &p->backward, &call, cuda_workspace(plan));
}

void cuda_attention_install(struct backend *be)
{
    be->nn.attention_plan = attention_plan;
    be->nn.attention_forward = attention_forward;
    be->nn.attention_backward = attention_backward;
}
