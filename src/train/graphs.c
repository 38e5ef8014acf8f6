#include "train/graphs.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

/* The first steps of a process run plainly: modules are loaded, libraries make their first allocations. The step after
 * them is measured, where that is wanted. */
enum { PLAIN_STEPS = 2, KEYS = 16, SEGMENTS_FIRST = 8 };

struct segment {
    struct graph *graph;
    int64_t first; /* gradients that are final after it; < 0: nothing to tell */
};

struct recording { /* of one key */
    struct segment *segments;
    int count, capacity;
};

struct graphs {
    struct backend *be;         /* borrowed */
    struct bucket_set *buckets; /* borrowed */
    enum graphs_mode mode;
    int64_t step; /* of this process, from 1 */
    struct recording recordings[KEYS];

    /* while a pass is captured */
    struct recording *recording;
    int started;      /* buckets */
    int64_t first;    /* of the segment under way: what to tell after it; < 0: nothing */
    vt_status status; /* the first failure; its message is the thread's */

    /* of the measured step's first microbatch */
    struct event *from, *to;
    double enqueue_ms;
    int passes; /* measured so far: forward, backward */
};

vt_status graphs_open(enum graphs_mode mode, struct backend *be, struct bucket_set *buckets, struct graphs **out)
{
    if (mode == GRAPHS_ON && !be->capture_begin)
        return VT_FAIL(VT_E_USAGE, "compute.graphs=on: backend %s runs ops as they are called, there is nothing to capture; "
                                   "expected auto or off", be->name);
    struct graphs *g = calloc(1, sizeof *g);
    VT_CHECK(g);
    g->be = be;
    g->buckets = buckets;
    g->mode = be->capture_begin ? mode : GRAPHS_OFF;
    if (g->mode == GRAPHS_MEASURE) {
        VT_CHECKF(be->event_elapsed, "backend %s captures, and has no event times", be->name);
        g->from = be->event_new(be);
        g->to = be->event_new(be);
    }
    *out = g;
    return VT_OK;
}

static void forget(struct graphs *g, struct recording *r)
{
    for (int i = 0; i < r->count; i++)
        g->be->graph_free(g->be, r->segments[i].graph);
    free(r->segments);
    *r = (struct recording){0};
}

void graphs_close(struct graphs **graphs)
{
    struct graphs *g = *graphs;
    if (!g)
        return;
    for (int i = 0; i < KEYS; i++)
        forget(g, &g->recordings[i]);
    if (g->from)
        g->be->event_free(g->be, g->from);
    if (g->to)
        g->be->event_free(g->be, g->to);
    free(g);
    *graphs = NULL;
}

/* ---- capture ---- */

static void add_segment(struct graphs *g, struct graph *graph, int64_t first)
{
    struct recording *r = g->recording;
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : SEGMENTS_FIRST;
        r->segments = realloc(r->segments, (size_t)r->capacity * sizeof *r->segments);
        VT_CHECKF(r->segments, "no memory for %d segments of a graph", r->capacity);
    }
    r->segments[r->count++] = (struct segment){graph, first};
}

static void end_segment(struct graphs *g, int64_t first)
{
    struct graph *graph = NULL;
    vt_status status = g->be->capture_end(g->be, &graph);
    if (status == VT_OK)
        add_segment(g, graph, first);
    else if (g->status == VT_OK)
        g->status = status;
}

/* vit_grad_ready of a captured pass: cut where a bucket starts, as the host will act there. After a failure too, so that
 * nothing of the pass runs. The end of backward is no cut: the pass ends by itself. */
static void cut(void *context, int64_t first)
{
    struct graphs *g = context;
    int started = bucket_final(g->buckets, first);
    if (started == g->started)
        return;
    g->started = started;
    if (first == 0) {
        g->first = 0;
        return;
    }
    end_segment(g, first);
    vt_status status = g->be->capture_begin(g->be);
    VT_CHECKF(status == VT_OK, "%s", status_message());
}

/* VT_OK without a recording: it cannot be captured. */
static vt_status capture(struct graphs *g, struct recording *recording, graphs_pass pass, void *context, bool sums)
{
    g->recording = recording;
    g->started = 0;
    g->first = -1;
    g->status = VT_OK;
    VT_TRY(g->be->capture_begin(g->be));
    pass(context, sums ? cut : NULL, g);
    end_segment(g, g->first);
    g->recording = NULL;
    if (g->status == VT_OK)
        return VT_OK;
    log_warn("compute.graphs: the step cannot be captured and is enqueued call by call: %s", status_message());
    VT_TRY(g->be->synchronise(g->be)); /* this step's other pass may be in flight */
    for (int i = 0; i < KEYS; i++)
        forget(g, &g->recordings[i]);
    g->mode = GRAPHS_OFF;
    return VT_OK;
}

static void replay(const struct graphs *g, const struct recording *r)
{
    for (int i = 0; i < r->count; i++) {
        g->be->graph_launch(g->be, r->segments[i].graph);
        if (r->segments[i].first >= 0)
            bucket_grad_ready(g->buckets, r->segments[i].first);
    }
}

/* ---- steps ---- */

static bool measures(const struct graphs *g)
{
    return g->mode == GRAPHS_MEASURE && g->step == PLAIN_STEPS + 1;
}

bool graphs_active(const struct graphs *g)
{
    return g->mode == GRAPHS_ON && g->step > PLAIN_STEPS;
}

/* A measurement begins with an empty queue: one that is full would hold the host back and look like work. */
vt_status graphs_begin_step(struct graphs *g)
{
    g->step++;
    if (!measures(g))
        return VT_OK;
    g->passes = 0;
    g->enqueue_ms = 0;
    return g->be->synchronise(g->be);
}

vt_status graphs_end_step(struct graphs *g, double *share)
{
    double device_ms;
    *share = -1;
    if (!measures(g))
        return VT_OK;
    VT_TRY(g->be->event_wait(g->be, g->to));
    VT_TRY(g->be->event_elapsed(g->be, g->from, g->to, &device_ms));
    *share = device_ms > 0 ? g->enqueue_ms / device_ms : 1;
    return VT_OK;
}

void graphs_decide(struct graphs *g, bool on)
{
    g->mode = on ? GRAPHS_ON : GRAPHS_OFF;
}

bool graphs_worth(double share)
{
    return share > 0.5;
}

static void run_plainly(struct graphs *g, graphs_pass pass, void *context, bool sums)
{
    double start = clock_ms();
    bool measured = measures(g) && g->passes < 2;
    if (measured && g->passes == 0)
        g->be->event_record(g->be, STREAM_COMPUTE, g->from);
    pass(context, sums ? bucket_grad_ready : NULL, g->buckets);
    if (!measured)
        return;
    g->enqueue_ms += clock_ms() - start;
    if (++g->passes == 2)
        g->be->event_record(g->be, STREAM_COMPUTE, g->to);
}

vt_status graphs_run(struct graphs *g, struct graphs_key key, graphs_pass pass, void *context)
{
    VT_CHECK(key.buffer == 0 || key.buffer == 1);
    struct recording *r = &g->recordings[key.buffer + 2 * key.backward + 4 * key.accumulate + 8 * key.last];
    bool sums = key.backward && key.last;
    if (graphs_active(g) && !r->count)
        VT_TRY(capture(g, r, pass, context, sums));
    if (r->count)
        replay(g, r);
    else
        run_plainly(g, pass, context, sums);
    return VT_OK;
}
