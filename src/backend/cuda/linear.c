/* Linear layers: products of gemm.c, and own kernels for what their epilogues do not do. gemm_shape.c says which ways
 * there are; here the faster one is chosen, per shape, once. VT_CUDA_LINEAR=fused|split|scratch: that way and no other wherever a
 * part has it. Bound by the matrix units; an own kernel beside the product adds one pass over the activations, bound by memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gemm.h"

enum { TIMED_RUNS = 11, SCRATCH_ALIGN = 256 };

struct product {
    enum linear_route route;
    struct gemm *gemm;
};

struct linear_plan {
    struct op_plan plan;
    struct linear_desc desc;
    struct product forward[2]; /* [pre wanted]; without an activation only [0] */
    struct product input;
    struct product weight[2]; /* [db wanted] */
    size_t scratch_offset;    /* of the workspace: the library's part; then ours */
};

static char *scratch_of(const struct linear_plan *p)
{
    return (char *)cuda_workspace(&p->plan) + p->scratch_offset;
}
static size_t aligned(size_t bytes)
{
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

/* ---- enqueue ---- */

static void cast(const struct linear_plan *p, const void *from, enum dtype from_type, void *to, enum dtype to_type,
                 int64_t count)
{
    struct backend *be = p->plan.backend;
    be->nn.cast(be, from, from_type, to, to_type, count);
}

/* The bias in the type the product reads. */
static void *bias_of(const struct linear_plan *p, const struct gemm_shape *shape, const float *b)
{
    if (!gemm_has_bias(shape->epilogue))
        return NULL;
    if (shape->dtype_bias == DTYPE_F32)
        return (void *)(uintptr_t)b;
    cast(p, b, DTYPE_F32, scratch_of(p), shape->dtype_bias, p->desc.out);
    return scratch_of(p);
}

/* The product lies in fp32 scratch, or is y itself. */
static void finish_scratch(const struct linear_plan *p, float *product, const float *b, void *y, void *pre)
{
    const struct linear_desc *d = &p->desc;
    struct backend *be = p->plan.backend;
    cuda_add_bias(be, product, b, d->rows, d->out);
    if (d->act == ACT_NONE) {
        if ((void *)product != y)
            cast(p, product, DTYPE_F32, y, d->dtype_out, d->rows * d->out);
        return;
    }
    if (pre) {
        cast(p, product, DTYPE_F32, pre, d->dtype, d->rows * d->out);
        cuda_activation_forward(be, d->act, pre, d->dtype, y, d->dtype_out, d->rows, d->out);
        return;
    }
    cuda_activation_forward(be, d->act, product, DTYPE_F32, y, d->dtype_out, d->rows, d->out);
}

static void linear_forward(struct op_plan *plan, const void *x, const void *w, const float *b, void *y, void *pre)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    pre = d->act == ACT_NONE ? NULL : pre;
    const struct product *product = &p->forward[pre != NULL];
    const struct gemm_shape *shape = gemm_shape_of(product->gemm);
    VT_CHECK(!d->bias || b);
    struct gemm_operands o = {.a = w, .b = x, .bias = bias_of(p, shape, b), .workspace = cuda_workspace(plan)};
    if (product->route == ROUTE_FUSED) {
        o.d = y;
        o.aux = pre;
    } else if (product->route == ROUTE_SPLIT)
        o.d = pre ? pre : y;
    else
        o.d = d->act == ACT_NONE && d->dtype_out == DTYPE_F32 ? y : scratch_of(p);
    gemm_run(product->gemm, &o);
    if (product->route == ROUTE_SPLIT)
        cuda_activation_forward(plan->backend, d->act, o.d, shape->dtype_out, y, d->dtype_out, d->rows, d->out);
    else if (product->route == ROUTE_SCRATCH)
        finish_scratch(p, o.d, b, y, pre);
}

/* x or dy in fp32. */
static void *widened(const struct linear_plan *p, const void *from, enum dtype dtype, int64_t count, char **scratch)
{
    if (dtype == DTYPE_F32)
        return (void *)(uintptr_t)from;
    void *wide = *scratch;
    *scratch += aligned((size_t)count * sizeof(float));
    cast(p, from, dtype, wide, DTYPE_F32, count);
    return wide;
}

