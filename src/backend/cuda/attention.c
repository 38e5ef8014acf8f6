/* Attention of the CUDA backend: a way for forward and one for backward, chosen when planned. In this order:
 * VT_CUDA_ATTENTION=NAME (head, cudnn-unified, cudnn-graph, plain: where it takes the shape; with VT_CUDA_ATTENTION_STRICT=1 nothing else
 * is taken), what the tuning table says, timing on the device, and, where nothing is timed, the first kind that takes the shape.
 * Plans of one shape, such as a model's layers, share what was opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/attention_ways.h"
#include "backend/cuda/tuning.h"

/* A way some plans share. */
struct attention_kept {
    struct attention_kept *next;
    int users;
    char key[TUNING_WORD_BYTES];
    struct attention_way way;
};

struct attention_plan {
    struct op_plan plan;
    struct attention_desc desc;
    struct attention_kept *kept[2]; /* forward, backward: NULL where only forward is planned */
    struct attention_way way[2];    /* the same, with pointers of this plan's */
};

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
    if (backward && d->sums && n > 0 && (size_t)n < bytes)
        snprintf(key + n, bytes - (size_t)n, "/sums");
}

static vt_status open_first(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                            struct attention_way *way)
{
    vt_status status = VT_E_UNSUPPORTED;
    for (int kind = 0; kind < ATTENTION_KINDS && status != VT_OK; kind++)
        status = attention_way_open(cuda, desc, backward, kind, ATTENTION_ANY, way);
    return status;
}

/* ---- the wish ---- */

static const char UNIFIED[] = "cudnn-unified";

/* NULL: there is none. cuDNN's unified op has no backward: to it belongs the graph's. */
static const char *wish_of(bool backward)
{
    const char *wish = getenv("VT_CUDA_ATTENTION");
    if (!wish || !*wish)
        return NULL;
    return backward && strncmp(wish, UNIFIED, strlen(UNIFIED)) == 0 ? "cudnn-graph" : wish;
}

static bool is_strict(void)
{
    const char *strict = getenv("VT_CUDA_ATTENTION_STRICT");
    return strict && strcmp(strict, "1") == 0;
}

static vt_status check_wish(void)
{
    const char *wish = wish_of(false), *strict = getenv("VT_CUDA_ATTENTION_STRICT");
    int kind, choice;
    if (strict && *strict && strcmp(strict, "0") != 0 && strcmp(strict, "1") != 0)
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_ATTENTION_STRICT=%s: expected 0 or 1", strict);
    if (wish && !attention_way_parse(wish, &kind, &choice))
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_ATTENTION=%s: expected head, cudnn-unified, cudnn-graph or plain", wish);
    if (!wish && is_strict())
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_ATTENTION_STRICT=1: expected VT_CUDA_ATTENTION beside it");
    return VT_OK;
}

static vt_status open_wish(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, const char *wish,
                           struct attention_way *way)
{
    vt_status status = attention_way_restore(cuda, desc, backward, wish, way);
    if (status == VT_OK)
        return VT_OK;
    return status_prefix(VT_E_UNSUPPORTED, "VT_CUDA_ATTENTION=%s, %s", getenv("VT_CUDA_ATTENTION"),
                         backward ? "backward" : "forward");
}

/* ---- choosing ---- */

static vt_status choose(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, const char *key,
                        struct attention_way *way)
{
    char stored[ATTENTION_STORED_BYTES];
    const char *wish = wish_of(backward), *known;
    if (wish) {
        vt_status status = open_wish(cuda, desc, backward, wish, way);
        if (status == VT_OK || is_strict())
            return status;
    }
    if ((known = cuda_tuning_find(cuda, key)) && attention_way_restore(cuda, desc, backward, known, way) == VT_OK)
        return VT_OK;
    if (!cuda->tune)
        return open_first(cuda, desc, backward, way);
    vt_status status = attention_tune(cuda, desc, backward, way);
    if (status == VT_E_MEMORY) /* no room to try: nothing is stored, so that a start with room will */
        return open_first(cuda, desc, backward, way);
    VT_TRY(status);
    attention_way_store(way, stored);
    cuda_tuning_put(cuda, key, stored);
    return VT_OK;
}

static vt_status keep(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, struct attention_kept **out)
{
    char key[TUNING_WORD_BYTES];
    make_key(desc, backward, key, sizeof key);
    for (struct attention_kept *k = cuda->attention; k; k = k->next)
        if (strcmp(k->key, key) == 0) {
            k->users++;
            *out = k;
            return VT_OK;
        }
    struct attention_kept *made = calloc(1, sizeof *made);
    if (!made)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for a way of attention");
    vt_status status = choose(cuda, desc, backward, key, &made->way);
    if (status != VT_OK) {
        free(made);
        return status;
    }
    memcpy(made->key, key, sizeof key);
    made->users = 1;
    made->next = cuda->attention;
    cuda->attention = made;
    *out = made;
    return VT_OK;
}

static void leave(struct cuda_backend *cuda, struct attention_kept *kept)
{
    if (!kept || --kept->users > 0)
        return;
    struct attention_kept **link = &cuda->attention;
    while (*link != kept)
        link = &(*link)->next;
    *link = kept->next;
    attention_way_close(&kept->way);
    free(kept);
}

/* ---- plan ---- */

static void destroy(struct op_plan *plan)
{
    struct attention_plan *p = (struct attention_plan *)plan;
    for (int i = 0; i < 2; i++) {
        attention_way_close(&p->way[i]);
        leave(cuda_of(plan), p->kept[i]);
    }
    free(p);
}

static vt_status finish(struct cuda_backend *cuda, struct attention_plan *p)
{
    char name[2][24] = {"", ""};
    for (int i = 0; i < (p->desc.forward_only ? 1 : 2); i++) {
        VT_TRY(keep(cuda, &p->desc, i, &p->kept[i]));
        VT_TRY(attention_way_share(&p->kept[i]->way, &p->desc, &p->way[i]));
        attention_way_name(&p->way[i], name[i], sizeof name[i]);
        cuda_plan_workspace(&p->plan, p->way[i].workspace_bytes);
    }
    p->plan.own_sums = p->way[1].own_sums;
    snprintf(p->plan.algorithm, sizeof p->plan.algorithm, "%s%s%s", name[0], *name[1] ? "/" : "", name[1]);
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
    attention_way_enqueue(cuda_of(plan), &p->desc, &p->way[0], &call, cuda_workspace(plan));
}

static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random)
{
    const struct attention_plan *p = (struct attention_plan *)plan;
    const struct attention_call call = {.q = q, .k = k, .v = v, .o = (void *)o, .lse = (float *)lse, .d_o = d_o,
                                        .dq = dq, .dk = dk, .dv = dv, .sums = sums, .random = random};
    VT_CHECK(!p->desc.forward_only && (!sums || p->desc.sums));
    attention_way_enqueue(cuda_of(plan), &p->desc, &p->way[1], &call, cuda_workspace(plan));
}

void cuda_attention_install(struct backend *be)
{
    be->nn.attention_plan = attention_plan;
    be->nn.attention_forward = attention_forward;
    be->nn.attention_backward = attention_backward;
}
