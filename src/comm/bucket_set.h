/* What both modes of the buckets share: the set, and the few calls each mode answers. Private to the room. */
#ifndef VT_COMM_BUCKET_SET_H
#define VT_COMM_BUCKET_SET_H

#include "comm/bucket.h"

struct bucket_thread; /* bucket_thread.c */
struct bucket_device; /* bucket_device.c */

struct bucket_set {
    struct bucket_desc desc;
    struct backend *be; /* borrowed */
    int rank;
    char host[64];
    struct bucket *buckets;
    int count;
    int64_t largest;      /* elements of the largest bucket */
    int64_t bytes;        /* of all, in fp32 */
    struct event **ready; /* [count], on the compute stream: the bucket is final on the device */
    int started;          /* buckets of this step whose gradients are final */
    int64_t early_bytes;  /* of those, how much was final before backward ended */
    struct bucket_thread *thread; /* one of these two; neither with one rank, and nothing above is used then */
    struct bucket_device *device;
};

static inline int64_t bucket_elements(const struct bucket *bucket) { return bucket->end - bucket->begin; }

/* Collective over comm (duplicates it); *out is set on failure too, for close. */
VT_MUST_CHECK vt_status bucket_thread_open(struct bucket_set *set, struct comm *comm, struct bucket_thread **out);
void bucket_thread_close(struct bucket_thread **thread);
void bucket_thread_begin(struct bucket_thread *thread);
/* Buckets [0, count) of this step are final. */
void bucket_thread_start(struct bucket_thread *thread, int count);
/* Fills comm_ms and exposed_ms. */
VT_MUST_CHECK vt_status bucket_thread_finish(struct bucket_thread *thread, struct bucket_stats *stats);

/* Per rank; *out is set on failure too, for close. */
VT_MUST_CHECK vt_status bucket_device_open(struct bucket_set *set, struct bucket_device **out);
void bucket_device_close(struct bucket_device **device);
void bucket_device_begin(struct bucket_device *device);
/* Enqueue the sum of one bucket, whose ready event was recorded. In order. */
void bucket_device_start(struct bucket_device *device, int index);
/* Fills comm_ms and exposed_ms of the step before. */
VT_MUST_CHECK vt_status bucket_device_finish(struct bucket_device *device, struct bucket_stats *stats);
VT_MUST_CHECK vt_status bucket_device_drain(struct bucket_device *device);

#endif
