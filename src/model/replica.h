/* Inside of a replica (private to this room): plans, rows of the parameter table and activations, grouped as the files
 * that use them: patch_embed.c, block.c, head.c. Legend as in backend/ops.h; T compute dtype, R residual stream. */
#ifndef VT_MODEL_REPLICA_H
#define VT_MODEL_REPLICA_H

#include "backend/backend.h"
#include "model/activations.h"
#include "model/grads.h"
#include "model/vit.h"

struct linear_rows {
    int weight, bias; /* rows of the parameter table; bias -1 = none */
};
struct patch_embed {
    struct op_plan *patchify, *proj, *embed;
    struct linear_rows proj_rows;
    int cls_token, pos_embed;
};
/* The same in every block of one kind (no draws): planned once. */
struct block_shared {
    struct op_plan *qkv, *proj, *fc1, *fc2;
    struct op_plan *q; /* class only, where qkv makes k and v; else NULL */
    /* For recomputing, else NULL: norms of sums already made; the activation of fc1 from `pre`. */
    struct op_plan *norm1_again, *norm2_again, *gelu_again;
};
enum block_kind { BLOCK_WHOLE, BLOCK_CLASS_ONLY, BLOCK_KINDS }; /* vit_class_only */
struct block {
    enum block_kind kind;
    struct op_plan *norm1, *attention, *norm2, *mlp_dropout; /* per layer: each has its own draws; dropout NULL = off */
    bool one_gradient1, one_gradient2;                       /* norm1's, norm2's dx is its delta's gradient too */
    struct linear_rows norm1_rows, qkv, proj, norm2_rows, fc1, fc2;
};
struct head {
    struct op_plan *norm, *pool, *pre_logits, *head, *loss; /* pool NULL after a class-only block; pre_logits NULL = none */
    bool one_gradient;                                      /* norm's dx is its delta's gradient too */
    struct linear_rows norm_rows, pre_logits_rows, head_rows;
};

struct vit {
    struct vit_desc desc;
    struct backend *be; /* borrowed */
    struct patch_embed embed;
    struct block_shared shared[BLOCK_KINDS];
    struct block *blocks; /* [depth], owned */
    struct head head;
    struct activations acts;
    struct device_arena arena;
    size_t arena_offset;
};

/* What one pass works with. */
struct pass {
    const struct vit_weights *weights;
    const struct vit_batch *batch;
    struct op_random random;
    struct grads grads; /* backward only */
};

static inline int64_t vit_rows(const struct vit *vit)
{
    return vit->desc.batch * vit_tokens(&vit->desc.config);
}

/* The gradient of the stream where the block's queries are; and where the backward of a norm there leaves its delta's. */
static inline void *dx_of(const struct vit *vit, enum block_kind kind)
{
    return kind == BLOCK_CLASS_ONLY ? vit->acts.dx_class : vit->acts.dx;
}
static inline void *ddelta_of(const struct vit *vit, enum block_kind kind, bool one_gradient)
{
    return one_gradient ? dx_of(vit, kind) : vit->acts.delta;
}
static inline const struct block *last_block(const struct vit *vit)
{
    return &vit->blocks[vit->desc.config.depth - 1];
}

/* fp32 master values of a row; NULL for row -1. */
static inline const float *master_of(const struct vit *vit, const struct pass *pass, int row)
{
    return row < 0 ? NULL : pass->weights->master + vit->desc.params->rows[row].offset;
}
/* A matrix in T. Also of a bias: as rounded to T. NULL for row -1. */
static inline const void *matrix_of(const struct vit *vit, const struct pass *pass, int row)
{
    return row < 0 ? NULL
                   : (const char *)pass->weights->compute +
                         (size_t)vit->desc.params->rows[row].offset * dtype_bytes(vit->desc.dtype);
}

/* The linear with these parameters; pre NULL = not saved. */
static inline void linear_of(const struct vit *vit, const struct pass *pass, struct op_plan *plan, struct linear_rows rows,
                             const void *x, void *y, void *pre)
{
    const struct linear_forward_args args = {.x = x,
                                             .w = matrix_of(vit, pass, rows.weight),
                                             .b = master_of(vit, pass, rows.bias),
                                             .b_rounded = matrix_of(vit, pass, rows.bias),
                                             .y = y,
                                             .pre = pre};
    vit->be->nn.linear_forward(plan, &args);
}

/* The row of this name and size; aborts when the table was not made for this config. */
int vit_row(const struct vit *vit, const char *name, int64_t count);
/* The two rows of "prefix.weight" and "prefix.bias". */
struct linear_rows vit_linear_rows(const struct vit *vit, const char *prefix, int64_t out, int64_t in, bool bias);

/* Each piece: plan (once), close, forward, backward. Passes only enqueue. */
VT_MUST_CHECK vt_status patch_embed_plan(struct vit *vit);
void patch_embed_close(struct vit *vit);
void patch_embed_forward(const struct vit *vit, const struct pass *pass);
void patch_embed_backward(const struct vit *vit, const struct pass *pass);

VT_MUST_CHECK vt_status block_plan_shared(struct vit *vit);
VT_MUST_CHECK vt_status block_plan(struct vit *vit, int layer);
void block_close(struct vit *vit);
void block_forward(const struct vit *vit, int layer, const struct pass *pass);
void block_backward(const struct vit *vit, int layer, const struct pass *pass);
/* Rate of one block's drop-path: rises linearly from 0 to config->drop_path over depth, as timm. */
float block_drop_path(const struct vit_config *config, int layer);
/* The plan of the add_norm that ends block `layer` - 1 (its MLP output is the delta) and begins block `layer`, or the
 * final norm when layer == depth. one_gradient (may be NULL): see struct block. */
VT_MUST_CHECK vt_status block_plan_first_norm(struct vit *vit, int layer, struct op_plan **plan, bool *one_gradient);

VT_MUST_CHECK vt_status head_plan(struct vit *vit);
void head_close(struct vit *vit);
void head_forward(const struct vit *vit, const struct pass *pass);
void head_backward(const struct vit *vit, const struct pass *pass);

#endif
