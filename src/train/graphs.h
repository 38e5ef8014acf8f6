/* The passes of a step as graphs, where a backend can capture (a GPU): the few hundred calls that enqueue a pass become a few
 * launches, which is what a small model or a small batch waits for otherwise. A pass is cut where the host must act while it
 * runs, at the start of a bucket's sum: launch, act, launch. What is replayed are the same kernels with the same arguments,
 * so the bits are those of the plain enqueues. The optimizer stays outside: it is a few launches, and its rates change
 * from step to step. Per rank, but for graphs_end_step. */
#ifndef VT_TRAIN_GRAPHS_H
#define VT_TRAIN_GRAPHS_H

#include <stdbool.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/bucket.h"
#include "model/vit.h"

enum graphs_mode {
    GRAPHS_OFF,
    GRAPHS_ON,
    GRAPHS_MEASURE /* decided by the time a microbatch takes to enqueue, once, at an early step */
};

/* Which pass of a step it is: one graph each, as device batch, accumulation and buckets are fixed in it. */
struct graphs_key {
    int buffer;      /* of the two device batches */
    bool backward;   /* else forward and loss */
    bool accumulate; /* not the first microbatch */
    bool last;       /* starts the buckets */
};

/* Enqueues a pass on the compute stream, and nothing else; calls ready(ready_context, first) as gradients become final. */
typedef void (*graphs_pass)(void *context, vit_grad_ready ready, void *ready_context);

struct graphs;
/* `buckets` is borrowed. GRAPHS_ON without a backend that captures: VT_E_USAGE; GRAPHS_MEASURE is OFF there. */
VT_MUST_CHECK vt_status graphs_open(enum graphs_mode mode, struct backend *be, struct bucket_set *buckets,
                                    struct graphs **out);
void graphs_close(struct graphs **graphs); /* nothing in flight */

/* Around a step; the second is where a measurement is read. *share: of the device's time for a microbatch, how much the host
 * took to enqueue it; < 0 where nothing was measured in this step. Then, and only then, graphs_decide must follow. */
VT_MUST_CHECK vt_status graphs_begin_step(struct graphs *graphs);
VT_MUST_CHECK vt_status graphs_end_step(struct graphs *graphs, double *share);
void graphs_decide(struct graphs *graphs, bool on);
/* The rule: worth it when the host is busy with enqueueing for more than half of the device's time. */
bool graphs_worth(double share);

/* Run a pass: as it is, or captured and launched, or launched. A pass that cannot be captured is run as it is, and the run
 * goes on without graphs, which is said once. */
VT_MUST_CHECK vt_status graphs_run(struct graphs *graphs, struct graphs_key key, graphs_pass pass, void *context);
/* Whether passes are replayed by now. */
bool graphs_active(const struct graphs *graphs);

#endif
