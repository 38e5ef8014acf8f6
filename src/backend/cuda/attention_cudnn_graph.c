#include "backend/cuda/attention_cudnn_graph.h"

#include <cudnn.h>
#include <stdbool.h>
#include <string.h>

static vt_status set_int64(cudnn_descriptor d, int attribute, int64_t value)
{
    return cudnn_set(d, attribute, CUDNN_TYPE_INT64, 1, &value);
}

static vt_status set_data_type(cudnn_descriptor d, int attribute, cudnnDataType_t value)
{
    return cudnn_set(d, attribute, CUDNN_TYPE_DATA_TYPE, 1, &value);
}

static vt_status set_descriptor(cudnn_descriptor d, int attribute, cudnn_descriptor value)
{
    return cudnn_set(d, attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static vt_status add_tensor(const struct graph_tensor *t, cudnn_descriptor *out)
{
    VT_TRY(cudnn_new(CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    cudnn_descriptor d = *out;
    VT_TRY(set_int64(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, t->id));
    VT_TRY(set_int64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, t->by_value ? 4 : 16));
    VT_TRY(set_data_type(d, CUDNN_ATTR_TENSOR_DATA_TYPE, t->dtype == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT));
    VT_TRY(cudnn_set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, t->dims));
    VT_TRY(cudnn_set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, t->strides));
    if (t->is_virtual)
        VT_TRY(cudnn_set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &(bool){true}));
    if (t->by_value)
        VT_TRY(cudnn_set(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &(bool){true}));
    return cudnn_finalize(d, "tensor");
}

/* The kinds of operation: the descriptor types, and the attributes that take what the node computes and its tensors. */
struct family {
    int math, node; /* descriptor types; math -1: none */
    int mode;       /* attribute and its type that say which; -1: none */
    int mode_type;
    int precision;  /* attribute of the compute type */
    int math_of, a, b, y; /* attributes of the node */
};
static const struct family POINTWISE = {.math = CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
                                        .node = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                                        .mode = CUDNN_ATTR_POINTWISE_MODE,
                                        .mode_type = CUDNN_TYPE_POINTWISE_MODE,
                                        .precision = CUDNN_ATTR_POINTWISE_MATH_PREC,
                                        .math_of = CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                                        .a = CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                                        .b = CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                        .y = CUDNN_ATTR_OPERATION_POINTWISE_YDESC};
static const struct family MATMUL = {.math = CUDNN_BACKEND_MATMUL_DESCRIPTOR,
                                     .node = CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
                                     .mode = -1,
                                     .precision = CUDNN_ATTR_MATMUL_COMP_TYPE,
                                     .math_of = CUDNN_ATTR_OPERATION_MATMUL_DESC,
                                     .a = CUDNN_ATTR_OPERATION_MATMUL_ADESC,
                                     .b = CUDNN_ATTR_OPERATION_MATMUL_BDESC,
                                     .y = CUDNN_ATTR_OPERATION_MATMUL_CDESC};
static const struct family REDUCTION = {.math = CUDNN_BACKEND_REDUCTION_DESCRIPTOR,
                                        .node = CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
                                        .mode = CUDNN_ATTR_REDUCTION_OPERATOR,
                                        .mode_type = CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
                                        .precision = CUDNN_ATTR_REDUCTION_COMP_TYPE,
                                        .math_of = CUDNN_ATTR_OPERATION_REDUCTION_DESC,
                                        .a = CUDNN_ATTR_OPERATION_REDUCTION_XDESC,
                                        .y = CUDNN_ATTR_OPERATION_REDUCTION_YDESC};
static const struct family RESHAPE = {.math = -1,
                                      .node = CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
                                      .a = CUDNN_ATTR_OPERATION_RESHAPE_XDESC,
                                      .y = CUDNN_ATTR_OPERATION_RESHAPE_YDESC};

