#include "tensors.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/philox.h"

enum { GUARD_BYTES = 256, GUARD_BYTE = 0xA5, POISON_BYTE = 0xFF, SCALAR_FIELDS = 9 };
static const uint64_t VALUE_SEED = 20240229;

size_t tensor_bytes(const struct tensor_spec *spec)
{
    return spec->scalars ? sizeof(struct step_scalars) : (size_t)spec->count * dtype_bytes(spec->dtype);
}

static double scalar_field(const struct step_scalars *s, int64_t field)
{
    const double fields[SCALAR_FIELDS] = {
        s->loss_sum,          s->weight_sum,          (double)s->correct1,  (double)s->correct5, s->sumsq,
        (double)s->grad_norm, (double)s->clip_factor, (double)s->nonfinite, (double)s->skipped};
    return fields[field];
}

double tensor_get(const struct tensor_spec *spec, const void *data, int64_t i)
{
    if (spec->scalars)
        return scalar_field(data, i);
    switch (spec->dtype) {
    case DTYPE_F32:
        return (double)((const float *)data)[i];
    case DTYPE_BF16:
        return (double)bf16_to_float(((const bf16_t *)data)[i]);
    case DTYPE_F64:
        return ((const double *)data)[i];
    case DTYPE_U8:
        return (double)((const uint8_t *)data)[i];
    case DTYPE_I32:
        return (double)((const int32_t *)data)[i];
    default:
        return (double)((const int64_t *)data)[i];
    }
}

void tensor_set(const struct tensor_spec *spec, void *data, int64_t i, double value)
{
    switch (spec->dtype) {
    case DTYPE_F32:
        ((float *)data)[i] = (float)value;
        break;
    case DTYPE_BF16:
        ((bf16_t *)data)[i] = bf16_from_float((float)value);
        break;
    case DTYPE_F64:
        ((double *)data)[i] = value;
        break;
    case DTYPE_U8:
        ((uint8_t *)data)[i] = (uint8_t)value;
        break;
    case DTYPE_I32:
        ((int32_t *)data)[i] = (int32_t)value;
        break;
    default:
        ((int64_t *)data)[i] = (int64_t)value;
    }
}

static double uniform(int tensor, int64_t i)
{
    return draw_uniform53(VALUE_SEED, 1000, (uint64_t)tensor, (uint32_t)i);
}

static double normal(int tensor, int64_t i)
{
    double u = 1 - uniform(tensor, 2 * i), v = uniform(tensor, 2 * i + 1);
    return round(sqrt(-2 * log(u)) * cos(6.28318530717958647693 * v) * 4096) / 4096;
}

static double value_of(const struct tensor_spec *spec, int tensor, int64_t i)
{
    switch (spec->fill) {
    case FILL_SCALE:
        return 1 + round(normal(tensor, i) * 512) / 4096;
    case FILL_POSITIVE:
        return normal(tensor, i) * normal(tensor, i);
    case FILL_SMALL:
        return normal(tensor, i) / 128;
    case FILL_POSITION:
        return 5e9 + 17 * (double)i;
    case FILL_PIXEL:
        return floor(256 * uniform(tensor, i));
    case FILL_LABEL:
        return floor((spec->label_classes + 1) * uniform(tensor, i)) - 1;
    case FILL_WEIGHT:
        return round(uniform(tensor, i) * 4096) / 4096;
    case FILL_ROW_WEIGHT:
        return i % 3 == 2 ? 0 : 1;
    default:
        return normal(tensor, i);
    }
}

static void allocate(struct tensors *t)
{
    for (int k = 0; k < t->count; k++) {
        size_t bytes = tensor_bytes(&t->specs[k]);
        size_t whole = (bytes + 2 * GUARD_BYTES + 63) / 64 * 64;
        t->image[k] = aligned_alloc(64, whole);
        VT_CHECK(t->image[k] != NULL);
        memset(t->image[k], GUARD_BYTE, whole);
        t->data[k] = (char *)t->image[k] + GUARD_BYTES;
        memset(t->data[k], POISON_BYTE, bytes);
    }
}

static bool has_values(const struct tensor_spec *spec, bool accumulate)
{
    return spec->roles & FWD_IN || (spec->roles & BWD_IN && !(spec->roles & FWD_OUT)) ||
           (spec->roles & ACCUMULATES && accumulate);
}

static void fill_tensor(const struct tensor_spec *spec, int tensor, void *data)
{
    if (spec->fill == FILL_SCALARS) {
        *(struct step_scalars *)data = (struct step_scalars){.loss_sum = 1.5,
                                                             .weight_sum = 2,
                                                             .correct1 = 3,
                                                             .correct5 = 4,
                                                             .sumsq = 5,
                                                             .grad_norm = 6,
                                                             .clip_factor = 0.5f,
                                                             .skipped = 8};
        return;
    }
    for (int64_t i = 0; i < spec->count; i++)
        tensor_set(spec, data, i, value_of(spec, tensor, i));
}

