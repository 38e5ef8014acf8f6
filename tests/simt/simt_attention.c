/* attention on the SIMT backend: the whole-head kernels where they take the shape, the plain ones elsewhere (on an H100 cuDNN
 * comes between them). SIMT_ATTENTION=plain: those for every shape. SIMT_SHARED=BYTES: of shared memory per block, to
 * make the whole-head kernels choose as they would on smaller devices. SIMT_CHOICE=N: their size N where there is one. */
#include "simt_linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention.h"
#include "backend/cuda/cuda.h"

struct attention_plan {
    struct op_plan plan;
    struct attention_desc desc;
    bool head[2];  /* forward, backward */
    int choice[2]; /* of the sizes of head */
    size_t shared_limit, sums_at;
};

static vt_status attention_plan(struct backend *be, const struct attention_desc *desc, struct op_plan **plan)
{
    struct attention_plan *p;
    const char *wish = getenv("SIMT_ATTENTION"), *shared = getenv("SIMT_SHARED");
    const bool plain = wish && strcmp(wish, "plain") == 0;
    VT_TRY(cuda_check_dtype("attention", desc->dtype));
    VT_TRY(cuda_plan_new(be, "", sizeof *p, 0, (void **)&p));
    p->desc = *desc;
    p->shared_limit = shared ? strtoul(shared, NULL, 10) : ((struct cuda_backend *)be)->shared_bytes;
    const int wanted = getenv("SIMT_CHOICE") ? atoi(getenv("SIMT_CHOICE")) : 0;
    const int choices[2] = {attention_head_forward_choices(desc, p->shared_limit),
                            attention_head_backward_choices(desc, p->shared_limit)};
    for (int backward = 0; backward < 2; backward++) {
        p->head[backward] = !plain && choices[backward] > 0;
        p->choice[backward] = wanted < choices[backward] ? wanted : 0;
    }
    for (int backward = 0; backward < 2; backward++)
        if (!p->head[backward])
            cuda_plan_workspace(&p->plan, attention_plain_workspace(be, desc, backward));
    if (desc->sums) {
        p->plan.own_sums = p->head[1];
        p->sums_at = (p->plan.workspace_bytes + 255) / 256 * 256;
        cuda_plan_workspace(&p->plan, p->sums_at + attention_sums_workspace(desc));
    }
    snprintf(p->plan.algorithm, sizeof p->plan.algorithm, "%s/%s", p->head[0] ? "head" : "plain", p->head[1] ? "head" : "plain");
    if (getenv("SIMT_VERBOSE"))
        printf("attention %lldx%lldx%lldx%lldx%lld: %s\n", (long long)desc->batch, (long long)desc->heads,
               (long long)desc->queries, (long long)desc->keys, (long long)desc->head_dim, p->plan.algorithm);
    *plan = &p->plan;
    return VT_OK;
}

static void attention_forward(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random)
{
    const struct attention_plan *p = (struct attention_plan *)plan;
    const struct attention_call call = {.q = q, .k = k, .v = v, .o = o, .lse = lse, .random = random};
    if (p->head[0])
        attention_head_forward(plan->backend, &p->desc, &call, p->choice[0]);
    else
        attention_plain_forward(plan->backend, &p->desc, &call, cuda_workspace(plan));
}

static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random)
{
    const struct attention_plan *p = (struct attention_plan *)plan;
    const struct attention_call call = {.q = q, .k = k, .v = v, .o = (void *)o, .lse = (float *)lse, .d_o = d_o,
                                        .dq = dq, .dk = dk, .dv = dv, .sums = sums, .random = random};
    float *partial = sums ? (float *)(void *)((char *)cuda_workspace(plan) + p->sums_at) : NULL;
    if (p->head[1])
        attention_head_backward(plan->backend, &p->desc, &call, p->shared_limit, p->choice[1], partial);
    else
        attention_plain_backward(plan->backend, &p->desc, &call, cuda_workspace(plan));
    if (sums && !p->head[1])
        attention_sums_pass(plan->backend, &p->desc, &call, partial);
    if (sums)
        attention_sums_finish(plan->backend, &p->desc, sums, partial);
}

void simt_attention_install(struct backend *be)
{
    be->nn.attention_plan = attention_plan;
    be->nn.attention_forward = attention_forward;
    be->nn.attention_backward = attention_backward;
}