/* All in fp32; then dx as it is wanted. */
static void input_by_scratch(const struct linear_plan *p, const void *dy, const void *w, void *dx)
{
    const struct linear_desc *d = &p->desc;
    const size_t element = dtype_bytes(d->dtype), row = (size_t)d->in * element;
    char *scratch = scratch_of(p);
    struct gemm_operands o = {.workspace = cuda_workspace(&p->plan)};
    o.b = widened(p, dy, d->dtype_out, d->rows * d->out, &scratch);
    o.a = widened(p, w, d->dtype, d->out * d->in, &scratch);
    o.d = scratch;
    gemm_run(p->input.gemm, &o);
    scratch += aligned((size_t)(d->rows * d->in) * sizeof(float));
    cast(p, o.d, DTYPE_F32, d->x_stride == d->in ? dx : scratch, d->dtype, d->rows * d->in);
    if (d->x_stride != d->in)
        cuda_copy_rows(cuda_of(&p->plan), dx, (size_t)d->x_stride * element, scratch, row, row, d->rows);
}

static void product_of_input(const struct linear_plan *p, const void *dy, const void *w, const void *input_pre, void *dx)
{
    const struct linear_desc *d = &p->desc;
    if (linear_is_mixed(d)) {
        cast(p, dy, d->dtype_out, scratch_of(p), d->dtype, d->rows * d->out);
        dy = scratch_of(p);
    }
    const struct gemm_operands o = {
        .a = w, .b = dy, .d = dx, .aux = (void *)(uintptr_t)input_pre, .workspace = cuda_workspace(&p->plan)};
    gemm_run(p->input.gemm, &o);
}

static void linear_backward_input(struct op_plan *plan, const void *dy, const void *w, const void *input_pre, void *dx)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    VT_CHECK(d->input_act == ACT_NONE || input_pre);
    if (p->input.route == ROUTE_SCRATCH)
        input_by_scratch(p, dy, w, dx);
    else
        product_of_input(p, dy, w, input_pre, dx);
    if (p->input.route != ROUTE_FUSED && d->input_act != ACT_NONE)
        cuda_activation_backward(plan->backend, d->input_act, input_pre, dx, d->dtype, d->rows, d->in, d->x_stride);
}

static size_t widen_bytes(const struct linear_desc *d)
{
    size_t inputs = (size_t)(d->rows * d->in);
    return aligned(inputs * sizeof(float)) + aligned(inputs * dtype_bytes(d->dtype));
}

/* x in fp32 and contiguous; the gathered rows lie behind it. */
static const void *widen(const struct linear_plan *p, const void *x)
{
    const struct linear_desc *d = &p->desc;
    char *wide = scratch_of(p), *rows = wide + aligned((size_t)(d->rows * d->in) * sizeof(float));
    if (d->x_stride != d->in) {
        size_t element = dtype_bytes(d->dtype);
        cuda_copy_rows(cuda_of(&p->plan), rows, (size_t)d->in * element, x, (size_t)d->x_stride * element,
                       (size_t)d->in * element, d->rows);
        x = rows;
    }
    cast(p, x, d->dtype, wide, DTYPE_F32, d->rows * d->in);
    return wide;
}

static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                   bool accumulate)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    struct backend *be = plan->backend;
    const struct product *product = &p->weight[db != NULL];
    bool fused = db && product->route == ROUTE_FUSED, wide = product->route == ROUTE_SCRATCH;
    char *behind = (char *)scratch_of(p) + widen_bytes(d);
    struct gemm_operands o = {.a = wide || linear_is_mixed(d) ? widen(p, x) : x,
                              .b = wide ? widened(p, dy, d->dtype_out, d->rows * d->out, &behind) : dy,
                              .d = dw,
                              .workspace = cuda_workspace(plan),
                              .accumulate = accumulate};
    if (fused) /* BGRADB overwrites */
        o.bias = accumulate ? (void *)scratch_of(p) : db;
    gemm_run(product->gemm, &o);
    if (fused && accumulate)
        be->nn.reduce_add(be, db, (const float *)scratch_of(p), d->out);
    else if (db && !fused)
        cuda_column_sums(be, dy, d->dtype_out, d->rows, d->out, db, accumulate, scratch_of(p));
}

