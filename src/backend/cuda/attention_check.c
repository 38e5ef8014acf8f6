/* Whether a way's results are right on this device: the plain kernel's for the first and the last image, against what the way made of
 * them within its whole batch. A way that is wrong is never chosen, however fast. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_ways.h"

enum { IMAGES = 2, PARTS = 3 };

/* Of the root of the mean square. bf16 ways round p and ds to bf16 where the plain kernel does not: simulated for 17 to 577 keys of 32
 * to 80 columns, and for one query, that and the results' own rounding make 0.22 to 0.33 % of o, dq, dk and dv on the values that are
 * timed (0.42 % where the softmax is sharper by 16): the limit is six times as much. A wrong row of 197 makes 7 %, nothing written
 * 100 %; a key too many may make 0.5 % of o, but 0.1 % of lse. The floor is for gradients that are zero but for rounding. */
static const double LIMIT_BF16 = 0.02, LIMIT_F32 = 1e-4, FLOOR = 1e-3;

/* One output; gradients have their tensor's strides. */
struct part {
    const char *name;
    struct attention_view view;
    int64_t heads, rows, columns;
    enum dtype dtype;
};

struct attention_check {
    struct cuda_backend *cuda;
    bool backward;
    int parts, images;
    int64_t image[IMAGES];
    struct part part[PARTS];
    float *expected[PARTS][IMAGES];
};

static int64_t values_of(const struct part *p) { return p->heads * p->rows * p->columns; }

static void *output_of(const struct attention_call *call, bool backward, int part)
{
    void *const outputs[2][PARTS] = {{call->o, call->lse, NULL}, {call->dq, call->dk, call->dv}};
    return outputs[backward][part];
}

static void list_parts(struct attention_check *c, const struct attention_desc *d)
{
    const struct attention_view lse = {d->heads * d->queries, d->queries, 1};
    if (c->backward) {
        c->part[c->parts++] = (struct part){"dq", d->q, d->heads, d->queries, d->head_dim, d->dtype};
        c->part[c->parts++] = (struct part){"dk", d->k, d->heads, d->keys, d->head_dim, d->dtype};
        c->part[c->parts++] = (struct part){"dv", d->v, d->heads, d->keys, d->head_dim, d->dtype};
    } else {
        c->part[c->parts++] = (struct part){"o", d->o, d->heads, d->queries, d->head_dim, d->dtype};
        c->part[c->parts++] = (struct part){"lse", lse, d->heads, d->queries, 1, DTYPE_F32};
    }
    c->images = d->batch > 1 ? 2 : 1;
    c->image[1] = d->batch - 1;
}

/* One image of a part, from the device, contiguous and in fp32; malloc'ed. */
static vt_status fetch(const struct attention_check *c, int part, int64_t image, const struct attention_call *call, float **out)
{
    const struct part *p = &c->part[part];
    struct backend *be = &c->cuda->base;
    size_t size = dtype_bytes(p->dtype);
    size_t bytes = (size_t)((p->heads - 1) * p->view.head + (p->rows - 1) * p->view.row + p->columns) * size;
    const char *device = (const char *)output_of(call, c->backward, part) + (size_t)(image * p->view.batch) * size;
    void *raw = malloc(bytes);
    float *values = malloc((size_t)values_of(p) * sizeof *values), *at = values;
    if (!raw || !values) {
        free(raw);
        free(values);
        return VT_FAIL(VT_E_MEMORY, "cuda: no host memory to check attention");
    }
    be->download(be, STREAM_COMPUTE, raw, device, bytes);
    vt_status status = be->synchronise(be);
    for (int64_t head = 0; status == VT_OK && head < p->heads; head++)
        for (int64_t row = 0; row < p->rows; row++)
            for (int64_t i = 0; i < p->columns; i++) {
                int64_t from = head * p->view.head + row * p->view.row + i;
                *at++ = p->dtype == DTYPE_BF16 ? bf16_to_float(((const bf16_t *)raw)[from]) : ((const float *)raw)[from];
            }
    free(raw);
    if (status == VT_OK)
        *out = values;
    else
        free(values);
    return status;
}

static const void *moved(const void *pointer, int64_t elements, enum dtype dtype)
{
    return pointer ? (const char *)pointer + elements * (int64_t)dtype_bytes(dtype) : NULL;
}

/* The call of one image alone. */
static struct attention_call call_of(const struct attention_desc *d, const struct attention_call *all, int64_t image,
                                     struct op_random *random)
{
    *random = *all->random;
    random->position += image;
    return (struct attention_call){.q = moved(all->q, image * d->q.batch, d->dtype),
                                   .k = moved(all->k, image * d->k.batch, d->dtype),
                                   .v = moved(all->v, image * d->v.batch, d->dtype),
                                   .o = (void *)moved(all->o, image * d->o.batch, d->dtype),
                                   .lse = all->lse + image * d->heads * d->queries,
                                   .d_o = moved(all->d_o, image * d->o.batch, d->dtype),
                                   .dq = (void *)moved(all->dq, image * d->q.batch, d->dtype),
                                   .dk = (void *)moved(all->dk, image * d->k.batch, d->dtype),
                                   .dv = (void *)moved(all->dv, image * d->v.batch, d->dtype),
                                   .random = random};
}

