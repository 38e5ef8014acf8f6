/* Timing the ways of attention: every choice that opens runs on its own copy of the shape, and the fastest whose results are right is
 * kept. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_ways.h"
#include "base/log.h"

enum { RUNS = 10, FILL_BYTES = 1 << 20 };

struct rig {
    struct cuda_backend *cuda;
    const struct attention_desc *desc;
    const struct attention_way *way;
    bool backward;
    struct attention_call call;
    struct op_random random;
    struct attention_sums sums, again; /* what a way makes of them, and a pass over its gradients */
    float *partial_sums;               /* of that pass */
    double pass_us;                    /* how long it takes; 0 = not timed yet */
    struct attention_check *check;
    void *memory; /* one allocation behind all pointers of `call` */
    void *output; /* the part of it that the ways write */
    size_t output_bytes;
    void *workspace; /* of the way at hand */
    bool told;       /* why one did not open or run: once a shape is enough */
};

static size_t element_bytes(const struct attention_desc *d) { return d->dtype == DTYPE_BF16 ? 2 : 4; }

/* Elements from a view's first to past its last. */
static int64_t extent(const struct attention_desc *d, const struct attention_view *view, int64_t rows)
{
    return (d->batch - 1) * view->batch + (d->heads - 1) * view->head + (rows - 1) * view->row + d->head_dim;
}

/* q, k and v in one buffer, as the model has them, where their strides leave room for that. */
static bool packed(const struct attention_desc *d)
{
    return d->queries == d->keys && memcmp(&d->q, &d->k, sizeof d->q) == 0 && memcmp(&d->k, &d->v, sizeof d->k) == 0 &&
           d->head_dim == d->q.head && d->q.row >= 3 * d->heads * d->head_dim;
}

struct triple { /* byte offsets of q, k, v or their gradients */
    size_t at[3], bytes;
};

static size_t padded(int64_t elements, size_t size) { return ((size_t)elements * size + 255) / 256 * 256; }

static struct triple lay_out(const struct attention_desc *d)
{
    size_t size = element_bytes(d), width = (size_t)(d->heads * d->head_dim) * size;
    size_t q = padded(extent(d, &d->q, d->queries), size), k = padded(extent(d, &d->k, d->keys), size);
    size_t v = padded(extent(d, &d->v, d->keys), size);
    if (packed(d))
        return (struct triple){{0, width, 2 * width}, padded(extent(d, &d->q, d->queries) + 2 * (int64_t)(width / size), size)};
    return (struct triple){{0, q, q + k}, q + k + v};
}

/* Random values about N(0,1) in shape: products of zeros are faster than real ones. */
static void fill(struct rig *r, char *device, size_t bytes, const void *pattern)
{
    struct backend *be = &r->cuda->base;
    for (size_t at = 0; at < bytes; at += FILL_BYTES)
        be->upload(be, STREAM_COMPUTE, device + at, pattern, bytes - at < FILL_BYTES ? bytes - at : FILL_BYTES);
}

static void *random_pattern(const struct attention_desc *d)
{
    char *pattern = malloc(FILL_BYTES);
    size_t size = element_bytes(d);
    for (size_t i = 0; pattern && i < FILL_BYTES / size; i++) {
        uint32_t z = (uint32_t)i * 0x9E3779B9u; /* splitmix: any noise will do */
        z = (z ^ z >> 16) * 0x85EBCA6Bu;
        z = (z ^ z >> 13) * 0xC2B2AE35u;
        float value = (float)(z >> 8) * 0x1p-23f - 1.0f;
        if (size == 4)
            memcpy(pattern + 4 * i, &value, 4);
        else
            memcpy(pattern + 2 * i, &(bf16_t){bf16_from_float(value)}, 2);
    }
    return pattern;
}

static size_t sums_bytes(const struct attention_desc *d)
{
    return padded(6 * d->heads * d->head_dim, 4) + attention_sums_workspace(d);
}