/* ---- workspace ---- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t scratch_bytes(const struct linear_plan *p)
{
    const struct linear_desc *d = &p->desc;
    const struct cuda_backend *cuda = cuda_of(&p->plan);
    size_t outputs = (size_t)(d->rows * d->out), inputs = (size_t)(d->rows * d->in);
    size_t bytes = most((size_t)d->out * sizeof(float), cuda_column_sums_bytes(&cuda->base, d->rows, d->out));
    for (int i = 0; i < 2; i++)
        if (p->forward[i].gemm && p->forward[i].route == ROUTE_SCRATCH)
            bytes = most(bytes, outputs * sizeof(float));
    if (linear_is_mixed(d))
        bytes = most(bytes, most(outputs * dtype_bytes(d->dtype), widen_bytes(d)));
    if (p->input.gemm && p->input.route == ROUTE_SCRATCH)
        bytes = most(bytes, aligned(outputs * sizeof(float)) + aligned((size_t)(d->out * d->in) * sizeof(float)) +
                                aligned(inputs * sizeof(float)) + inputs * dtype_bytes(d->dtype));
    for (int i = 0; i < 2; i++)
        if (p->weight[i].gemm && p->weight[i].route == ROUTE_SCRATCH)
            bytes = most(bytes, widen_bytes(d) + outputs * sizeof(float));
    return bytes;
}

static void lay_out(struct linear_plan *p)
{
    const struct product *all[] = {&p->forward[0], &p->forward[1], &p->input, &p->weight[0], &p->weight[1]};
    p->scratch_offset = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->gemm)
            p->scratch_offset = most(p->scratch_offset, aligned(gemm_workspace(all[i]->gemm)));
    p->plan.workspace_bytes = 0;
    cuda_plan_workspace(&p->plan, p->scratch_offset + scratch_bytes(p));
}

/* ---- choosing ---- */

enum part { FORWARD, FORWARD_PRE, INPUT, WEIGHT, WEIGHT_DB, PART_COUNT };
static const char *const PART_NAMES[PART_COUNT] = {"forward", "forward_pre", "input", "weight", "weight_db"};

static struct product *product_of(struct linear_plan *p, enum part part)
{
    return part == INPUT ? &p->input : part >= WEIGHT ? &p->weight[part - WEIGHT] : &p->forward[part];
}

/* Gradients are summed over ranks while backward runs: its products may have to leave room. */
static int sm_target(const struct cuda_backend *cuda, enum part part)
{
    int spared = cuda->base.spared_multiprocessors;
    return part >= INPUT && spared > 0 && spared < cuda->multiprocessors ? cuda->multiprocessors - spared : 0;
}

/* VT_CUDA_LINEAR: whether there is one, and which. */
static vt_status read_wish(bool *wished, enum linear_route *route)
{
    const char *wish = getenv("VT_CUDA_LINEAR");
    *wished = wish && *wish;
    if (*wished && !linear_route_parse(wish, route))
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_LINEAR=%s: expected fused, split or scratch", wish);
    return VT_OK;
}

/* Those of one route, if there are any; else all, *wished being false then. */
static int only(enum linear_route route, struct linear_candidate *c, int count, bool *wished)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        kept += c[i].route == route;
    *wished = kept > 0;
    if (!kept)
        return count;
    kept = 0;
    for (int i = 0; i < count; i++)
        if (c[i].route == route)
            c[kept++] = c[i];
    return kept;
}

static int candidates_of(const struct linear_plan *p, enum part part, struct linear_candidate out[LINEAR_CANDIDATES])
{
    const struct linear_desc *d = &p->desc;
    int count = part == INPUT    ? linear_input_candidates(d, out)
                : part >= WEIGHT ? linear_weight_candidates(d, part == WEIGHT_DB, out)
                                 : linear_forward_candidates(d, part == FORWARD_PRE, out);
    for (int i = 0; i < count; i++)
        out[i].shape.sm_target = sm_target(cuda_of(&p->plan), part);
    return count;
}

/* Tensors of the whole layer for timing a part with its own kernels. */
struct layer_trial {
    struct linear_plan *plan;
    enum part part;
    void *x, *w, *b, *y, *pre, *dw, *db; /* y plays dy, x plays dx's place, pre input_pre */
};

static void run_part(void *context, int run)
{
    const struct layer_trial *t = context;
    struct op_plan *plan = &t->plan->plan;
    (void)run;
    if (t->part <= FORWARD_PRE)
        linear_forward(plan, t->x, t->w, t->b, t->y, t->part == FORWARD_PRE ? t->pre : NULL);
    else if (t->part == INPUT)
        linear_backward_input(plan, t->y, t->w, t->pre, t->x);
    else
        linear_backward_weight(plan, t->x, t->y, t->dw, t->part == WEIGHT_DB ? t->db : NULL, true);
}

