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
    int choice;                        /* which of the kernel's sizes; cuDNN: which of its engine configurations */
    size_t workspace_bytes;
    size_t sums_at;                    /* of it: where partial sums start; backward with desc.sums */
    bool own_sums;                     /* the kernel leaves these itself */
    struct attention_cudnn *cudnn;     /* owned; compiled once for all that share it */
};

enum { ATTENTION_KINDS = 4 }; /* in order of preference where nothing is timed; the last one takes every shape */

enum { ATTENTION_ANY = -1 }; /* in the place of a choice: the first that opens */

/* How many choices a kind has for this shape; 0 = none, and status_message() has the reason. One of them may still not open. */
int attention_way_choices(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward, int kind);
/* VT_E_UNSUPPORTED, with the reason, where the kind does not take the shape or has no such choice. cuDNN's takes up to a second. */
VT_MUST_CHECK vt_status attention_way_open(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                           int kind, int choice, struct attention_way *way);
/* The same way again, for another plan of the same key; nothing is compiled. */
VT_MUST_CHECK vt_status attention_way_share(const struct attention_way *of, const struct attention_desc *desc,
                                            struct attention_way *way);
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
const char *attention_kind_name(int kind);
/* False when no kind has this name. *choice is ATTENTION_ANY where none is named. */
bool attention_way_parse(const char *text, int *kind, int *choice);
void attention_way_enqueue(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_way *way,
                           const struct attention_call *call, void *workspace);

/* The fastest way on this device, timed on random values in buffers of its own, of those whose results are right. VT_E_MEMORY where
 * they do not fit; VT_E_UNSUPPORTED where none runs; VT_E_IO where the device failed. */
VT_MUST_CHECK vt_status attention_tune(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                       struct attention_way *way);

/* ---- attention_check.c: what the plain kernel makes of the first and the last image ---- */
struct attention_check; /* its results, in host memory */

/* `call`: buffers of desc's whole shape, with inputs of forward or backward; the outputs of these two images are overwritten. */
VT_MUST_CHECK vt_status attention_check_open(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                                             const struct attention_call *call, struct attention_check **out);
/* Whether what lies in call's outputs agrees; VT_E_UNSUPPORTED with what does not. Synchronises. */
VT_MUST_CHECK vt_status attention_check_compare(struct attention_check *check, const struct attention_call *call);
/* Whether a way's own sums are those of the gradients it wrote. */
VT_MUST_CHECK vt_status attention_check_sums(struct cuda_backend *cuda, const struct attention_desc *desc,
                                             const struct attention_sums *found, const struct attention_sums *expected);
void attention_check_close(struct attention_check **check); /* accepts NULL */

#endif
