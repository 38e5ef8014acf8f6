#include "model/vit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "model/replica.h"

int vit_row(const struct vit *vit, const char *name, int64_t count)
{
    int row = param_table_find(vit->desc.params, name);
    VT_CHECKF(row >= 0, "parameter table has no row %s", name);
    VT_CHECKF(vit->desc.params->rows[row].count == count, "parameter table: %s has another size", name);
    return row;
}

struct linear_rows vit_linear_rows(const struct vit *vit, const char *prefix, int64_t out, int64_t in, bool bias)
{
    char name[PARAM_NAME_BYTES];
    struct linear_rows rows = {-1, -1};
    snprintf(name, sizeof name, "%s.weight", prefix);
    rows.weight = vit_row(vit, name, out * in);
    snprintf(name, sizeof name, "%s.bias", prefix);
    if (bias)
        rows.bias = vit_row(vit, name, out);
    return rows;
}

static vt_status check_desc(const struct vit_desc *desc, const struct backend *be)
{
    const char *missing = ops_missing(be);
    if (missing)
        return VT_FAIL(VT_E_UNSUPPORTED, "backend %s has no op %s, which a ViT needs", be->name, missing);
    VT_TRY(vit_config_check(&desc->config));
    VT_CHECKF(desc->batch >= 1 && desc->labels >= 1, "batch and labels per row must be given");
    VT_CHECKF(desc->dtype == DTYPE_F32 || desc->dtype == DTYPE_BF16, "compute dtype is fp32 or bf16");
    VT_CHECKF(desc->dtype_stream == DTYPE_F32 || desc->dtype_stream == DTYPE_BF16, "stream dtype is fp32 or bf16");
    return VT_OK;
}

vt_status vit_open(const struct vit_desc *desc, struct backend *be, struct vit **out)
{
    vt_status status = VT_OK;
    VT_TRY(check_desc(desc, be));
    const int depth = desc->config.depth;
    struct vit *vit = calloc(1, sizeof *vit);
    if (!vit)
        return VT_FAIL(VT_E_MEMORY, "model: no memory for the replica");
    vit->desc = *desc;
    vit->be = be;
    vit->blocks = calloc((size_t)depth, sizeof *vit->blocks);
    if (!vit->blocks)
        VT_TRY_OUT(VT_FAIL(VT_E_MEMORY, "model: no memory for the plans of %d blocks", depth));

    VT_TRY_OUT(patch_embed_plan(vit));
    VT_TRY_OUT(block_plan_shared(vit));
    for (int i = 0; i < depth; i++)
        VT_TRY_OUT(block_plan(vit, i));
    VT_TRY_OUT(head_plan(vit));
    VT_TRY_OUT(activations_open(&vit->acts, depth));
    vit->arena_offset = device_arena_reserve(&vit->arena, activations_layout(&vit->acts, &vit->desc, NULL));
    *out = vit;
    vit = NULL;
out:
    vit_close(&vit);
    return status;
}

size_t vit_activation_bytes(const struct vit_desc *desc)
{
    struct activations acts = {0};
    VT_CHECK(activations_open(&acts, desc->config.depth) == VT_OK);
    size_t bytes = activations_layout(&acts, desc, NULL);
    activations_close(&acts);
    return bytes;
}

vt_status vit_allocate(struct vit *vit)
{
    VT_TRY(device_arena_commit(&vit->arena, vit->be, "activations"));
    activations_layout(&vit->acts, &vit->desc, device_arena_at(&vit->arena, vit->arena_offset));
    return VT_OK;
}

void vit_close(struct vit **vit)
{
    struct vit *v = *vit;
    if (!v)
        return;
    patch_embed_close(v);
    block_close(v);
    head_close(v);
    device_arena_close(&v->arena, v->be);
    activations_close(&v->acts);
    free(v->blocks);
    free(v);
    *vit = NULL;
}