static void close_trial(struct layer_trial *t)
{
    void *all[] = {t->x, t->w, t->b, t->y, t->pre, t->dw, t->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cuda_trial_free(all[i]);
}

static bool open_trial(struct layer_trial *t, struct linear_plan *p, enum part part)
{
    const struct linear_desc *d = &p->desc;
    struct cuda_backend *cuda = cuda_of(&p->plan);
    int64_t widest = d->in > d->out ? d->in : d->out;
    *t = (struct layer_trial){.plan = p, .part = part};
    t->x = cuda_trial_alloc(cuda, d->dtype, d->rows * d->x_stride);
    t->w = cuda_trial_alloc(cuda, d->dtype, d->out * d->in);
    t->b = cuda_trial_alloc(cuda, DTYPE_F32, d->out);
    t->y = cuda_trial_alloc(cuda, d->dtype_out, d->rows * d->out);
    t->pre = cuda_trial_alloc(cuda, d->dtype, d->rows * widest);
    t->dw = cuda_trial_alloc(cuda, DTYPE_F32, d->out * d->in);
    t->db = cuda_trial_alloc(cuda, DTYPE_F32, d->out);
    if (t->x && t->w && t->b && t->y && t->pre && t->dw && t->db)
        return true;
    close_trial(t);
    return false;
}

/* VT_E_MEMORY: no room to try. */
static vt_status time_part(struct linear_plan *p, enum part part, const char *what, double *us)
{
    struct cuda_backend *cuda = cuda_of(&p->plan);
    struct layer_trial trial;
    lay_out(p);
    VT_TRY(cuda->base.reserve_workspace(&cuda->base));
    if (!open_trial(&trial, p, part))
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory to time %s", what);
    vt_status status = cuda_time(cuda, what, run_part, &trial, TIMED_RUNS, us);
    close_trial(&trial);
    return status;
}

/* What is stored of a choice: "fused:fp32", the type being that of the bias. */
static void label_of(const struct linear_candidate *c, char label[32])
{
    snprintf(label, 32, "%s:%s", linear_route_name(c->route), dtype_name(c->shape.dtype_bias));
}

static void part_key(const struct linear_plan *p, enum part part, char key[GEMM_KEY_BYTES])
{
    const struct linear_desc *d = &p->desc;
    int target = sm_target(cuda_of(&p->plan), part);
    int used = snprintf(key, GEMM_KEY_BYTES, "linear/%s/%lldx%lldx%lld/ld=%lld/%s>%s/bias=%d/act=%d,%d",
                        PART_NAMES[part], (long long)d->rows, (long long)d->in, (long long)d->out,
                        (long long)d->x_stride, dtype_name(d->dtype), dtype_name(d->dtype_out), d->bias, (int)d->act,
                        (int)d->input_act);
    if (target)
        snprintf(key + used, (size_t)(GEMM_KEY_BYTES - used), "/sm%d", target);
}

static bool take_stored(struct linear_plan *p, enum part part, const char *key, const struct linear_candidate *c,
                        int count)
{
    struct cuda_backend *cuda = cuda_of(&p->plan);
    char label[32], stored[32] = "";
    const char *value = cuda_tuning_find(cuda, key);
    if (!value)
        return false;
    snprintf(stored, sizeof stored, "%.31s", value); /* opening a product may move the table */
    for (int i = 0; i < count; i++) {
        label_of(&c[i], label);
        struct product *product = product_of(p, part);
        if (strcmp(label, stored) == 0 && gemm_open(cuda, &c[i].shape, &product->gemm) == VT_OK) {
            product->route = c[i].route;
            return true;
        }
    }
    return false;
}

/* Opens a candidate in its part's place and times it, unless it is `alone`. *us < 0: there was no room to try. VT_E_UNSUPPORTED: it
 * cannot be taken; the place is empty again. */
static vt_status attempt(struct linear_plan *p, enum part part, const char *key, const struct linear_candidate *c, bool alone,
                     double *us)
{
    struct product *place = product_of(p, part);
    char label[32], what[GEMM_KEY_BYTES + 40];
    *us = -1;
    VT_TRY(gemm_open(cuda_of(&p->plan), &c->shape, &place->gemm));
    place->route = c->route;
    if (alone)
        return VT_OK;
    label_of(c, label);
    snprintf(what, sizeof what, "%s, %s", key, label);
    vt_status status = time_part(p, part, what, us);
    if (status == VT_OK || status == VT_E_MEMORY)
        return VT_OK;
    gemm_close(&place->gemm);
    return status;
}

/* Whether no later candidate may be taken in this one's place for its speed. */
static bool no_other(const struct linear_candidate *c, int i, int count)
{
    for (int j = i + 1; j < count; j++)
        if (c[j].route != c[i].route && c[j].route != ROUTE_SCRATCH)
            return false;
    return true;
}

/* Open the first candidate of each route; scratch only where nothing else is there. Keep the fastest. */
static vt_status choose(struct linear_plan *p, enum part part)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct cuda_backend *cuda = cuda_of(&p->plan);
    struct product *place = product_of(p, part), best = {0};
    const struct linear_candidate *chosen = NULL;
    enum linear_route wish = ROUTE_FUSED;
    bool wished;
    char key[GEMM_KEY_BYTES], label[32];
    double best_us = -1;
    int count = candidates_of(p, part, c), last_route = -1;
    vt_status status = VT_OK;
    part_key(p, part, key);
    VT_TRY(read_wish(&wished, &wish));
    if (wished)
        count = only(wish, c, count, &wished);
    if (!wished && take_stored(p, part, key, c, count))
        return VT_OK;
    for (int i = 0; i < count; i++) {
        if ((int)c[i].route == last_route || (chosen && (c[i].route == ROUTE_SCRATCH || !cuda->tune)))
            continue;
        double us;
        status = attempt(p, part, key, &c[i], !cuda->tune || (!chosen && no_other(c, i, count)), &us);
        if (status == VT_E_UNSUPPORTED)
            continue;
        VT_TRY_OUT(status);
        last_route = (int)c[i].route;
        if (!chosen || (us >= 0 && (best_us < 0 || us < best_us))) {
            gemm_close(&best.gemm);
            best = *place;
            best_us = us;
            chosen = &c[i];
        } else
            gemm_close(&place->gemm);
        *place = (struct product){0};
    }
    *place = best;
    if (!chosen)
        return status;
    label_of(chosen, label);
    if (!wished)
        cuda_tuning_put(cuda, key, label);
    return VT_OK;
out:
    gemm_close(&best.gemm);
    return status;
}

