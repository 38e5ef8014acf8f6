#include "async_ops.h"

#include "async_device.h"

static struct async_device *gpu;

/* ---- calls ---- */

typedef void call_run(struct backend *ref, const void *arguments);

struct call {
    call_run *run;
    _Alignas(16) char arguments[];
};

static void run_call(struct async_device *device, struct async_task *task)
{
    const struct call *call = task->owned;
    call->run(device->memory, call->arguments);
}

static void enqueue(call_run *run, const void *arguments, size_t bytes)
{
    struct call *call = malloc(sizeof *call + bytes);
    VT_CHECK(call);
    call->run = run;
    memcpy(call->arguments, arguments, bytes);
    async_put(&gpu->base, STREAM_COMPUTE, (struct async_task){.run = run_call, .owned = call});
}

/* What random ops are given lies on the caller's stack. */
struct dice {
    bool given;
    struct op_random random;
};
static struct dice dice_of(const struct op_random *random)
{
    return random ? (struct dice){true, *random} : (struct dice){0};
}
static const struct op_random *random_of(const struct dice *dice) { return dice->given ? &dice->random : NULL; }

/* PLAN(op, desc): ref makes the plan; its workspace is ours. */
#define PLAN(op, desc_type)                                                                                            \
    static vt_status op(struct backend *be, const struct desc_type *desc, struct op_plan **plan)                       \
    {                                                                                                                  \
        async_forbid(be, "a plan");                                                                                    \
        vt_status status = gpu->memory->nn.op(gpu->memory, desc, plan);                                                \
        be->workspace_bytes = gpu->memory->workspace_bytes;                                                            \
        return status;                                                                                                 \
    }
PLAN(linear_plan, linear_desc)
PLAN(activation_plan, activation_desc)
PLAN(attention_plan, attention_desc)
PLAN(add_norm_plan, add_norm_desc)
PLAN(patchify_plan, patchify_desc)
PLAN(embed_plan, embed_desc)
PLAN(pool_plan, pool_desc)
PLAN(dropout_plan, dropout_desc)
PLAN(loss_plan, loss_desc)

/* ---- linear, activation ---- */

struct linear {
    struct op_plan *plan;
    const void *a, *b, *c;
    void *d, *e;
    bool accumulate;
};
struct linear_forward {
    struct op_plan *plan;
    struct linear_forward_args args;
};
static void run_linear_forward(struct backend *ref, const void *arguments)
{
    const struct linear_forward *l = arguments;
    ref->nn.linear_forward(l->plan, &l->args);
}
static void linear_forward(struct op_plan *plan, const struct linear_forward_args *args)
{
    enqueue(run_linear_forward, &(struct linear_forward){plan, *args}, sizeof(struct linear_forward));
}
struct linear_input {
    struct op_plan *plan;
    struct linear_input_args args;
};
static void run_linear_input(struct backend *ref, const void *arguments)
{
    const struct linear_input *l = arguments;
    ref->nn.linear_backward_input(l->plan, &l->args);
}
static void linear_backward_input(struct op_plan *plan, const struct linear_input_args *args)
{
    enqueue(run_linear_input, &(struct linear_input){plan, *args}, sizeof(struct linear_input));
}
static void run_linear_weight(struct backend *ref, const void *arguments)
{
    const struct linear *l = arguments;
    ref->nn.linear_backward_weight(l->plan, l->a, l->b, l->d, l->e, l->accumulate);
}
static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db, bool accumulate)
{
    enqueue(run_linear_weight, &(struct linear){plan, x, dy, NULL, dw, db, accumulate}, sizeof(struct linear));
}
static void run_activation(struct backend *ref, const void *arguments)
{
    const struct linear *l = arguments;
    ref->nn.activation_forward(l->plan, l->a, l->d);
}
static void activation_forward(struct op_plan *plan, const void *x, void *y)
{
    enqueue(run_activation, &(struct linear){plan, x, NULL, NULL, y, NULL, false}, sizeof(struct linear));
}

/* ---- attention ---- */

