/* The activation plan: every tensor a pass leaves for later, in one device arena. A training replica keeps each block's
 * tensors until its backward; recomputing LIGHT, y1, y2 and h are places that all blocks share, and recomputing BLOCK
 * all but x1 is; an evaluation replica runs every block in the buffers of one. Private to this room. */
#ifndef VT_MODEL_ACTIVATIONS_H
#define VT_MODEL_ACTIVATIONS_H

#include <stddef.h>

#include "base/status.h"

struct vit_desc;

/* Per block. M = B*N rows. */
struct block_activations {
    void *x1;      /* R [M,D]: stream after norm1's add */
    void *y1;      /* T [M,D]: norm1's output */
    float *stats1; /* [M,2] */
    void *qkv;     /* T [M,3D] packed: q, k, v are strided views */
    void *o;       /* T [M,D]: attention's output */
    float *lse;    /* [B,A,N] */
    void *x2, *y2; /* as x1, y1, of norm2 */
    float *stats2;
    void *pre; /* T [M,F]: fc1 before GELU; NULL in evaluation */
    void *h;   /* T [M,F]: after GELU and dropout */
};

struct activations {
    void *patches; /* T [B*n, C*P*P] */
    void *delta;   /* T [M,D]: a branch's output until the next add_norm takes it; in backward its gradient */
    void *y; /* T [M,D]: final norm's output; in backward the gradient of any norm's output, and of o; LIGHT: y1, y2 */
    struct block_activations *blocks; /* [depth], owned */
    void *x_final;                    /* R [M,D] */
    float *stats_final;               /* [M,2] */
    void *pooled;                     /* T [B,D] */
    void *pre_logits_pre;             /* T [B,J]: before tanh */
    void *features;                   /* T [B,J] after tanh; pooled itself without pre-logits */
    float *logits;                    /* [B,K] */

    /* backward only */
    float *dlogits;  /* [B,K] */
    void *dfeatures; /* T [B,J]: gradient of pre_logits_pre */
    void *dpooled;   /* T [B,D] */
    void *dx;        /* R [M,D]: gradient of the stream */
    void *wide; /* T [M, max(F,3D)]: dh, then dqkv; before them LIGHT's h, or a recomputed block's projection output */
};

/* Allocates the host array of blocks. VT_E_MEMORY. */
VT_MUST_CHECK vt_status activations_open(struct activations *acts, int depth);
void activations_close(struct activations *acts);
/* Lay every tensor out from `base` on (64-byte aligned; NULL to learn the size only). Returns the bytes used. */
size_t activations_layout(struct activations *acts, const struct vit_desc *desc, void *base);

#endif
