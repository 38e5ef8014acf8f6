#include "optim/optimizer.h"

#include <fnmatch.h>
#include <stdlib.h>

#include "base/check.h"

struct optimizer {
    struct optimizer_desc desc;
    struct backend *be; /* borrowed */
    struct optim_segment *segments;
    int segment_count;
    struct optim_segment *frozen; /* of the whole table, not of the shard: the norm covers everything */
    int frozen_count;
    double *partials; /* device: one per NORM_CHUNK elements of the flat buffer */
    int64_t partial_count;
};

int optimizer_state_count(const struct optimizer_desc *desc)
{
    return (desc->kind == OPTIMIZER_ADAMW ? 2 : 1) + (desc->ema_decay > 0 ? 1 : 0);
}

/* The last rule that matches the name, or NULL. */
static const struct optimizer_rule *find_rule(const struct optimizer_rule *rules, int count, const char *name)
{
    for (int i = count - 1; i >= 0; i--)
        if (fnmatch(rules[i].pattern, name, 0) == 0)
            return &rules[i];
    return NULL;
}

static vt_status check_rules(const struct optimizer_desc *desc, const char *what, const struct optimizer_rule *rules,
                             int count)
{
    for (int i = 0; i < count; i++) {
        if (!(rules[i].value >= 0))
            return VT_FAIL(VT_E_USAGE, "%s: the multiplier of '%s' is %g, expected >= 0", what, rules[i].pattern,
                           (double)rules[i].value);
        int matches = 0;
        for (int row = 0; row < desc->table->count; row++)
            matches += fnmatch(rules[i].pattern, desc->table->rows[row].name, 0) == 0;
        if (!matches)
            return VT_FAIL(VT_E_USAGE, "%s: the pattern '%s' matches none of the %d parameters (the first is '%s')",
                           what, rules[i].pattern, desc->table->count,
                           desc->table->count ? desc->table->rows[0].name : "");
    }
    return VT_OK;
}

static vt_status check_desc(const struct optimizer_desc *desc)
{
    VT_CHECK(desc->table && 0 <= desc->begin && desc->begin <= desc->end && desc->end <= desc->table->total);
    VT_CHECK(desc->begin % PARAM_ALIGN == 0 && desc->end % PARAM_ALIGN == 0);
    /* eps = 0 would make 0/0 of parameters (and gaps) that never see a gradient. */
    if (desc->kind == OPTIMIZER_ADAMW && !(desc->eps > 0))
        return VT_FAIL(VT_E_USAGE, "optim.eps is %g, expected > 0", (double)desc->eps);
    if (desc->kind == OPTIMIZER_ADAMW &&
        !(desc->beta1 >= 0 && desc->beta1 < 1 && desc->beta2 >= 0 && desc->beta2 < 1))
        return VT_FAIL(VT_E_USAGE, "optim.betas are %g, %g, expected 0 <= beta < 1", (double)desc->beta1,
                       (double)desc->beta2);
    if (desc->kind == OPTIMIZER_SGD && !(desc->momentum >= 0 && desc->momentum < 1))
        return VT_FAIL(VT_E_USAGE, "optim.momentum is %g, expected 0 <= momentum < 1", (double)desc->momentum);
    if (!(desc->weight_decay >= 0))
        return VT_FAIL(VT_E_USAGE, "optim.weight_decay is %g, expected >= 0", (double)desc->weight_decay);
    if (!(desc->clip >= 0))
        return VT_FAIL(VT_E_USAGE, "optim.clip is %g, expected >= 0", (double)desc->clip);
    if (!(desc->ema_decay >= 0 && desc->ema_decay < 1))
        return VT_FAIL(VT_E_USAGE, "train.ema is %g, expected 0 <= decay < 1", (double)desc->ema_decay);
    VT_TRY(check_rules(desc, "optim.decay_rules", desc->decay_rules, desc->decay_rule_count));
    return check_rules(desc, "optim.lr rules", desc->lr_rules, desc->lr_rule_count);
}

static struct optim_segment row_segment(const struct optimizer_desc *desc, int index, int64_t from, int64_t to)
{
    const struct param_table *table = desc->table;
    const struct param *row = &table->rows[index];
    const struct optimizer_rule *decay = find_rule(desc->decay_rules, desc->decay_rule_count, row->name);
    const struct optimizer_rule *lr = find_rule(desc->lr_rules, desc->lr_rule_count, row->name);
    int64_t end = index + 1 < table->count ? table->rows[index + 1].offset : table->total;
    return (struct optim_segment){
        .begin = row->offset > from ? row->offset : from,
        .end = end < to ? end : to,
        .lr_scale = lr ? lr->value : 1,
        .weight_decay = decay ? desc->weight_decay * decay->value : row->decay ? desc->weight_decay : 0,
    };
}