struct attention {
    struct op_plan *plan;
    const void *q, *k, *v, *o, *d_o;
    void *dq, *dk, *dv; /* forward: dq is o */
    float *lse;
    struct dice dice;
    bool summed;
    struct attention_sums sums;
};
static void run_attention_forward(struct backend *ref, const void *arguments)
{
    const struct attention *a = arguments;
    ref->nn.attention_forward(a->plan, a->q, a->k, a->v, a->dq, a->lse, random_of(&a->dice));
}
static void attention_forward(struct op_plan *plan, const void *q, const void *k, const void *v, void *o, float *lse,
                              const struct op_random *random)
{
    const struct attention call = {.plan = plan, .q = q, .k = k, .v = v, .dq = o, .lse = lse, .dice = dice_of(random)};
    enqueue(run_attention_forward, &call, sizeof call);
}
static void run_attention_backward(struct backend *ref, const void *arguments)
{
    const struct attention *a = arguments;
    ref->nn.attention_backward(a->plan, a->q, a->k, a->v, a->o, a->lse, a->d_o, a->dq, a->dk, a->dv,
                               a->summed ? &a->sums : NULL, random_of(&a->dice));
}
static void attention_backward(struct op_plan *plan, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv,
                               const struct attention_sums *sums, const struct op_random *random)
{
    const struct attention call = {plan, q, k, v, o, d_o, dq, dk, dv, (float *)(uintptr_t)lse, dice_of(random), sums != NULL,
                                   sums ? *sums : (struct attention_sums){0}};
    enqueue(run_attention_backward, &call, sizeof call);
}

/* ---- add_norm ---- */

struct norm_forward {
    struct op_plan *plan;
    struct add_norm_forward_args args;
    struct dice dice;
};
static void run_norm_forward(struct backend *ref, const void *arguments)
{
    const struct norm_forward *n = arguments;
    ref->nn.add_norm_forward(n->plan, &n->args, random_of(&n->dice));
}
static void add_norm_forward(struct op_plan *plan, const struct add_norm_forward_args *args, const struct op_random *random)
{
    enqueue(run_norm_forward, &(struct norm_forward){plan, *args, dice_of(random)}, sizeof(struct norm_forward));
}
struct norm_backward {
    struct op_plan *plan;
    struct add_norm_backward_args args;
    struct dice dice;
};
static void run_norm_backward(struct backend *ref, const void *arguments)
{
    const struct norm_backward *n = arguments;
    ref->nn.add_norm_backward(n->plan, &n->args, random_of(&n->dice));
}
static void add_norm_backward(struct op_plan *plan, const struct add_norm_backward_args *args, const struct op_random *random)
{
    enqueue(run_norm_backward, &(struct norm_backward){plan, *args, dice_of(random)}, sizeof(struct norm_backward));
}

/* ---- patchify, embed, pool, dropout ---- */

struct simple {
    struct op_plan *plan;
    const void *from;
    void *to;
    struct dice dice;
};
struct patchify {
    struct op_plan *plan;
    const uint8_t *images;
    bool mixed;
    struct patchify_mix mix; /* the caller's lies on its stack, as its random does */
    void *patches;
    struct dice dice;
};
static void run_patchify(struct backend *ref, const void *arguments)
{
    const struct patchify *p = arguments;
    ref->nn.patchify_forward(p->plan, p->images, p->mixed ? &p->mix : NULL, p->patches, random_of(&p->dice));
}
static void patchify_forward(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                             const struct op_random *random)
{
    const struct patchify_mix none = {0};
    enqueue(run_patchify, &(struct patchify){plan, images, mix != NULL, mix ? *mix : none, patches, dice_of(random)},
            sizeof(struct patchify));
}
static void run_pool_forward(struct backend *ref, const void *arguments)
{
    const struct simple *s = arguments;
    ref->nn.pool_forward(s->plan, s->from, s->to);
}
static void pool_forward(struct op_plan *plan, const void *x, void *y)
{
    enqueue(run_pool_forward, &(struct simple){plan, x, y, {0}}, sizeof(struct simple));
}
static void run_pool_backward(struct backend *ref, const void *arguments)
{
    const struct simple *s = arguments;
    ref->nn.pool_backward(s->plan, s->from, s->to);
}
static void pool_backward(struct op_plan *plan, const void *dy, void *dx)
{
    enqueue(run_pool_backward, &(struct simple){plan, dy, dx, {0}}, sizeof(struct simple));
}
static void run_dropout(struct backend *ref, const void *arguments)
{
    const struct simple *s = arguments;
    ref->nn.dropout_forward(s->plan, s->from, s->to, random_of(&s->dice));
}
static void dropout_forward(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    enqueue(run_dropout, &(struct simple){plan, x, y, dice_of(random)}, sizeof(struct simple));
}

