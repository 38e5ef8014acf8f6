/* The Vision Transformer (Dosovitskiy et al. 2021) as a planned replica: plans, activations and the two passes.
 * Pre-LayerNorm blocks pass the pair (x, delta) so that residual + LayerNorm fuse across block borders:
 *   (x, y) = add_norm(x, delta); delta = attention(y); (x, y) = add_norm(x, delta); delta = mlp(y); ...
 * The replica owns plans and activation memory for one microbatch of fixed shape; parameters and gradients belong to
 * the caller (flat buffers by the parameter table). Per rank; the model knows no communication. */
#ifndef VT_MODEL_VIT_H
#define VT_MODEL_VIT_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "model/vit_config.h"
#include "tensor/params.h"

struct vit; /* opaque */

/* What backward has to work with, per block (kept bytes: vit_activation_bytes). The same bits at every level, as each
 * op is a function of its inputs (on a GPU whose products have a GELU epilogue, LIGHT's GELU is that of the rounded
 * sum). */
enum vit_recompute {
    RECOMPUTE_NONE,  /* every tensor is kept */
    RECOMPUTE_LIGHT, /* the outputs of LayerNorm and GELU are made again where a weight gradient needs them */
    RECOMPUTE_BLOCK  /* only the stream is kept and the block runs again, but for fc2: a fifth more time */
};

struct vit_desc {
    struct vit_config config;
    const struct param_table *params; /* borrowed; made by vit_params, must outlive the replica */
    int64_t batch;                    /* B: rows of a microbatch */
    enum dtype dtype;                 /* T */
    enum dtype dtype_stream;          /* R; fp32 unless the backend prefers bf16 */
    bool training;                    /* false: forward only, nothing saved for backward */
    enum vit_recompute recompute;     /* training only */
    uint64_t seed;                    /* of dropout and drop-path */
    enum loss_kind loss;
    float smoothing;
    int labels; /* S */
};

/* Device memory a replica uses, in bytes; printed in the memory plan. */
struct vit_memory {
    size_t activations, workspace;
};

/* Make all plans and reserve activations. Nothing is allocated on the device until vit_allocate. */
VT_MUST_CHECK vt_status vit_open(const struct vit_desc *desc, struct backend *be, struct vit **out);
struct vit_memory vit_memory_plan(const struct vit *vit);
/* Bytes of the activations of such a replica, without planning it; desc->params is not looked at. */
size_t vit_activation_bytes(const struct vit_desc *desc);
/* Allocate activations; after every plan of the process exists and before the first pass (then
 * backend->reserve_workspace). */
VT_MUST_CHECK vt_status vit_allocate(struct vit *vit);
void vit_close(struct vit **vit);

/* Device pointers of one microbatch. */
struct vit_batch {
    const uint8_t *images;     /* [B,H,W,C] u8 */
    const int32_t *label_id;   /* [B,S] */
    const float *label_weight; /* [B,S] */
    const float *row_weight;   /* [B] */
    const uint64_t *position;  /* [B] */
};

/* Parameters as the passes read them: fp32 master (biases, norms, embeddings) and the compute copy, which matrices are read from (all
 * of it rounded to T, with the same offsets; equal to master when T is fp32). */
struct vit_weights {
    const float *master;
    const void *compute;
};

/* logits(B,K) stay in the replica; vit_logits gives them. training = draw dropout and drop-path. */
void vit_forward(struct vit *vit, const struct vit_weights *weights, const struct vit_batch *batch);
float *vit_logits(struct vit *vit); /* device, fp32 [B,K] */
/* Loss of the last forward: adds to scalars; when the replica is training, leaves dlogits scaled by grad_scale (1/G).
 * row_loss: device [B] or NULL. */
void vit_loss(struct vit *vit, const struct vit_batch *batch, float grad_scale, float *row_loss,
              struct step_scalars *scalars);

/* Called as rows of the gradient buffer become final: everything from element `first` to the end is final. */
typedef void (*vit_grad_ready)(void *context, int64_t first);

/* Backward of the last forward. grads: flat fp32; overwritten when accumulate is false, else added to. on_grad_ready
 * may be NULL (one rank, or not the last microbatch). */
void vit_backward(struct vit *vit, const struct vit_weights *weights, const struct vit_batch *batch, float *grads,
                  bool accumulate, vit_grad_ready on_grad_ready, void *context);

/* Matrix-product FLOPs of one microbatch, forward, by the op plans. */
double vit_forward_flops(const struct vit *vit);

#endif
