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
/* What the tuning table keeps of an open way, and opening it from that: "head", or "cudnn-graph.2:e8.k2=1", cuDNN's being found
 * again by engine and knobs (where cuDNN tells them), not by their place in today's order. VT_E_UNSUPPORTED: it is not
 * there any more. */
enum { ATTENTION_STORED_BYTES = 224 };
void attention_way_store(const struct attention_way *way, char text[ATTENTION_STORED_BYTES]);
VT_MUST_CHECK vt_status attention_way_restore(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                              const char *text, struct attention_way *way);
/* "head", "cudnn-graph.2". */
void attention_way_name(const struct attention_way *way, char *text, size_t bytes);
/* False when no kind has this name. */
bool attention_way_parse(const char *text, int *kind, int *choice);
void attention_way_enqueue(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                           const struct attention_call *call, void *workspace);

/* The fastest way on this device, timed on random values in buffers of its own. VT_E_MEMORY where they do not fit. */
VT_MUST_CHECK vt_status attention_tune(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                       struct attention_way *way);

#endif