/* All plans of the replica, one after the other; NULL ends. For sums and maxima. */
static const struct op_plan *plan_at(const struct vit *vit, int index, int *count)
{
    const struct head *h = &vit->head;
    const struct op_plan *single[] = {vit->embed.patchify, vit->embed.proj, vit->embed.embed, h->norm,
                                      h->pool,             h->pre_logits,   h->head,          h->loss};
    enum { SINGLE = sizeof single / sizeof *single, PER_KIND = 8, PER_BLOCK = 4, BLOCKS_AT = SINGLE + BLOCK_KINDS * PER_KIND };
    *count = BLOCKS_AT + PER_BLOCK * vit->desc.config.depth;
    if (index < SINGLE)
        return single[index];
    if (index < BLOCKS_AT) {
        const struct block_shared *l = &vit->shared[(index - SINGLE) / PER_KIND];
        const struct op_plan *shared[PER_KIND] = {l->qkv, l->q,           l->proj,        l->fc1,
                                                  l->fc2, l->norm1_again, l->norm2_again, l->gelu_again};
        return shared[(index - SINGLE) % PER_KIND];
    }
    const struct block *b = &vit->blocks[(index - BLOCKS_AT) / PER_BLOCK];
    const struct op_plan *own[PER_BLOCK] = {b->norm1, b->attention, b->norm2, b->mlp_dropout};
    return own[(index - BLOCKS_AT) % PER_BLOCK];
}

struct vit_memory vit_memory_plan(const struct vit *vit)
{
    struct vit_memory memory = {.activations = vit->arena.bytes};
    int count = 1;
    for (int i = 0; i < count; i++) {
        const struct op_plan *plan = plan_at(vit, i, &count);
        if (plan && plan->workspace_bytes > memory.workspace)
            memory.workspace = plan->workspace_bytes;
    }
    return memory;
}

double vit_forward_flops(const struct vit *vit)
{
    double flops = vit->embed.proj->flops + vit->head.head->flops;
    if (vit->head.pre_logits)
        flops += vit->head.pre_logits->flops;
    for (int i = 0; i < vit->desc.config.depth; i++) {
        const struct block_shared *l = &vit->shared[vit->blocks[i].kind];
        flops += l->qkv->flops + vit->blocks[i].attention->flops + l->proj->flops + l->fc1->flops + l->fc2->flops;
        flops += l->q ? l->q->flops : 0;
    }
    return flops;
}

float *vit_logits(struct vit *vit)
{
    return vit->acts.logits;
}

static struct pass make_pass(const struct vit *vit, const struct vit_weights *weights, const struct vit_batch *batch)
{
    return (struct pass){
        .weights = weights, .batch = batch, .random = {.seed = vit->desc.seed, .position = batch->position}};
}

void vit_forward(struct vit *vit, const struct vit_weights *weights, const struct vit_batch *batch)
{
    const struct pass pass = make_pass(vit, weights, batch);
    patch_embed_forward(vit, &pass);
    for (int i = 0; i < vit->desc.config.depth; i++)
        block_forward(vit, i, &pass);
    head_forward(vit, &pass);
}

void vit_loss(struct vit *vit, const struct vit_batch *batch, float grad_scale, float *row_loss,
              struct step_scalars *scalars)
{
    const struct loss_args args = {.logits = vit->acts.logits,
                                   .label_id = batch->label_id,
                                   .label_weight = batch->label_weight,
                                   .row_weight = batch->row_weight,
                                   .grad_scale = grad_scale,
                                   .dlogits = vit->acts.dlogits, /* NULL in evaluation */
                                   .row_loss = row_loss,
                                   .scalars = scalars};
    vit->be->nn.loss_forward_backward(vit->head.loss, &args);
}

void vit_backward(struct vit *vit, const struct vit_weights *weights, const struct vit_batch *batch, float *grads,
                  bool accumulate, vit_grad_ready on_grad_ready, void *context)
{
    VT_CHECKF(vit->desc.training, "backward of an evaluation replica");
    struct pass pass = make_pass(vit, weights, batch);
    pass.grads = (struct grads){.table = vit->desc.params,
                                .values = grads,
                                .accumulate = accumulate,
                                .ready = on_grad_ready,
                                .context = context};
    head_backward(vit, &pass);
    for (int i = vit->desc.config.depth - 1; i >= 0; i--)
        block_backward(vit, i, &pass);
    patch_embed_backward(vit, &pass);
}