struct embed {
    struct op_plan *plan;
    const void *from;
    const float *cls, *pos;
    void *to;
    float *dcls, *dpos, *dsum;
    bool accumulate;
    struct dice dice;
};
static void run_embed_forward(struct backend *ref, const void *arguments)
{
    const struct embed *e = arguments;
    ref->nn.embed_forward(e->plan, e->from, e->cls, e->pos, e->to, random_of(&e->dice));
}
static void embed_forward(struct op_plan *plan, const void *patches, const float *cls, const float *pos, void *x,
                          const struct op_random *random)
{
    const struct embed call = {.plan = plan, .from = patches, .cls = cls, .pos = pos, .to = x, .dice = dice_of(random)};
    enqueue(run_embed_forward, &call, sizeof call);
}
static void run_embed_backward(struct backend *ref, const void *arguments)
{
    const struct embed *e = arguments;
    ref->nn.embed_backward(e->plan, e->from, e->to, e->dcls, e->dpos, e->dsum, e->accumulate, random_of(&e->dice));
}
static void embed_backward(struct op_plan *plan, const void *dx, void *dpatches, float *dcls, float *dpos,
                           float *dpatch_sum, bool accumulate, const struct op_random *random)
{
    const struct embed call = {.plan = plan, .from = dx, .to = dpatches, .dcls = dcls, .dpos = dpos, .dsum = dpatch_sum,
                               .accumulate = accumulate, .dice = dice_of(random)};
    enqueue(run_embed_backward, &call, sizeof call);
}

/* ---- loss and counters ---- */

struct loss {
    struct op_plan *plan;
    struct loss_args args;
};
static void run_loss(struct backend *ref, const void *arguments)
{
    const struct loss *l = arguments;
    ref->nn.loss_forward_backward(l->plan, &l->args);
}
static void loss_forward_backward(struct op_plan *plan, const struct loss_args *args)
{
    enqueue(run_loss, &(struct loss){plan, *args}, sizeof(struct loss));
}
static void run_reset(struct backend *ref, const void *arguments)
{
    ref->nn.scalars_reset(ref, *(struct step_scalars *const *)arguments);
}
static void scalars_reset(struct backend *be, struct step_scalars *scalars)
{
    (void)be;
    enqueue(run_reset, &scalars, sizeof(struct step_scalars *));
}

/* ---- elementwise on buffers ---- */

struct buffers {
    const void *from;
    void *to;
    int64_t count;
    enum dtype from_type, to_type;
    float clip;
    struct step_scalars *scalars;
};
static void run_reduce_add(struct backend *ref, const void *arguments)
{
    const struct buffers *b = arguments;
    ref->nn.reduce_add(ref, b->to, b->from, b->count);
}
static void reduce_add(struct backend *be, float *dst, const float *src, int64_t count)
{
    (void)be;
    enqueue(run_reduce_add, &(struct buffers){.from = src, .to = dst, .count = count}, sizeof(struct buffers));
}
static void run_cast(struct backend *ref, const void *arguments)
{
    const struct buffers *b = arguments;
    ref->nn.cast(ref, b->from, b->from_type, b->to, b->to_type, b->count);
}
static void cast(struct backend *be, const void *src, enum dtype from, void *dst, enum dtype to, int64_t count)
{
    const struct buffers call = {.from = src, .to = dst, .count = count, .from_type = from, .to_type = to};
    (void)be;
    enqueue(run_cast, &call, sizeof call);
}
static void run_sumsq(struct backend *ref, const void *arguments)
{
    const struct buffers *b = arguments;
    ref->optim.sumsq_chunks(ref, b->from, b->count, b->to);
}
static void sumsq_chunks(struct backend *be, const float *grads, int64_t count, double *partial)
{
    (void)be;
    enqueue(run_sumsq, &(struct buffers){.from = grads, .to = partial, .count = count}, sizeof(struct buffers));
}
static void run_norm_finish(struct backend *ref, const void *arguments)
{
    const struct buffers *b = arguments;
    ref->optim.norm_finish(ref, b->from, b->count, b->clip, b->scalars);
}
static void norm_finish(struct backend *be, const double *partial, int64_t count, float clip, struct step_scalars *scalars)
{
    const struct buffers call = {.from = partial, .count = count, .clip = clip, .scalars = scalars};
    (void)be;
    enqueue(run_norm_finish, &call, sizeof call);
}