/* ---- plan ---- */

static void linear_destroy(struct op_plan *plan)
{
    struct linear_plan *p = (struct linear_plan *)plan;
    gemm_close(&p->forward[0].gemm);
    gemm_close(&p->forward[1].gemm);
    gemm_close(&p->input.gemm);
    gemm_close(&p->weight[0].gemm);
    gemm_close(&p->weight[1].gemm);
    free(p);
}

static vt_status choose_all(struct linear_plan *p)
{
    VT_TRY(choose(p, FORWARD));
    if (p->desc.act != ACT_NONE)
        VT_TRY(choose(p, FORWARD_PRE));
    VT_TRY(choose(p, INPUT));
    VT_TRY(choose(p, WEIGHT));
    VT_TRY(choose(p, WEIGHT_DB));
    lay_out(p);
    return VT_OK;
}

static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    struct linear_plan *p;
    VT_CHECK(desc->rows > 0 && desc->in > 0 && desc->out > 0);
    VT_CHECK(desc->x_stride == 0 || desc->x_stride >= desc->in);
    VT_CHECK(desc->dtype_out == desc->dtype || desc->dtype_out == DTYPE_F32);
    VT_TRY(cuda_check_dtype("linear", desc->dtype));
    VT_TRY(cuda_plan_new(be, "cuBLASLt", sizeof *p, 0, (void **)&p));
    p->desc = *desc;
    if (p->desc.x_stride == 0)
        p->desc.x_stride = desc->in;
    p->plan.destroy = linear_destroy;
    p->plan.flops = 2.0 * (double)desc->rows * (double)desc->in * (double)desc->out;
    vt_status status = choose_all(p);
    *plan = &p->plan;
    if (status != VT_OK) {
        op_plan_close(plan);
        return status;
    }
    snprintf(p->plan.algorithm, sizeof p->plan.algorithm, "cuBLASLt %s/%s/%s",
             linear_route_name(p->forward[desc->act != ACT_NONE].route), linear_route_name(p->input.route),
             linear_route_name(p->weight[1].route));
    return VT_OK;
}

void cuda_linear_install(struct backend *be)
{
    be->nn.linear_plan = linear_plan;
    be->nn.linear_forward = linear_forward;
    be->nn.linear_backward_input = linear_backward_input;
    be->nn.linear_backward_weight = linear_backward_weight;
}