/* Forward in both cases: backward's o and lse must belong to its q, k and v. */
static vt_status run_plain(struct attention_check *c, const struct attention_desc *d, const struct attention_call *all)
{
    struct backend *be = &c->cuda->base;
    struct attention_desc one = *d;
    struct op_random random;
    void *workspace = NULL;
    one.batch = 1;
    size_t bytes = attention_plain_workspace(be, &one, false), more = attention_plain_workspace(be, &one, true);
    VT_TRY(be->alloc(be, MEMORY_DEVICE, bytes > more ? bytes : more, "checking attention", &workspace));
    for (int i = 0; i < c->images; i++) {
        const struct attention_call call = call_of(d, all, c->image[i], &random);
        attention_plain_forward(be, &one, &call, workspace);
        if (c->backward)
            attention_plain_backward(be, &one, &call, workspace);
    }
    vt_status status = be->synchronise(be);
    be->release(be, MEMORY_DEVICE, workspace);
    return status;
}

vt_status attention_check_open(struct cuda_backend *cuda, const struct attention_desc *desc, bool backward,
                               const struct attention_call *call, struct attention_check **out)
{
    struct attention_check *c = calloc(1, sizeof *c);
    if (!c)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory to check attention");
    c->cuda = cuda;
    c->backward = backward;
    list_parts(c, desc);
    vt_status status = run_plain(c, desc, call);
    for (int part = 0; part < c->parts; part++)
        for (int i = 0; status == VT_OK && i < c->images; i++)
            status = fetch(c, part, c->image[i], call, &c->expected[part][i]);
    if (status != VT_OK) {
        attention_check_close(&c);
        return status;
    }
    *out = c;
    return VT_OK;
}

/* Also false where either has a NaN. */
static bool agree(const struct part *p, const float *found, const float *expected, double *error)
{
    const double limit = p->dtype == DTYPE_BF16 ? LIMIT_BF16 : LIMIT_F32;
    double difference = 0, size = 0, count = (double)values_of(p);
    for (int64_t i = 0; i < values_of(p); i++) {
        difference += pow((double)found[i] - (double)expected[i], 2);
        size += pow((double)expected[i], 2);
    }
    *error = sqrt(difference / count) / fmax(sqrt(size / count), FLOOR);
    return *error <= limit;
}

vt_status attention_check_compare(struct attention_check *c, const struct attention_call *call)
{
    for (int part = 0; part < c->parts; part++)
        for (int i = 0; i < c->images; i++) {
            float *found = NULL;
            double error;
            VT_TRY(fetch(c, part, c->image[i], call, &found));
            bool good = agree(&c->part[part], found, c->expected[part][i], &error);
            free(found);
            if (!good)
                return VT_FAIL(VT_E_UNSUPPORTED, "%s of image %lld differs from the plain kernel's by %.2g of its size",
                               c->part[part].name, (long long)c->image[i], error);
        }
    return VT_OK;
}

static vt_status fetch_floats(struct cuda_backend *cuda, const float *device, int64_t count, float **out)
{
    struct backend *be = &cuda->base;
    float *values = malloc((size_t)count * sizeof *values);
    if (!values)
        return VT_FAIL(VT_E_MEMORY, "cuda: no host memory to check attention");
    be->download(be, STREAM_COMPUTE, values, device, (size_t)count * sizeof *values);
    vt_status status = be->synchronise(be);
    if (status != VT_OK)
        free(values);
    else
        *out = values;
    return status;
}

static vt_status compare_sums(struct cuda_backend *cuda, const struct part *p, const float *found, const float *expected)
{
    float *one = NULL, *other = NULL;
    double error = 0;
    vt_status status;
    VT_TRY_OUT(fetch_floats(cuda, found, values_of(p), &one));
    VT_TRY_OUT(fetch_floats(cuda, expected, values_of(p), &other));
    if (!agree(p, one, other, &error))
        status = VT_FAIL(VT_E_UNSUPPORTED, "%s differ from those of a pass over the gradient by %.2g of their size", p->name, error);
out:
    free(one);
    free(other);
    return status;
}

vt_status attention_check_sums(struct cuda_backend *cuda, const struct attention_desc *desc, const struct attention_sums *found,
                               const struct attention_sums *expected)
{
    struct part part = {.heads = desc->heads, .rows = 1, .columns = desc->head_dim, .dtype = desc->dtype};
    part.name = "dq's sums";
    VT_TRY(compare_sums(cuda, &part, found->dq, expected->dq));
    part.name = "dv's sums";
    return compare_sums(cuda, &part, found->dv, expected->dv);
}

void attention_check_close(struct attention_check **check)
{
    if (!*check)
        return;
    for (int part = 0; part < PARTS; part++)
        for (int i = 0; i < IMAGES; i++)
            free((*check)->expected[part][i]);
    free(*check);
    *check = NULL;
}