static const struct {
    const struct family *family;
    int mode;
} OPS[] = {
    [GRAPH_MATMUL] = {&MATMUL, 0},
    [GRAPH_MUL] = {&POINTWISE, CUDNN_POINTWISE_MUL},
    [GRAPH_ADD] = {&POINTWISE, CUDNN_POINTWISE_ADD},
    [GRAPH_SUB] = {&POINTWISE, CUDNN_POINTWISE_SUB},
    [GRAPH_DIV] = {&POINTWISE, CUDNN_POINTWISE_DIV},
    [GRAPH_EXP] = {&POINTWISE, CUDNN_POINTWISE_EXP},
    [GRAPH_LOG] = {&POINTWISE, CUDNN_POINTWISE_LOG},
    [GRAPH_MAX_COLUMNS] = {&REDUCTION, CUDNN_REDUCE_TENSOR_MAX},
    [GRAPH_SUM_COLUMNS] = {&REDUCTION, CUDNN_REDUCE_TENSOR_ADD},
    [GRAPH_RESHAPE] = {&RESHAPE, 0},
};

static vt_status add_math(const struct family *f, int mode, cudnn_descriptor *out)
{
    VT_TRY(cudnn_new(f->math, out));
    if (f->mode >= 0)
        VT_TRY(cudnn_set(*out, f->mode, f->mode_type, 1, &mode));
    VT_TRY(set_data_type(*out, f->precision, CUDNN_DATA_FLOAT));
    return cudnn_finalize(*out, "operation");
}

static vt_status add_unified(struct cudnn_graph *g, const struct graph_node *n, cudnn_descriptor *out)
{
    VT_TRY(cudnn_new(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, out));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, g->tensor[n->a]));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, g->tensor[n->b]));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, g->tensor[n->c]));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, g->tensor[n->y]));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, g->tensor[n->stats]));
    VT_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, g->tensor[n->scale]));
    return cudnn_finalize(*out, "SDPA operation");
}

static vt_status add_node(struct cudnn_graph *g, const struct graph_node *n, int index)
{
    cudnn_descriptor *node = &g->node[index];
    if (n->op == GRAPH_SDPA)
        return add_unified(g, n, node);
    const struct family *f = OPS[n->op].family;
    VT_TRY(cudnn_new(f->node, node));
    if (f->math >= 0) {
        VT_TRY(add_math(f, OPS[n->op].mode, &g->math[index]));
        VT_TRY(set_descriptor(*node, f->math_of, g->math[index]));
    }
    VT_TRY(set_descriptor(*node, f->a, g->tensor[n->a]));
    if (n->b >= 0)
        VT_TRY(set_descriptor(*node, f->b, g->tensor[n->b]));
    VT_TRY(set_descriptor(*node, f->y, g->tensor[n->y]));
    return cudnn_finalize(*node, "operation node");
}

static vt_status build(const struct attention_graph *plain, void *handle, struct cudnn_graph *g)
{
    for (int i = 0; i < plain->tensors; i++)
        VT_TRY(add_tensor(&plain->tensor[i], &g->tensor[i]));
    for (int i = 0; i < plain->nodes; i++)
        VT_TRY(add_node(g, &plain->node[i], i));
    VT_TRY(cudnn_new(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &g->graph));
    VT_TRY(cudnn_set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, plain->nodes, g->node));
    if (handle)
        VT_TRY(cudnn_set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    return cudnn_finalize(g->graph, "operation graph");
}

vt_status cudnn_graph_open(const struct attention_graph *plain, void *handle, struct cudnn_graph *out)
{
    memset(out, 0, sizeof *out);
    vt_status status = build(plain, handle, out);
    if (status != VT_OK)
        cudnn_graph_close(out);
    return status;
}

void cudnn_graph_close(struct cudnn_graph *graph)
{
    cudnn_free(&graph->graph);
    for (int i = 0; i < GRAPH_NODES; i++) {
        cudnn_free(&graph->node[i]);
        cudnn_free(&graph->math[i]);
    }
    for (int i = 0; i < GRAPH_TENSORS; i++)
        cudnn_free(&graph->tensor[i]);
}
