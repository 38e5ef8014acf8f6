/* The ways to compute attention as one table: what opens for a shape, under which name it is remembered, how it is
 * enqueued. attention.c picks one for forward and one for backward; attention_tune.c times them. */
#ifndef VT_BACKEND_CUDA_ATTENTION_WAYS_H
#define VT_BACKEND_CUDA_ATTENTION_WAYS_H

#include "backend/cuda/attention.h"
#include "backend/cuda/cuda.h"

struct attention_cudnn;
struct attention_kind;

struct attention_way {
    const struct attention_kind *kind; /* NULL: closed */
    bool backward;
    int choice;                        /* cuDNN: which of its engine configurations */
    size_t workspace_bytes;
    struct attention_cudnn *cudnn;     /* owned */
};

enum { ATTENTION_KINDS = 4 }; /* in order of preference where nothing is timed; the last one takes every shape */

/* VT_E_UNSUPPORTED, with the reason, where the kind does not take the shape or has no such choice. */
VT_MUST_CHECK vt_status attention_way_open(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                           int kind, int choice, struct attention_way *way);
void attention_way_close(struct attention_way *way);
/* "head", "cudnn-graph.2": without blanks, for tuning.pb. */
void attention_way_name(const struct attention_way *way, char *text, size_t bytes);
/* False when no kind has this name. */
bool attention_way_parse(const char *text, int *kind, int *choice);
void attention_way_enqueue(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                           const struct attention_call *call, void *workspace);

/* The fastest way on this device, timed on random values in buffers of its own. VT_E_MEMORY where they do not fit. */
VT_MUST_CHECK vt_status attention_tune(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                       struct attention_way *way);

#endif