static void lay_out_sums(struct rig *r, char *memory)
{
    const int64_t width = r->desc->heads * r->desc->head_dim;
    float *sum = (float *)(void *)memory;
    r->sums = (struct attention_sums){sum, sum + width, sum + 2 * width, false};
    r->again = (struct attention_sums){sum + 3 * width, sum + 4 * width, sum + 5 * width, false};
    r->partial_sums = (float *)(void *)(memory + padded(6 * width, 4));
    r->call.sums = &r->sums;
}

static vt_status open_rig(struct rig *r)
{
    const struct attention_desc *d = r->desc;
    const bool backward = r->backward;
    struct backend *be = &r->cuda->base;
    struct triple t = lay_out(d);
    size_t o = padded(extent(d, &d->o, d->queries), element_bytes(d)), lse = padded(d->batch * d->heads * d->queries, 4);
    size_t position = padded(d->batch, 8), sums = backward && d->sums ? sums_bytes(d) : 0;
    const size_t total = t.bytes + o + lse + position + (backward ? o + t.bytes + sums : 0);
    void *pattern = random_pattern(d);
    if (!pattern)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory to time attention");
    vt_status status = be->alloc(be, MEMORY_DEVICE, total, "timing attention", &r->memory);
    if (status == VT_OK) {
        char *at = r->memory;
        r->call = (struct attention_call){.q = at + t.at[0], .k = at + t.at[1], .v = at + t.at[2], .o = at + t.bytes};
        r->call.lse = (float *)(at + t.bytes + o);
        r->output = at + t.bytes;
        r->output_bytes = o + lse;
        r->random = (struct op_random){1, (const uint64_t *)(void *)(at + t.bytes + o + lse)};
        r->call.random = &r->random;
        fill(r, at, t.bytes, pattern);
        if (backward) {
            char *d_o = at + t.bytes + o + lse + position, *dq = d_o + o;
            r->call.d_o = d_o;
            r->call.dq = dq + t.at[0], r->call.dk = dq + t.at[1], r->call.dv = dq + t.at[2];
            r->output = dq;
            r->output_bytes = t.bytes;
            fill(r, d_o, o, pattern);
        }
        if (sums)
            lay_out_sums(r, at + total - sums);
        status = be->synchronise(be);
    }
    free(pattern);
    return status;
}

static void close_rig(struct rig *r)
{
    struct backend *be = &r->cuda->base;
    attention_check_close(&r->check);
    if (r->memory)
        be->release(be, MEMORY_DEVICE, r->memory);
}

static void enqueue(void *context, int run)
{
    struct rig *r = context;
    (void)run;
    attention_way_enqueue(r->cuda, r->desc, r->way, &r->call, r->workspace);
}

static void enqueue_pass(void *context, int run)
{
    struct rig *r = context;
    (void)run;
    attention_sums_pass(&r->cuda->base, r->desc, &r->call, r->partial_sums);
    attention_sums_finish(&r->cuda->base, r->desc, &r->again, r->partial_sums);
}

/* The way alone; and where sums are wanted that it does not leave, half of a pass over its gradients: the caller gets them with a
 * product instead, which costs something between nothing and that pass (as linear_choose.c has it). */
static vt_status time_with_sums(struct rig *r, const char *name, int runs, double *us)
{
    const bool apart = r->call.sums && !r->way->own_sums;
    if (apart)
        r->call.sums = NULL;
    vt_status status = cuda_time(r->cuda, name, enqueue, r, runs, us);
    if (!apart)
        return status;
    if (status == VT_OK && r->pass_us <= 0)
        status = cuda_time(r->cuda, "attention's column sums", enqueue_pass, r, runs, &r->pass_us);
    r->call.sums = &r->sums;
    if (status == VT_OK)
        *us += r->pass_us / 2;
    return status;
}

/* One more run whose outputs cannot be left over from another way's. */
static vt_status check_way(struct rig *r)
{
    struct backend *be = &r->cuda->base;
    be->zero(be, STREAM_COMPUTE, r->output, r->output_bytes);
    enqueue(r, 0);
    VT_TRY(attention_check_compare(r->check, &r->call));
    if (!r->way->own_sums)
        return VT_OK;
    enqueue_pass(r, 0);
    return attention_check_sums(r->cuda, r->desc, &r->sums, &r->again);
}

