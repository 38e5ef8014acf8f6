/* Attention as graphs of small operations, the form in which cuDNN takes it: tensors (dims, strides, dtype, id) and nodes
 * over them, as plain data. Pure planning: no device, no vendor header; attention_cudnn_plan.c turns a graph into descriptors.
 *
 * Every tensor has four dims in the order image, head, row, column. The real ones (not virtual) are the op's own buffers,
 * known by the ids below; K and V are described transposed where a product needs them so: a view, no copy. */
#ifndef VT_BACKEND_CUDA_ATTENTION_GRAPH_H
#define VT_BACKEND_CUDA_ATTENTION_GRAPH_H

#include "backend/ops.h"

enum { GRAPH_TENSORS = 40, GRAPH_NODES = 24 };

enum graph_id { /* of the real tensors; virtual ones count on from GRAPH_VIRTUAL */
    GRAPH_NONE,
    GRAPH_Q,
    GRAPH_K,
    GRAPH_V,
    GRAPH_O,
    GRAPH_STATS,   /* lse: fp32 [B,A,Nq,1] */
    GRAPH_D_O,
    GRAPH_DQ,
    GRAPH_DK,
    GRAPH_DV,
    GRAPH_ROW_SUM, /* fp32 [B,A,Nq,1] scratch: sum over columns of d_o * o */
    GRAPH_SCALE,   /* host fp32 scalar */
    GRAPH_ONE,     /* host fp32 scalar 1 */
    GRAPH_VIRTUAL = 32
};

struct graph_tensor {
    int64_t id;
    enum dtype dtype;
    int64_t dims[4], strides[4]; /* elements */
    bool is_virtual;             /* lives only inside the fused kernel */
    bool by_value;               /* a host scalar, read at enqueue */
};

enum graph_op {
    GRAPH_MATMUL, /* y = a b over the last two dims */
    GRAPH_MUL,    /* y = a * b, b broadcast */
    GRAPH_ADD,
    GRAPH_SUB,
    GRAPH_DIV,
    GRAPH_EXP,    /* y = f(a) */
    GRAPH_LOG,
    GRAPH_MAX_COLUMNS, /* y = reduction of a to dim 1 */
    GRAPH_SUM_COLUMNS,
    GRAPH_RESHAPE,     /* y = a with other dims and strides */
    GRAPH_SDPA         /* unified forward: a = q, b = k, c = v, scale, y = o, stats */
};

struct graph_node {
    enum graph_op op;
    int a, b, c, scale; /* indices of tensors; -1 = none */
    int y, stats;
};

struct attention_graph {
    struct graph_tensor tensor[GRAPH_TENSORS];
    struct graph_node node[GRAPH_NODES];
    int tensors, nodes;
};

/* What these graphs can express: bf16, no dropout, head_dim a multiple of 8 up to 128, 16-byte aligned rows. Says why
 * not in *reason, which is static text. */
bool attention_graph_supports(const struct attention_desc *desc, const char **reason);

/* Forward by the unified operation: o and stats from q, k, v and scale. */
void attention_graph_unified(const struct attention_desc *desc, struct attention_graph *graph);
/* The same from ten small nodes. */
void attention_graph_forward(const struct attention_desc *desc, struct attention_graph *graph);
/* dq, dk, dv from q, k, v, o, stats, d_o; needs GRAPH_ROW_SUM scratch. No floating-point atomics: each gradient is one product. */
void attention_graph_backward(const struct attention_desc *desc, struct attention_graph *graph);

/* Index of the tensor with this id, or -1. */
int attention_graph_find(const struct attention_graph *graph, enum graph_id id);

#endif
