/* Attention by cuDNN's backend API, loaded at run time: a graph (attention_graph.h) becomes descriptors, an engine
 * configuration and a compiled plan. Absent or too old a library is VT_E_UNSUPPORTED, never a failure of the plugin. */
#ifndef VT_BACKEND_CUDA_ATTENTION_CUDNN_H
#define VT_BACKEND_CUDA_ATTENTION_CUDNN_H

#include "backend/cuda/attention.h"
#include "backend/cuda/attention_graph.h"
#include "backend/cuda/cudnn_api.h"

struct attention_cudnn; /* a compiled plan, and the pointers it was last given */

enum attention_form { ATTENTION_UNIFIED, ATTENTION_FORWARD, ATTENTION_BACKWARD };

/* The graph of this form; VT_E_UNSUPPORTED for shapes it does not take. */
VT_MUST_CHECK vt_status attention_cudnn_graph(const struct attention_desc *desc, enum attention_form form,
                                              struct attention_graph *graph);
/* Compile the `choice`-th configuration the heuristic offers (from 0), those left out whose results differ from run to run;
 * VT_E_UNSUPPORTED past the last. Takes up to a second. */
VT_MUST_CHECK vt_status attention_cudnn_open(const struct cudnn_target *target, const struct attention_desc *desc,
                                             enum attention_form form, int choice, struct attention_cudnn **out);
/* Another user of what `of` compiled, which lives until its last user is closed: with pointers of its own, and desc's scale; all else
 * in desc is as `of` was opened with. */
VT_MUST_CHECK vt_status attention_cudnn_share(const struct attention_cudnn *of, const struct attention_desc *desc,
                                              struct attention_cudnn **out);
/* Which choice has this configuration (engine and knobs, as attention_cudnn_config); VT_E_UNSUPPORTED: none. */
VT_MUST_CHECK vt_status attention_cudnn_find(const struct cudnn_target *target, const struct attention_desc *desc,
                                             enum attention_form form, const char *config, int *choice);
/* The configuration of an open plan, without blanks. */
enum { ATTENTION_CONFIG_BYTES = 160 };
VT_MUST_CHECK vt_status attention_cudnn_config(const struct attention_cudnn *cudnn, char text[ATTENTION_CONFIG_BYTES]);
void attention_cudnn_close(struct attention_cudnn **cudnn);
/* Scratch of our own (the row sums) and the plan's. */
size_t attention_cudnn_workspace(const struct attention_cudnn *cudnn);
/* Enqueues on the stream the target's handle was given. VT_E_IO with cuDNN's words when it refuses. */
VT_MUST_CHECK vt_status attention_cudnn_enqueue(struct attention_cudnn *cudnn, const struct attention_call *call,
                                                void *workspace);

/* The configuration of a choice that is not opened. */
VT_MUST_CHECK vt_status attention_cudnn_describe(const struct cudnn_target *target, const struct attention_desc *desc,
                                                 enum attention_form form, int choice, char text[ATTENTION_CONFIG_BYTES]);
/* Of one graph on one target: how many configurations the heuristic offers. */
VT_MUST_CHECK vt_status attention_cudnn_count(const struct cudnn_target *target, const struct attention_desc *desc,
                                              enum attention_form form, int *count);

#endif
