/* From the plain graph to cuDNN's descriptors. */
#ifndef VT_BACKEND_CUDA_ATTENTION_CUDNN_GRAPH_H
#define VT_BACKEND_CUDA_ATTENTION_CUDNN_GRAPH_H

#include "backend/cuda/attention_graph.h"
#include "backend/cuda/cudnn_api.h"

/* A finalised operation graph and everything it refers to. */
struct cudnn_graph {
    cudnn_descriptor tensor[GRAPH_TENSORS];
    cudnn_descriptor math[GRAPH_NODES]; /* what a node computes: pointwise, matmul, reduction */
    cudnn_descriptor node[GRAPH_NODES];
    cudnn_descriptor graph;
};

/* On failure *out is closed. Without a handle (a target by properties alone) the graph is bound to no device. */
VT_MUST_CHECK vt_status cudnn_graph_open(const struct attention_graph *plain, void *handle, struct cudnn_graph *out);
void cudnn_graph_close(struct cudnn_graph *graph);

/* An engine configuration: "e8.k2=1.k5=16", its engine and the values of its knobs. */
VT_MUST_CHECK vt_status cudnn_config_text(cudnn_descriptor config, char *text, size_t bytes);
/* Whether its engine gives the same bits in every run, as its notes say. */
VT_MUST_CHECK vt_status cudnn_config_repeats(cudnn_descriptor config, bool *repeats);

#endif