void tensors_init(struct tensors *t, const struct op_family *family, const struct op_case *c, bool accumulate)
{
    *t = (struct tensors){0};
    t->count = family->specs(c, t->specs);
    VT_CHECK(t->count <= MAX_TENSORS);
    for (int k = 0; k < t->count; k++)
        if (t->specs[k].scalars)
            t->specs[k].count = SCALAR_FIELDS;
    allocate(t);
    for (int k = 0; k < t->count; k++)
        if (has_values(&t->specs[k], accumulate))
            fill_tensor(&t->specs[k], k, t->data[k]);
    if (family->prepare)
        family->prepare(c, t->data);
    if (family->derive)
        family->derive(c, t->data);
}

void tensors_clone(struct tensors *to, const struct tensors *from)
{
    *to = *from;
    allocate(to);
    for (int k = 0; k < from->count; k++)
        memcpy(to->data[k], from->data[k], tensor_bytes(&from->specs[k]));
}

void tensors_convert(struct tensors *to, const struct op_family *family, const struct op_case *wide,
                     const struct tensors *from)
{
    *to = *from;
    family->specs(wide, to->specs);
    for (int k = 0; k < to->count; k++)
        to->specs[k].count = from->specs[k].count;
    allocate(to);
    for (int k = 0; k < from->count; k++) {
        if (to->specs[k].dtype == from->specs[k].dtype || from->specs[k].scalars)
            memcpy(to->data[k], from->data[k], tensor_bytes(&from->specs[k]));
        else
            for (int64_t i = 0; i < from->specs[k].count; i++)
                tensor_set(&to->specs[k], to->data[k], i, tensor_get(&from->specs[k], from->data[k], i));
    }
}

void tensors_close(struct tensors *t)
{
    for (int k = 0; k < t->count; k++)
        free(t->image[k]);
    *t = (struct tensors){0};
}

int tensors_guard_broken(const struct tensors *t)
{
    for (int k = 0; k < t->count; k++) {
        const unsigned char *image = t->image[k];
        size_t bytes = tensor_bytes(&t->specs[k]);
        for (size_t i = 0; i < GUARD_BYTES; i++)
            if (image[i] != GUARD_BYTE || image[GUARD_BYTES + bytes + i] != GUARD_BYTE)
                return k;
    }
    return -1;
}

static void enqueue(const struct op_family *family, const struct op_run *run, enum phase phase)
{
    if (phase == PHASE_FORWARD)
        family->forward(run);
    else
        family->backward(run);
}

void (*tensors_guard_hook)(void *guard, size_t bytes, bool closed);

static void guard_all(const struct tensors *t, void *const *device, bool closed)
{
    for (int k = 0; tensors_guard_hook && k < t->count; k++) {
        tensors_guard_hook(device[k], GUARD_BYTES, closed);
        tensors_guard_hook((char *)device[k] + GUARD_BYTES + tensor_bytes(&t->specs[k]), GUARD_BYTES, closed);
    }
}

/* Device copies of the images, guards included. */
static vt_status run_on_device(struct tensors *t, const struct op_family *family, struct op_run *run, enum phase phase)
{
    struct backend *be = run->be;
    void *device[MAX_TENSORS] = {0};
    vt_status status = VT_OK;
    for (int k = 0; k < t->count; k++) {
        size_t bytes = tensor_bytes(&t->specs[k]) + 2 * GUARD_BYTES;
        VT_TRY_OUT(be->alloc(be, MEMORY_DEVICE, bytes, t->specs[k].name, &device[k]));
        be->upload(be, STREAM_COMPUTE, device[k], t->image[k], bytes);
        run->t[k] = (char *)device[k] + GUARD_BYTES;
    }
    guard_all(t, device, true);
    enqueue(family, run, phase);
    guard_all(t, device, false);
    for (int k = 0; k < t->count; k++)
        be->download(be, STREAM_COMPUTE, t->image[k], device[k], tensor_bytes(&t->specs[k]) + 2 * GUARD_BYTES);
    VT_TRY_OUT(be->synchronise(be));
out:
    for (int k = 0; k < t->count; k++)
        be->release(be, MEMORY_DEVICE, device[k]);
    return status;
}

vt_status tensors_run(struct tensors *t, struct backend *be, bool device, const struct op_family *family,
                      const struct op_case *c, enum phase phase, bool accumulate)
{
    struct op_run run = {.be = be, .c = c, .accumulate = accumulate};
    vt_status status = VT_OK;
    if (family->plan)
        VT_TRY(family->plan(be, c, &run.plan));
    VT_TRY_OUT(be->reserve_workspace(be));
    memcpy(run.t, t->data, sizeof run.t);
    if (device)
        VT_TRY_OUT(run_on_device(t, family, &run, phase));
    else
        enqueue(family, &run, phase);
out:
    op_plan_close(&run.plan);
    return status;
}