/* Microseconds of one way; and, if that would make it the best, whether it is right. */
static vt_status time_way(struct rig *r, const struct attention_way *way, int runs, double best_us, double *us)
{
    struct backend *be = &r->cuda->base;
    char name[24];
    attention_way_name(way, name, sizeof name);
    r->way = way;
    r->workspace = NULL;
    if (way->workspace_bytes)
        VT_TRY(be->alloc(be, MEMORY_DEVICE, way->workspace_bytes, "timing attention", &r->workspace));
    vt_status status = time_with_sums(r, name, runs, us);
    if (status == VT_OK && r->check && (best_us < 0 || *us < best_us)) {
        status = check_way(r);
        if (status == VT_E_UNSUPPORTED)
            log_warn("attention  %s %s is not taken: its %s", name, r->backward ? "backward" : "forward", status_message());
    } else if (status == VT_E_UNSUPPORTED && !r->told) {
        log_info("attention  %s", status_message());
        r->told = true;
    }
    if (r->workspace)
        be->release(be, MEMORY_DEVICE, r->workspace);
    return status;
}

/* VT_E_UNSUPPORTED and VT_E_MEMORY are one candidate's own affair. */
static bool goes_on(vt_status status) { return status == VT_OK || status == VT_E_UNSUPPORTED || status == VT_E_MEMORY; }

static vt_status open_way(struct rig *r, bool backward, int kind, int choice, struct attention_way *way)
{
    vt_status status = attention_way_open(r->cuda, r->desc, backward, kind, choice, way);
    if (status != VT_OK && !r->told) {
        log_info("attention  %s.%d does not open: %s", attention_kind_name(kind), choice, status_message());
        r->told = true;
    }
    return status;
}

/* o and lse that belong to q, k and v, so that backward meets ordinary numbers. */
static vt_status run_forward(struct rig *r)
{
    for (int kind = 0; kind < ATTENTION_KINDS; kind++) {
        int choices = attention_way_choices(r->cuda, r->desc, false, kind);
        for (int choice = 0; choice < choices; choice++) {
            struct attention_way way = {0};
            double us;
            if (open_way(r, false, kind, choice, &way) != VT_OK)
                continue;
            vt_status status = time_way(r, &way, 1, -1, &us);
            attention_way_close(&way);
            if (status == VT_OK || !goes_on(status))
                return status;
        }
    }
    return VT_FAIL(VT_E_UNSUPPORTED, "cuda: no way of attention ran on %s", r->cuda->base.device_name);
}

/* Every choice of a kind: the first may fail to open where the next does not. */
static vt_status time_kind(struct rig *r, int kind, struct attention_way *best, double *best_us)
{
    int choices = attention_way_choices(r->cuda, r->desc, r->backward, kind);
    for (int choice = 0; choice < choices; choice++) {
        struct attention_way way = {0};
        double us;
        if (open_way(r, r->backward, kind, choice, &way) != VT_OK)
            continue;
        vt_status status = time_way(r, &way, RUNS, *best_us, &us);
        if (status != VT_OK || (*best_us >= 0 && us >= *best_us)) {
            attention_way_close(&way);
            if (!goes_on(status))
                return status;
            continue;
        }
        attention_way_close(best);
        *best = way;
        *best_us = us;
    }
    return VT_OK;
}

vt_status attention_tune(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                         struct attention_way *best)
{
    struct rig r = {.cuda = cuda, .desc = desc, .backward = backward};
    double best_us = -1;
    vt_status status = open_rig(&r);
    if (status == VT_OK && backward)
        status = run_forward(&r);
    if (status == VT_OK)
        status = attention_check_open(cuda, desc, backward, &r.call, &r.check);
    for (int kind = 0; status == VT_OK && kind < ATTENTION_KINDS; kind++)
        if (kind < ATTENTION_KINDS - 1 || best_us < 0) /* the last resort is never the fastest */
            status = time_kind(&r, kind, best, &best_us);
    close_rig(&r);
    if (status == VT_OK && best_us < 0)
        return VT_FAIL(VT_E_UNSUPPORTED, "cuda: no way of attention ran on %s", cuda->base.device_name);
    if (status != VT_OK)
        attention_way_close(best);
    return status;
}