/* ---- updates: segments and hyper are read by the call ---- */

enum { SEGMENTS_MAX = 64 };

struct update {
    struct optim_segment segments[SEGMENTS_MAX];
    int count;
    struct optim_hyper hyper;
    float *p;
    const float *g;
    float *m, *v;
    bf16_t *compute;
    float *ema, ema_decay;
    const struct step_scalars *scalars;
};
static void copy_segments(struct update *u, const struct optim_segment *segments)
{
    VT_CHECKF(u->count <= SEGMENTS_MAX, "%d segments", u->count);
    memcpy(u->segments, segments, (size_t)u->count * sizeof *segments);
}
static void run_adamw(struct backend *ref, const void *arguments)
{
    const struct update *u = arguments;
    ref->optim.adamw(ref, u->segments, u->count, &u->hyper, u->p, u->g, u->m, u->v, u->compute, u->ema, u->ema_decay,
                     u->scalars);
}
static void adamw(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                  float *p, const float *g, float *m, float *v, bf16_t *compute, float *ema, float ema_decay,
                  const struct step_scalars *scalars)
{
    struct update u = {.count = count, .hyper = *hyper, .p = p, .g = g, .m = m, .v = v, .compute = compute, .ema = ema,
                       .ema_decay = ema_decay, .scalars = scalars};
    (void)be;
    copy_segments(&u, segments);
    enqueue(run_adamw, &u, sizeof u);
}
static void run_sgd(struct backend *ref, const void *arguments)
{
    const struct update *u = arguments;
    ref->optim.sgd(ref, u->segments, u->count, &u->hyper, u->p, u->g, u->m, u->compute, u->ema, u->ema_decay, u->scalars);
}
static void sgd(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                float *p, const float *g, float *buf, bf16_t *compute, float *ema, float ema_decay,
                const struct step_scalars *scalars)
{
    struct update u = {.count = count, .hyper = *hyper, .p = p, .g = g, .m = buf, .compute = compute, .ema = ema,
                       .ema_decay = ema_decay, .scalars = scalars};
    (void)be;
    copy_segments(&u, segments);
    enqueue(run_sgd, &u, sizeof u);
}

/* ---- the device ---- */

/* As on a GPU: it does not move under graphs. */
static vt_status reserve_workspace(struct backend *be)
{
    static size_t reserved;
    async_forbid(be, "an allocation");
    if (reserved >= be->workspace_bytes && reserved)
        return VT_OK;
    VT_CHECKF(gpu->graphs == 0, "more workspace while graphs use what there is");
    VT_TRY(async_synchronise(be));
    reserved = be->workspace_bytes ? be->workspace_bytes : 1;
    return gpu->memory->reserve_workspace(gpu->memory);
}

static const struct nn_ops NN = {.linear_plan = linear_plan,
                                 .linear_forward = linear_forward,
                                 .linear_backward_input = linear_backward_input,
                                 .linear_backward_weight = linear_backward_weight,
                                 .activation_plan = activation_plan,
                                 .activation_forward = activation_forward,
                                 .attention_plan = attention_plan,
                                 .attention_forward = attention_forward,
                                 .attention_backward = attention_backward,
                                 .add_norm_plan = add_norm_plan,
                                 .add_norm_forward = add_norm_forward,
                                 .add_norm_backward = add_norm_backward,
                                 .patchify_plan = patchify_plan,
                                 .patchify_forward = patchify_forward,
                                 .embed_plan = embed_plan,
                                 .embed_forward = embed_forward,
                                 .embed_backward = embed_backward,
                                 .pool_plan = pool_plan,
                                 .pool_forward = pool_forward,
                                 .pool_backward = pool_backward,
                                 .dropout_plan = dropout_plan,
                                 .dropout_forward = dropout_forward,
                                 .loss_plan = loss_plan,
                                 .loss_forward_backward = loss_forward_backward,
                                 .reduce_add = reduce_add,
                                 .cast = cast,
                                 .scalars_reset = scalars_reset};

struct backend *async_gpu_open(void)
{
    struct backend *be = async_device_open();
    gpu = async_of(be);
    be->poison = true;
    be->reserve_workspace = reserve_workspace;
    be->nn = NN;
    be->optim = (struct optim_ops){
        .sumsq_chunks = sumsq_chunks, .norm_finish = norm_finish, .adamw = adamw, .sgd = sgd};
    return be;
}
