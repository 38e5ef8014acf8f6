/* The activation plan: every tensor a pass leaves for later, in one device arena. A training replica keeps each block's
 * tensors until its backward; recomputing LIGHT, y1, y2 and h are places that all blocks share, and recomputing BLOCK
 * all but x1 is; an evaluation replica runs every block in the buffers of one. Private to this room. */
#ifndef VT_MODEL_ACTIVATIONS_H
#define VT_MODEL_ACTIVATIONS_H

#include <stddef.h>

#include "base/status.h"

struct vit_desc;

/* Per block. M = B*N rows; Q rows have a query: M, but B class tokens where vit_class_only. */
struct block_activations {
    void *x1;      /* R [M,D]: stream after norm1's add */
    void *y1;      /* T [M,D]: norm1's output */
    float *stats1; /* [M,2] */
    void *qkv;     /* T [M,3D] packed: q, k, v are strided views; class only: k and v [M,2D] */
    void *q;       /* T [B,D], class only; else NULL */
    void *o;       /* T [Q,D]: attention's output */
    float *lse;    /* [B,A,Q/B] */
    void *x2;      /* R [Q,D]: stream after norm2's add */
    void *y2;      /* T [Q,D] */
    float *stats2; /* [Q,2] */
    void *pre;     /* T [Q,F]: fc1 before GELU; NULL in evaluation */
    void *h;       /* T [Q,F]: after GELU and dropout */
};

struct activations {
    void *patches; /* T [B*n, C*P*P] */
    void *delta;   /* T [M,D]: a branch's output until the next add_norm takes it; in backward its gradient, and class only dq */
    void *y; /* T [M,D]: final norm's output; in backward the gradient of any norm's output, and of o; LIGHT: y1, y2. NULL in an
              * evaluation that ends class only */
    struct block_activations *blocks; /* [depth], owned */
    void *x_final;                    /* R [Q,D], Q of the last block */
    float *stats_final;               /* [Q,2] */
    void *pooled;                     /* T [B,D]; of class tokens the final norm's output itself */
    void *pre_logits_pre;             /* T [B,J]: before tanh */
    void *features;                   /* T [B,J] after tanh; pooled itself without pre-logits */
    float *logits;                    /* [B,K] */

    /* backward only */
    float *dlogits;  /* [B,K] */
    void *dfeatures; /* T [B,J]: gradient of pre_logits_pre */
    void *dpooled;   /* T [B,D] */
    void *dx;        /* R [M,D]: gradient of the stream */
    void *dx_class;  /* R [B,D]: of the class tokens' stream, in a last block that is class only; else NULL */
    void *wide; /* T [M, max(F,3D)]: dh, then dqkv (dkv); before them LIGHT's h, or a recomputed block's projection output */
};

/* Allocates the host array of blocks. VT_E_MEMORY. */
VT_MUST_CHECK vt_status activations_open(struct activations *acts, int depth);
void activations_close(struct activations *acts);
/* Lay every tensor out from `base` on (64-byte aligned; NULL to learn the size only). Returns the bytes used. */
size_t activations_layout(struct activations *acts, const struct vit_desc *desc, void *base);

#endif