/* Append, or lengthen the last segment when it has the same multipliers. */
static void add_segment(struct optim_segment *segments, int *count, const struct optim_segment *next)
{
    struct optim_segment *last = *count ? &segments[*count - 1] : NULL;
    if (last && last->end == next->begin && last->lr_scale == next->lr_scale &&
        last->weight_decay == next->weight_decay)
        last->end = next->end;
    else
        segments[(*count)++] = *next;
}

static void build_segments(struct optimizer *opt)
{
    const struct optimizer_desc *desc = &opt->desc;
    for (int row = 0; row < desc->table->count; row++) {
        struct optim_segment whole = row_segment(desc, row, 0, desc->table->total);
        if (whole.lr_scale == 0)
            add_segment(opt->frozen, &opt->frozen_count, &whole);
        struct optim_segment part = row_segment(desc, row, desc->begin, desc->end);
        if (part.begin < part.end)
            add_segment(opt->segments, &opt->segment_count, &part);
    }
}

vt_status optimizer_open(const struct optimizer_desc *desc, struct backend *be, struct optimizer **out)
{
    VT_TRY(check_desc(desc));
    vt_status status = VT_OK;
    struct optimizer *opt = calloc(1, sizeof *opt);
    VT_CHECK(opt);
    opt->desc = *desc;
    opt->be = be;
    opt->segments = calloc((size_t)desc->table->count + 1, sizeof *opt->segments);
    opt->frozen = calloc((size_t)desc->table->count + 1, sizeof *opt->frozen);
    VT_CHECK(opt->segments && opt->frozen);
    build_segments(opt);
    opt->desc.decay_rules = opt->desc.lr_rules = NULL;
    opt->partial_count = (desc->table->total + NORM_CHUNK - 1) / NORM_CHUNK;
    VT_TRY_OUT(be->alloc(be, MEMORY_DEVICE, (size_t)(opt->partial_count + 1) * sizeof(double), "gradient norm partials",
                         (void **)&opt->partials));
    *out = opt;
    opt = NULL;
out:
    optimizer_close(&opt);
    return status;
}

void optimizer_close(struct optimizer **optimizer)
{
    struct optimizer *opt = *optimizer;
    if (!opt)
        return;
    if (opt->partials)
        opt->be->release(opt->be, MEMORY_DEVICE, opt->partials);
    free(opt->segments);
    free(opt->frozen);
    free(opt);
    *optimizer = NULL;
}

int optimizer_segments(const struct optimizer *optimizer, const struct optim_segment **segments)
{
    *segments = optimizer->segments;
    return optimizer->segment_count;
}

void optimizer_step(struct optimizer *opt, const struct optimizer_buffers *b, double lr, int64_t step,
                    struct step_scalars *scalars)
{
    struct backend *be = opt->be;
    const struct optimizer_desc *desc = &opt->desc;
    struct optim_hyper hyper = {.lr = (float)lr, .beta1 = desc->beta1, .beta2 = desc->beta2, .eps = desc->eps,
                                .momentum = desc->momentum, .nesterov = desc->nesterov, .step = step,
                                .clip = desc->clip};
    VT_CHECK(step >= 1);
    for (int i = 0; i < opt->frozen_count; i++)
        be->zero(be, STREAM_COMPUTE, b->grads + opt->frozen[i].begin,
                 (size_t)(opt->frozen[i].end - opt->frozen[i].begin) * sizeof(float));
    be->optim.sumsq_chunks(be, b->grads, desc->table->total, opt->partials);
    be->optim.norm_finish(be, opt->partials, opt->partial_count, desc->clip, scalars);
    if (desc->kind == OPTIMIZER_ADAMW)
        be->optim.adamw(be, opt->segments, opt->segment_count, &hyper, b->params, b->grads, b->m, b->v, b->compute,
                        desc->ema_decay > 0 ? b->ema : NULL, desc->ema_decay, scalars);
    else
        be->optim.sgd(be, opt->segments, opt->segment_count, &hyper, b->params, b->grads, b->m, b->compute,
                      desc->ema_decay > 0 ? b->ema : NULL, desc->ema_decay, scalars);
}
