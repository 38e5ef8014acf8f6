/* Which way each part of a linear layer goes: the faster one, per shape, once. VT_CUDA_LINEAR=fused|split|scratch: that way and no
 * other wherever a part has it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/linear.h"

enum { TIMED_RUNS = 11 };

enum part { FORWARD, FORWARD_PRE, INPUT, INPUT_SUM, WEIGHT, WEIGHT_DB, PART_COUNT };
static const char *const PART_NAMES[PART_COUNT] = {"forward", "forward_pre", "input", "input_sum", "weight", "weight_db"};
static const char SUMS_APART[] = "apart"; /* stored of INPUT_SUM: a pass of their own, or the weight gradient's, is as good */

static struct product *product_of(struct linear_plan *p, enum part part)
{
    return part >= WEIGHT ? &p->weight[part - WEIGHT] : part >= INPUT ? &p->input[part - INPUT] : &p->forward[part];
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
    int count = part >= WEIGHT  ? linear_weight_candidates(d, part == WEIGHT_DB, out)
                : part >= INPUT ? linear_input_candidates(d, part == INPUT_SUM, out)
                                : linear_forward_candidates(d, part == FORWARD_PRE, out);
    for (int i = 0; i < count; i++)
        out[i].shape.sm_target = sm_target(cuda_of(&p->plan), part);
    return count;
}

/* Tensors of the whole layer for timing a part with its own kernels. */
struct layer_trial {
    struct linear_plan *plan;
    enum part part;
    void *x, *w, *b, *y, *pre, *dw, *db; /* y plays dy, x plays dx's place, pre input_pre, db dx_sum */
};

static void run_part(void *context, int run)
{
    const struct layer_trial *t = context;
    struct op_plan *plan = &t->plan->plan;
    (void)run;
    if (t->part <= FORWARD_PRE)
        plan->backend->nn.linear_forward(plan, &(struct linear_forward_args){.x = t->x,
                                                                             .w = t->w,
                                                                             .b = t->b,
                                                                             .b_rounded = t->w, /* as good as any */
                                                                             .y = t->y,
                                                                             .pre = t->part == FORWARD_PRE ? t->pre : NULL});
    else if (t->part < WEIGHT)
        plan->backend->nn.linear_backward_input(plan, &(struct linear_input_args){.dy = t->y,
                                                                                  .w = t->w,
                                                                                  .input_pre = t->pre,
                                                                                  .dx = t->x,
                                                                                  .dx_sum = t->part == INPUT_SUM ? t->db : NULL});
    else
        plan->backend->nn.linear_backward_weight(plan, t->x, t->y, t->dw, t->part == WEIGHT_DB ? t->db : NULL, true);
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
    t->db = cuda_trial_alloc(cuda, DTYPE_F32, widest);
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
    linear_lay_out(p);
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

/* Open the first candidate of each route; scratch only where nothing else is there. Keep the fastest. *us: its time, < 0 where it was
 * not timed now. */
static vt_status choose(struct linear_plan *p, enum part part, double *best_us)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct cuda_backend *cuda = cuda_of(&p->plan);
    struct product *place = product_of(p, part), best = {0};
    const struct linear_candidate *chosen = NULL;
    enum linear_route wish = ROUTE_FUSED;
    bool wished;
    char key[GEMM_KEY_BYTES], label[32];
    int count = candidates_of(p, part, c), last_route = -1;
    vt_status status = VT_OK;
    *best_us = -1;
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
        bool alone = part != INPUT_SUM && !chosen && no_other(c, i, count);
        status = attempt(p, part, key, &c[i], !cuda->tune || alone, &us);
        if (status == VT_E_UNSUPPORTED)
            continue;
        VT_TRY_OUT(status);
        last_route = (int)c[i].route;
        if (!chosen || (us >= 0 && (*best_us < 0 || us < *best_us))) {
            gemm_close(&best.gemm);
            best = *place;
            *best_us = us;
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

/* With the products of both ways open: the input gradient alone, and with its sums by a pass of their own. */
static vt_status time_apart(struct linear_plan *p, const char *key, double *alone_us, double *apart_us)
{
    char what[GEMM_KEY_BYTES + 40];
    snprintf(what, sizeof what, "%s, without", key);
    VT_TRY(time_part(p, INPUT, what, alone_us));
    snprintf(what, sizeof what, "%s, %s", key, SUMS_APART);
    return time_part(p, INPUT_SUM, what, apart_us);
}

/* Sums in passing where they cost less than half of a pass of their own. Else they are better left to what reads dx next: a weight
 * gradient, which may have them for less. */
static vt_status choose_sums(struct linear_plan *p)
{
    struct cuda_backend *cuda = cuda_of(&p->plan);
    double us, alone_us, apart_us;
    bool wished;
    enum linear_route wish;
    char key[GEMM_KEY_BYTES];
    part_key(p, INPUT_SUM, key);
    VT_TRY(read_wish(&wished, &wish));
    const char *stored = cuda_tuning_find(cuda, key);
    if (!wished && stored && strcmp(stored, SUMS_APART) == 0)
        return VT_OK;
    p->plan.own_sums = true;
    vt_status status = choose(p, INPUT_SUM, &us);
    if (status == VT_OK && (us < 0 || wished))
        return VT_OK;
    p->plan.own_sums = false;
    if (status != VT_OK) /* no product is open */
        return status == VT_E_UNSUPPORTED ? VT_OK : status;
    status = time_apart(p, key, &alone_us, &apart_us);
    if (status != VT_OK && status != VT_E_MEMORY && status != VT_E_UNSUPPORTED)
        return status;
    p->plan.own_sums = status == VT_E_MEMORY || (status == VT_OK && us < (alone_us + apart_us) / 2);
    if (p->plan.own_sums)
        return VT_OK;
    cuda_tuning_put(cuda, key, SUMS_APART);
    gemm_close(&p->input[1].gemm);
    return VT_OK;
}

vt_status linear_choose(struct linear_plan *p)
{
    const struct linear_desc *d = &p->desc;
    double us;
    VT_TRY(choose(p, FORWARD, &us));
    if (d->act != ACT_NONE && !d->forward_only)
        VT_TRY(choose(p, FORWARD_PRE, &us));
    if (!d->forward_only) {
        VT_TRY(choose(p, INPUT, &us));
        if (d->dx_sum && d->input_act != ACT_NONE)
            VT_TRY(choose_sums(p));
        VT_TRY(choose(p, WEIGHT, &us));
        VT_TRY(choose(p, WEIGHT_DB, &us));
    }
    linear_lay_out(p);
    return VT_OK;
}
