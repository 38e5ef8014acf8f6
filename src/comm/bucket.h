/* Gradient buckets: ranges of the flat gradient buffer, in the order in which backward makes them final (from the end
 * to the start), each all-reduced while backward still runs. Two modes: over a comm of host memory, one communication
 * thread sums bucket after bucket with its own communicator (bucket_thread.c); over a comm of device memory, the sums are
 * enqueued on the communication stream and the host never waits (bucket_device.c). The plan is pure. Sums are in place;
 * dlogits were already scaled by 1/G. */
#ifndef VT_COMM_BUCKET_H
#define VT_COMM_BUCKET_H

#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/comm.h"
#include "tensor/params.h"

struct bucket {
    int64_t begin, end; /* elements; a bucket starts at a row's offset */
};

/* Pure: cut the table into buckets of at least `bytes` (fp32 bytes) from the end, at row borders; the last one (start
 * of the buffer, the exposed one) is kept at most half as large, or one row. Writes at most `capacity`; returns the
 * whole count. */
int bucket_plan(const struct param_table *table, int64_t bytes, struct bucket *buckets, int capacity);

/* Pure: bytes that bucket_open will allocate at two or more ranks. summed_there: the sums are the device's (desc.device), else
 * gradients in device memory (not host_memory) pass through pinned host memory. */
void bucket_memory(const struct param_table *table, int64_t bytes, enum dtype wire, bool summed_there, bool host_memory, size_t *device,
                   size_t *host);

struct bucket_stats {
    double comm_ms;        /* time in all-reduces; device mode: of the step before (0 in the first), by its events */
    double exposed_ms;     /* time the step waited for sums after its last gradient was final; device mode: likewise */
    int64_t bytes;         /* of gradients, in fp32 */
    double early_fraction; /* of bytes enqueued before backward ended */
};

struct bucket_set; /* opaque */
struct bucket_desc {
    const struct param_table *table; /* borrowed */
    int64_t bucket_bytes;
    enum dtype wire; /* F32 or BF16 */
    float *grads;    /* device, flat; borrowed. Not host memory: staged through pinned host buffers, unless: */
    struct comm *device; /* sums device memory (comm.device_memory); borrowed. NULL: the thread mode */
    double timeout_s;    /* device mode: a sum that takes longer has failed; 0 = no limit */
};
/* Collective over `comm`, the world (duplicates it, or takes desc->device; starts a thread; a failure is agreed on). With
 * one rank everything below is a no-op. */
VT_MUST_CHECK vt_status bucket_open(const struct bucket_desc *desc, struct comm *comm, struct backend *be,
                                    struct bucket_set **out);
void bucket_close(struct bucket_set **set);
/* Start of a step's last backward. Per rank. */
void bucket_begin(struct bucket_set *set);
/* vit_grad_ready: everything from `first` to the end is final. context is the bucket_set. Enqueues whole buckets. */
void bucket_grad_ready(void *set, int64_t first);
/* How many buckets are final, counted from the first, when everything from `first` on is; 0 with one rank. Per rank. */
int bucket_final(const struct bucket_set *set, int64_t first);
/* Wait for all buckets; the sums are in `grads` after (device mode: for whatever is enqueued on the compute stream from
 * here on; the host waits for the step before only). Logically collective. Reports the first failure of a sum. */
VT_MUST_CHECK vt_status bucket_finish(struct bucket_set *set, struct bucket_stats *stats);
/* Wait on the host for the last finished step's sums and report the first failure: before anything trusts what they led to
 * (a checkpoint, the end of the run). The thread mode has nothing left to wait for. Per rank, between steps. */
VT_MUST_CHECK vt_status bucket_drain(struct bucket_set *set);

#endif
