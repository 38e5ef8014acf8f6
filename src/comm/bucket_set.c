#include "comm/bucket_set.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

static void plan(struct bucket_set *set)
{
    set->count = bucket_plan(set->desc.table, set->desc.bucket_bytes, NULL, 0);
    set->buckets = calloc((size_t)set->count + 1, sizeof *set->buckets);
    set->ready = calloc((size_t)set->count + 1, sizeof *set->ready);
    VT_CHECK(set->buckets && set->ready);
    bucket_plan(set->desc.table, set->desc.bucket_bytes, set->buckets, set->count);
    for (int i = 0; i < set->count; i++) {
        int64_t elements = bucket_elements(&set->buckets[i]);
        set->ready[i] = set->be->event_new(set->be);
        set->largest = elements > set->largest ? elements : set->largest;
        set->bytes += elements * (int64_t)sizeof(float);
    }
}

vt_status bucket_open(const struct bucket_desc *desc, struct comm *comm, struct backend *be, struct bucket_set **out)
{
    vt_status status = VT_OK;
    struct bucket_set *set = calloc(1, sizeof *set);
    VT_CHECK(set);
    VT_CHECK(desc->wire == DTYPE_F32 || desc->wire == DTYPE_BF16);
    VT_CHECK(!desc->device || (desc->device->device_memory && desc->device->size == comm->size));
    set->desc = *desc;
    set->be = be;
    set->rank = comm->rank;
    snprintf(set->host, sizeof set->host, "%s", comm->host);
    if (comm->size > 1) {
        plan(set);
        if (desc->device)
            VT_TRY_OUT(comm_agree(comm, bucket_device_open(set, &set->device)));
        else
            VT_TRY_OUT(bucket_thread_open(set, comm, &set->thread));
    }
    *out = set;
    set = NULL;
out:
    bucket_close(&set);
    return status;
}

void bucket_close(struct bucket_set **set_pointer)
{
    struct bucket_set *set = *set_pointer;
    if (!set)
        return;
    bucket_thread_close(&set->thread);
    bucket_device_close(&set->device);
    for (int i = 0; i < set->count; i++)
        set->be->event_free(set->be, set->ready[i]);
    free(set->buckets);
    free(set->ready);
    free(set);
    *set_pointer = NULL;
}

void bucket_begin(struct bucket_set *set)
{
    set->started = 0;
    set->early_bytes = 0;
    if (set->thread)
        bucket_thread_begin(set->thread);
    if (set->device)
        bucket_device_begin(set->device);
}

int bucket_final(const struct bucket_set *set, int64_t first)
{
    int count = 0;
    while (count < set->count && set->buckets[count].begin >= first)
        count++;
    return count;
}

void bucket_grad_ready(void *context, int64_t first)
{
    struct bucket_set *set = context;
    if (!set || (!set->thread && !set->device))
        return;
    while (set->started < set->count && set->buckets[set->started].begin >= first) {
        int index = set->started++;
        set->be->event_record(set->be, STREAM_COMPUTE, set->ready[index]);
        if (first > 0)
            set->early_bytes += bucket_elements(&set->buckets[index]) * (int64_t)sizeof(float);
        if (set->device)
            bucket_device_start(set->device, index);
    }
    if (set->thread)
        bucket_thread_start(set->thread, set->started);
}

vt_status bucket_finish(struct bucket_set *set, struct bucket_stats *stats)
{
    *stats = (struct bucket_stats){0};
    if (!set->thread && !set->device)
        return VT_OK;
    bucket_grad_ready(set, 0);
    stats->bytes = set->bytes;
    stats->early_fraction = set->bytes ? (double)set->early_bytes / (double)set->bytes : 0;
    return set->device ? bucket_device_finish(set->device, stats) : bucket_thread_finish(set->thread, stats);
}

vt_status bucket_drain(struct bucket_set *set) { return set->device ? bucket_device_drain(set->device) : VT_OK; }
