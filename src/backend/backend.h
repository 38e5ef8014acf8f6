/* A backend: memory, two streams, and the op table (ops.h). Chosen once at start; every large allocation happens before
 * step 0. "Device" memory may only be touched by ops and by the copies below, whatever the backend: `ref` in strict mode
 * protects it between calls to prove that, so that a GPU's rules hold without a GPU.
 * One host thread enqueues on the compute stream, and it alone; the copies used by `comm` name their stream. */
#ifndef VT_BACKEND_BACKEND_H
#define VT_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/ops.h"
#include "base/status.h"
#include "tensor/dtype.h"

enum stream { STREAM_COMPUTE, STREAM_COPY, STREAM_COMM, STREAM_COUNT };
enum memory_kind {
    MEMORY_DEVICE,
    MEMORY_HOST /* host memory the device copies from and to quickly (pinned) */
};

struct event; /* opaque: a point in a stream */
struct graph; /* opaque: work of the compute stream, kept to be enqueued again */

struct backend {
    const char *name;       /* "ref", "cpu", "cuda" */
    char device_name[128];  /* "AMD EPYC ... (avx512_bf16), 2 threads" */
    int threads;            /* CPU threads ops may use; 0 on devices */
    bool host_memory;       /* device pointers may be read and written by the host at any time (cpu: yes) */
    bool bf16_native;       /* compute.dtype auto picks bf16 */
    enum dtype stream_preferred; /* of the residual stream when compute is bf16: fp32 (the zero) or bf16 */
    size_t memory_bytes;    /* of the device; 0 = it is the host's */
    double peak_flops;      /* datasheet FLOP/s of bf16 matrix products; 0 = unknown or a CPU */
    int spared_multiprocessors; /* which products of backward leave free, for collectives beside them; the owner of the
                                 * backend sets it before the first plan; 0 = none, or a backend that has no such thing */
    bool poison;            /* arenas start as NaN instead of zero, to prove that nothing reads what no op wrote */
    size_t allocated_bytes; /* device memory handed out so far; for the memory plan */
    size_t workspace_bytes; /* the shared workspace, largest need of any plan so far */
    struct nn_ops nn;
    struct conv_ops conv;
    struct optim_ops optim;

    /* Memory is zeroed, 64-byte aligned. `what` names it in the out-of-memory message. */
    vt_status (*alloc)(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer);
    void (*release)(struct backend *be, enum memory_kind kind, void *pointer);
    /* Allocate the workspace shared by all plans. After the last plan is made, before the first enqueue; again after more
     * plans, when nothing is in flight. */
    vt_status (*reserve_workspace)(struct backend *be);

    /* Bytes of device memory that are this backend's or could become so, now: others may use the device too. NULL where
     * memory_bytes is 0. */
    size_t (*memory_available)(struct backend *be);

    /* Enqueued copies; host pointers must stay valid until the stream passes them (event or synchronise). */
    void (*upload)(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes);
    void (*download)(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes);
    void (*zero)(struct backend *be, enum stream stream, void *device, size_t bytes);

    struct event *(*event_new)(struct backend *be);
    void (*event_free)(struct backend *be, struct event *event);
    void (*event_record)(struct backend *be, enum stream stream, struct event *event);
    void (*stream_wait)(struct backend *be, enum stream stream, struct event *event);
    /* Block the host until the event has passed; reports device errors of everything before it. */
    vt_status (*event_wait)(struct backend *be, struct event *event);
    /* The next four: only where streams run beside the host (cuda), NULL elsewhere. Any thread may call the first two.
     * event_passed: has everything before the event's last record run? Does not block; true after a device error too.
     * event_elapsed: device milliseconds between two events that have passed.
     * cast: as nn.cast, on the stream named, for what `comm` does to gradients on their way.
     * copy: within device memory, as fast as the device can: what passes over memory are measured against. */
    bool (*event_passed)(struct backend *be, struct event *event);
    vt_status (*event_elapsed)(struct backend *be, struct event *from, struct event *to, double *ms);
    void (*cast)(struct backend *be, enum stream stream, const void *src, enum dtype from, void *dst, enum dtype to,
                 int64_t count);
    void (*copy)(struct backend *be, enum stream stream, void *to, const void *from, size_t bytes);
    /* The next four: only where an enqueue costs the host (cuda), NULL elsewhere and never emulated. From capture_begin to
     * capture_end this thread's ops and zeroes on the compute stream are kept and do not run. In between: no other stream,
     * no copy from or to host memory, no event, no allocation, no plan, no wait; what the ops were given by pointer on the
     * device must stay where it is. capture_end fails, and keeps nothing, when something could not be captured.
     * graph_launch enqueues what was kept, any number of times: same kernels, same arguments. graph_free: when no launch of
     * it is in flight. While graphs exist the workspace does not move: reserve_workspace for more is refused. */
    vt_status (*capture_begin)(struct backend *be);
    vt_status (*capture_end)(struct backend *be, struct graph **graph);
    void (*graph_launch)(struct backend *be, struct graph *graph);
    void (*graph_free)(struct backend *be, struct graph *graph); /* accepts NULL */
    vt_status (*synchronise)(struct backend *be);

    void (*close)(struct backend *be); /* frees be itself */
};

struct backend_desc {
    int threads;     /* CPU threads; 0 = all this process may use */
    bool strict;     /* ref: protect device memory outside ops */
    int device_index; /* cuda: local rank's device */
};

/* Constructors; the room that links them decides. VT_E_UNSUPPORTED with a reason when the machine lacks something. */
VT_MUST_CHECK vt_status backend_ref_open(const struct backend_desc *desc, struct backend **out);
VT_MUST_CHECK vt_status backend_cpu_open(const struct backend_desc *desc, struct backend **out);

/* A bump allocator over one device allocation, for planning: reserve first (sizes only), then commit, then resolve. Its
 * memory is undefined at first (NaN where the backend poisons): what must start as zero comes from `alloc`. */
struct device_arena {
    size_t bytes;
    void *memory; /* NULL until committed */
};
/* Reserve `bytes` (64-byte aligned); returns the offset. Before commit only. */
size_t device_arena_reserve(struct device_arena *arena, size_t bytes);
VT_MUST_CHECK vt_status device_arena_commit(struct device_arena *arena, struct backend *be, const char *what);
void *device_arena_at(const struct device_arena *arena, size_t offset);
void device_arena_close(struct device_arena *arena, struct backend *be);

#endif
