/* Losses over sparse labels. Threads share out rows; the sums over rows are then made in order by one. Targets are
 * smoothing / K everywhere plus a few labels, so the dense part is vectorised and the labels are added one by one. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

struct row_result {
    double loss;
    int64_t best; /* rank of the best label; classes = none */
};

struct loss_plan {
    struct op_plan plan;
    struct loss_desc desc;
    int64_t row_bytes, rows_offset; /* workspace: results [B], then a row of gradients per thread */
};

struct loss_job {
    const struct loss_plan *plan;
    const struct loss_args *args;
};

/* Weight of label s of row b, 0 for an absent one; checks the id. */
static float label_at(const struct loss_job *job, int64_t b, int64_t s, int32_t *id)
{
    const struct loss_desc *d = &job->plan->desc;
    *id = job->args->label_id[b * d->labels + s];
    VT_CHECKF(*id < d->classes, "label %d of %lld classes", *id, (long long)d->classes);
    return *id < 0 ? 0.0f : (1.0f - d->smoothing) * job->args->label_weight[b * d->labels + s];
}

/* With target sum T: loss = T lse - sum t z, dz = T softmax - t. */
static double softmax_row(const struct loss_job *job, int64_t b, const float *z, float *dz)
{
    const struct loss_desc *d = &job->plan->desc;
    const struct cpu_kernels *k = cpu_of(&job->plan->plan)->kernels;
    const float scale = job->args->grad_scale, rest = d->smoothing / (float)d->classes;
    float top = k->row_max(z, d->classes);
    double log_sum = log(k->row_sum_exp(z, top, d->classes)), total = (double)d->smoothing, dot = 0;
    if (d->smoothing > 0)
        for (int64_t i = 0; i < d->classes; i++)
            dot += (double)rest * ((double)z[i] - (double)top);
    int32_t id;
    for (int64_t s = 0; s < d->labels; s++) {
        double weight = (double)label_at(job, b, s, &id);
        total += weight;
        dot += weight != 0 ? weight * ((double)z[id] - (double)top) : 0;
    }
    if (dz) {
        k->row_softmax(z, top + (float)log_sum, scale * (float)total, dz, d->classes);
        for (int64_t i = 0; d->smoothing > 0 && i < d->classes; i++)
            dz[i] -= scale * rest;
    }
    for (int64_t s = 0; dz && s < d->labels; s++) {
        float weight = label_at(job, b, s, &id);
        if (id >= 0)
            dz[id] -= scale * weight;
    }
    return total * log_sum - dot;
}

static double sigmoid_row(const struct loss_job *job, int64_t b, const float *z, float *dz)
{
    const struct loss_desc *d = &job->plan->desc;
    const struct cpu_kernels *k = cpu_of(&job->plan->plan)->kernels;
    double loss = k->row_sigmoid(z, d->smoothing / (float)d->classes, job->args->grad_scale, dz, d->classes);
    for (int64_t s = 0; s < d->labels; s++) {
        int32_t id;
        float weight = label_at(job, b, s, &id);
        if (id < 0)
            continue;
        loss -= (double)weight * (double)z[id];
        if (dz)
            dz[id] -= job->args->grad_scale * weight;
    }
    return loss;
}

/* How many classes come before `id` by logit, ties in class order; a NaN comes last. */
static int64_t rank_of(const float *z, int64_t classes, int64_t id)
{
    float own = z[id];
    if (isnan(own))
        return classes;
    int64_t before = 0;
    for (int64_t k = 0; k < id; k++)
        before += z[k] >= own;
    for (int64_t k = id + 1; k < classes; k++)
        before += z[k] > own;
    return before;
}

static int64_t best_rank(const struct loss_job *job, int64_t b, const float *z)
{
    const struct loss_desc *d = &job->plan->desc;
    int64_t best = d->classes;
    for (int64_t s = 0; s < d->labels; s++) {
        int32_t id = job->args->label_id[b * d->labels + s];
        if (id >= 0 && job->args->label_weight[b * d->labels + s] > 0)
            best = least(best, rank_of(z, d->classes, id));
    }
    return best;
}

static void loss_rows(void *context, int part, int parts, int worker)
{
    const struct loss_job *job = context;
    const struct loss_plan *p = job->plan;
    const struct loss_desc *d = &p->desc;
    const struct loss_args *a = job->args;
    char *workspace = cpu_workspace(&p->plan);
    struct row_result *results = (struct row_result *)workspace;
    float *dz = (float *)(workspace + p->rows_offset + worker * p->row_bytes);
    struct cpu_range own = cpu_share(d->batch, 1, part, parts);
    for (int64_t b = own.begin; b < own.end; b++) {
        const float *z = a->logits + b * d->classes;
        void *to = a->dlogits ? at_element(a->dlogits, d->dtype_grad, b * d->classes) : NULL;
        if (a->row_weight[b] == 0) {
            if (to)
                memset(to, 0, (size_t)(d->classes * dtype_size(d->dtype_grad)));
            continue;
        }
        results[b].loss = (d->kind == LOSS_SOFTMAX ? softmax_row : sigmoid_row)(job, b, z, to ? dz : NULL);
        results[b].best = best_rank(job, b, z);
        if (to)
            cpu_of(&p->plan)->kernels->cast(dz, DTYPE_F32, to, d->dtype_grad, d->classes);
    }
}

static void loss_forward_backward(struct op_plan *plan, const struct loss_args *args)
{
    struct loss_job job = {(const struct loss_plan *)plan, args};
    const struct loss_desc *d = &job.plan->desc;
    cpu_parallel(plan->backend, cpu_parts(plan->backend, d->batch), loss_rows, &job);
    const struct row_result *results = (const struct row_result *)cpu_workspace(plan);
    for (int64_t b = 0; b < d->batch; b++) {
        bool valid = args->row_weight[b] != 0;
        if (args->row_loss)
            args->row_loss[b] = valid ? (float)results[b].loss : 0;
        if (!valid)
            continue;
        args->scalars->loss_sum += results[b].loss;
        args->scalars->weight_sum += 1;
        args->scalars->correct1 += results[b].best < 1;
        args->scalars->correct5 += results[b].best < 5 && results[b].best < d->classes;
    }
}

static vt_status loss_plan(struct backend *be, const struct loss_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->classes > 0 && desc->labels > 0);
    VT_CHECK(desc->smoothing >= 0 && desc->smoothing <= 1);
    VT_TRY(cpu_check_dtype("loss", desc->dtype_grad));
    int64_t results = round_up(desc->batch * (int64_t)sizeof(struct row_result), 64),
            row = round_up(desc->classes * 4, 64);
    struct loss_plan *made;
    VT_TRY(cpu_plan_new(be, "rows", sizeof *made, results + row * be->threads, (void **)&made));
    made->desc = *desc;
    made->row_bytes = row;
    made->rows_offset = results;
    *plan = &made->plan;
    return VT_OK;
}

void cpu_loss_install(struct nn_ops *nn)
{
    nn->loss_plan = loss_plan;
    nn->loss_forward_backward = loss_forward_backward;
}
