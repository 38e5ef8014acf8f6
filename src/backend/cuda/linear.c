/* Linear layers: products of gemm.c, and own kernels for what their epilogues do not do. gemm_shape.c says which ways
 * there are, linear_choose.c takes one. Bound by the matrix units; an own kernel beside the product adds one pass over the
 * activations, bound by memory. */
#include "backend/cuda/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRATCH_ALIGN = 256 };

static char *scratch_of(const struct linear_plan *p)
{
    return (char *)cuda_workspace(&p->plan) + p->scratch_offset;
}
static size_t aligned(size_t bytes)
{
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

/* ---- enqueue ---- */

static void cast(const struct linear_plan *p, const void *from, enum dtype from_type, void *to, enum dtype to_type,
                 int64_t count)
{
    struct backend *be = p->plan.backend;
    be->nn.cast(be, from, from_type, to, to_type, count);
}

/* The bias in the type the product reads, aligned as that wants it: the caller's, where it is. */
static void *bias_of(const struct linear_plan *p, const struct gemm_shape *shape, const struct linear_forward_args *args)
{
    if (!gemm_has_bias(shape->epilogue))
        return NULL;
    const void *given = shape->dtype_bias == DTYPE_F32 ? args->b : shape->dtype_bias == p->desc.dtype ? args->b_rounded : NULL;
    if (given && (uintptr_t)given % GEMM_EPILOGUE_ALIGN == 0)
        return (void *)(uintptr_t)given;
    cast(p, args->b, DTYPE_F32, scratch_of(p), shape->dtype_bias, p->desc.out);
    return scratch_of(p);
}

/* The product lies in fp32 scratch, or is y itself. */
static void finish_scratch(const struct linear_plan *p, float *product, const float *b, void *y, void *pre)
{
    const struct linear_desc *d = &p->desc;
    struct backend *be = p->plan.backend;
    cuda_add_bias(be, product, b, d->rows, d->out);
    if (d->act == ACT_NONE) {
        if ((void *)product != y)
            cast(p, product, DTYPE_F32, y, d->dtype_out, d->rows * d->out);
        return;
    }
    if (pre) {
        cast(p, product, DTYPE_F32, pre, d->dtype, d->rows * d->out);
        cuda_activation_forward(be, d->act, pre, d->dtype, y, d->dtype_out, d->rows, d->out);
        return;
    }
    cuda_activation_forward(be, d->act, product, DTYPE_F32, y, d->dtype_out, d->rows, d->out);
}

static void linear_forward(struct op_plan *plan, const struct linear_forward_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    void *y = args->y, *pre = d->act == ACT_NONE ? NULL : args->pre;
    const struct product *product = &p->forward[pre != NULL];
    const struct gemm_shape *shape = gemm_shape_of(product->gemm);
    VT_CHECK((!d->bias || args->b) && (!d->forward_only || !pre));
    struct gemm_operands o = {.a = args->w, .b = args->x, .bias = bias_of(p, shape, args), .workspace = cuda_workspace(plan)};
    if (product->route == ROUTE_FUSED) {
        o.d = y;
        o.aux = pre;
    } else if (product->route == ROUTE_SPLIT)
        o.d = pre ? pre : y;
    else
        o.d = d->act == ACT_NONE && d->dtype_out == DTYPE_F32 ? y : scratch_of(p);
    gemm_run(product->gemm, &o);
    if (product->route == ROUTE_SPLIT)
        cuda_activation_forward(plan->backend, d->act, o.d, shape->dtype_out, y, d->dtype_out, d->rows, d->out);
    else if (product->route == ROUTE_SCRATCH)
        finish_scratch(p, o.d, args->b, y, pre);
}

/* x or dy in fp32. */
static void *widened(const struct linear_plan *p, const void *from, enum dtype dtype, int64_t count, char **scratch)
{
    if (dtype == DTYPE_F32)
        return (void *)(uintptr_t)from;
    void *wide = *scratch;
    *scratch += aligned((size_t)count * sizeof(float));
    cast(p, from, dtype, wide, DTYPE_F32, count);
    return wide;
}

/* All in fp32; then dx as it is wanted. */
static void input_by_scratch(const struct linear_plan *p, struct gemm *gemm, const struct linear_input_args *args)
{
    const struct linear_desc *d = &p->desc;
    const int64_t count = d->rows * d->in;
    const size_t element = dtype_bytes(d->dtype), row = (size_t)d->in * element, stride = (size_t)d->x_stride * element;
    char *scratch = scratch_of(p);
    struct gemm_operands o = {.workspace = cuda_workspace(&p->plan), .accumulate = args->accumulate};
    o.b = widened(p, args->dy, d->dtype_out, d->rows * d->out, &scratch);
    o.a = widened(p, args->w, d->dtype, d->out * d->in, &scratch);
    o.d = scratch;
    scratch += aligned((size_t)count * sizeof(float));
    void *dx = d->x_stride == d->in ? args->dx : scratch;
    if (args->accumulate) {
        if (dx != args->dx)
            cuda_copy_rows(cuda_of(&p->plan), dx, row, args->dx, stride, row, d->rows);
        cast(p, dx, d->dtype, o.d, DTYPE_F32, count);
    }
    gemm_run(gemm, &o);
    cast(p, o.d, DTYPE_F32, dx, d->dtype, count);
    if (dx != args->dx)
        cuda_copy_rows(cuda_of(&p->plan), args->dx, stride, dx, row, row, d->rows);
}

/* The product's own sums lie in scratch, in T. */
static void take_sums(const struct linear_plan *p, const struct linear_input_args *args)
{
    const struct linear_desc *d = &p->desc;
    struct backend *be = p->plan.backend;
    char *sums = scratch_of(p), *wide = sums + aligned((size_t)d->in * dtype_bytes(d->dtype));
    cast(p, sums, d->dtype, args->accumulate_sum ? (void *)wide : args->dx_sum, DTYPE_F32, d->in);
    if (args->accumulate_sum)
        be->nn.reduce_add(be, args->dx_sum, (const float *)wide, d->in);
}

static void product_of_input(const struct linear_plan *p, struct gemm *gemm, const struct linear_input_args *args)
{
    const struct linear_desc *d = &p->desc;
    struct gemm_operands o = {.a = args->w,
                              .b = args->dy,
                              .d = args->dx,
                              .aux = (void *)(uintptr_t)args->input_pre,
                              .workspace = cuda_workspace(&p->plan),
                              .accumulate = args->accumulate};
    if (linear_is_mixed(d)) {
        cast(p, args->dy, d->dtype_out, scratch_of(p), d->dtype, d->rows * d->out);
        o.b = scratch_of(p);
    }
    const bool sums = gemm_shape_of(gemm)->epilogue == GEMM_DGELU_BGRAD;
    o.bias = sums ? scratch_of(p) : NULL;
    gemm_run(gemm, &o);
    if (sums)
        take_sums(p, args);
}

static void linear_backward_input(struct op_plan *plan, const struct linear_input_args *args)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    struct backend *be = plan->backend;
    const bool in_passing = args->dx_sum && plan->own_sums;
    const struct product *product = &p->input[in_passing];
    const bool slope = d->input_act != ACT_NONE && product->route != ROUTE_FUSED;
    VT_CHECK(!d->forward_only && (d->input_act == ACT_NONE || (args->input_pre && !args->accumulate)));
    if (product->route == ROUTE_SCRATCH)
        input_by_scratch(p, product->gemm, args);
    else
        product_of_input(p, product->gemm, args);
    if (slope && in_passing)
        cuda_activation_backward_sums(be, d->input_act, args->input_pre, args->dx, d->dtype, d->rows, d->in, d->x_stride,
                                      args->dx_sum, args->accumulate_sum, scratch_of(p));
    else if (slope)
        cuda_activation_backward(be, d->input_act, args->input_pre, args->dx, d->dtype, d->rows, d->in, d->x_stride);
    if (args->dx_sum && !in_passing)
        cuda_column_sums(be, args->dx, d->dtype, d->rows, d->in, d->x_stride, args->dx_sum, args->accumulate_sum,
                         scratch_of(p));
}

static size_t widen_bytes(const struct linear_desc *d)
{
    size_t inputs = (size_t)(d->rows * d->in);
    return aligned(inputs * sizeof(float)) + aligned(inputs * dtype_bytes(d->dtype));
}

/* x in fp32 and contiguous; the gathered rows lie behind it. */
static const void *widen(const struct linear_plan *p, const void *x)
{
    const struct linear_desc *d = &p->desc;
    char *wide = scratch_of(p), *rows = wide + aligned((size_t)(d->rows * d->in) * sizeof(float));
    if (d->x_stride != d->in) {
        size_t element = dtype_bytes(d->dtype);
        cuda_copy_rows(cuda_of(&p->plan), rows, (size_t)d->in * element, x, (size_t)d->x_stride * element,
                       (size_t)d->in * element, d->rows);
        x = rows;
    }
    cast(p, x, d->dtype, wide, DTYPE_F32, d->rows * d->in);
    return wide;
}

static void linear_backward_weight(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                   bool accumulate)
{
    const struct linear_plan *p = (const struct linear_plan *)plan;
    const struct linear_desc *d = &p->desc;
    struct backend *be = plan->backend;
    const struct product *product = &p->weight[db != NULL];
    bool fused = db && product->route == ROUTE_FUSED, wide = product->route == ROUTE_SCRATCH;
    VT_CHECK(!d->forward_only);
    char *behind = (char *)scratch_of(p) + widen_bytes(d);
    struct gemm_operands o = {.a = wide || linear_is_mixed(d) ? widen(p, x) : x,
                              .b = wide ? widened(p, dy, d->dtype_out, d->rows * d->out, &behind) : dy,
                              .d = dw,
                              .workspace = cuda_workspace(plan),
                              .accumulate = accumulate};
    if (fused) /* BGRADB overwrites */
        o.bias = accumulate ? (void *)scratch_of(p) : db;
    gemm_run(product->gemm, &o);
    if (fused && accumulate)
        be->nn.reduce_add(be, db, (const float *)scratch_of(p), d->out);
    else if (db && !fused)
        cuda_column_sums(be, dy, d->dtype_out, d->rows, d->out, d->out, db, accumulate, scratch_of(p));
}

/* ---- workspace ---- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t scratch_bytes(const struct linear_plan *p)
{
    const struct linear_desc *d = &p->desc;
    const struct cuda_backend *cuda = cuda_of(&p->plan);
    size_t outputs = (size_t)(d->rows * d->out), inputs = (size_t)(d->rows * d->in);
    size_t bytes = most((size_t)d->out * sizeof(float), most(cuda_column_sums_bytes(&cuda->base, d->rows, d->out),
                                                             cuda_column_sums_bytes(&cuda->base, d->rows, d->in)));
    for (int i = 0; i < 2; i++)
        if (p->forward[i].gemm && p->forward[i].route == ROUTE_SCRATCH)
            bytes = most(bytes, outputs * sizeof(float));
    if (linear_is_mixed(d))
        bytes = most(bytes, most(outputs * dtype_bytes(d->dtype), widen_bytes(d)));
    bytes = most(bytes, aligned((size_t)d->in * dtype_bytes(d->dtype)) + (size_t)d->in * sizeof(float)); /* take_sums */
    for (int i = 0; i < 2; i++)
        if (p->input[i].gemm && p->input[i].route == ROUTE_SCRATCH)
            bytes = most(bytes, aligned(outputs * sizeof(float)) + aligned((size_t)(d->out * d->in) * sizeof(float)) +
                                    aligned(inputs * sizeof(float)) + inputs * dtype_bytes(d->dtype));
    for (int i = 0; i < 2; i++)
        if (p->weight[i].gemm && p->weight[i].route == ROUTE_SCRATCH)
            bytes = most(bytes, widen_bytes(d) + outputs * sizeof(float));
    return bytes;
}

void linear_lay_out(struct linear_plan *p)
{
    const struct product *all[] = {&p->forward[0], &p->forward[1], &p->input[0],
                                   &p->input[1],   &p->weight[0],  &p->weight[1]};
    p->scratch_offset = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->gemm)
            p->scratch_offset = most(p->scratch_offset, aligned(gemm_workspace(all[i]->gemm)));
    p->plan.workspace_bytes = 0;
    cuda_plan_workspace(&p->plan, p->scratch_offset + scratch_bytes(p));
}

/* ---- plan ---- */

static void linear_destroy(struct op_plan *plan)
{
    struct linear_plan *p = (struct linear_plan *)plan;
    gemm_close(&p->forward[0].gemm);
    gemm_close(&p->forward[1].gemm);
    gemm_close(&p->input[0].gemm);
    gemm_close(&p->input[1].gemm);
    gemm_close(&p->weight[0].gemm);
    gemm_close(&p->weight[1].gemm);
    free(p);
}

/* "cuBLASLt fused/split+sum/fused": forward, input and weight gradient. */
static void describe(struct linear_plan *p)
{
    const struct linear_desc *d = &p->desc;
    const bool sum = p->plan.own_sums, pre = d->act != ACT_NONE && !d->forward_only;
    int used = snprintf(p->plan.algorithm, sizeof p->plan.algorithm, "cuBLASLt %s", linear_route_name(p->forward[pre].route));
    if (!d->forward_only)
        snprintf(p->plan.algorithm + used, sizeof p->plan.algorithm - (size_t)used, "/%s%s/%s",
                 linear_route_name(p->input[sum].route), sum ? "+sum" : "", linear_route_name(p->weight[1].route));
}

static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    struct linear_plan *p;
    VT_CHECK(desc->rows > 0 && desc->in > 0 && desc->out > 0);
    VT_CHECK(desc->x_stride == 0 || desc->x_stride >= desc->in);
    VT_CHECK(desc->dtype_out == desc->dtype || desc->dtype_out == DTYPE_F32);
    VT_TRY(cuda_check_dtype("linear", desc->dtype));
    VT_TRY(cuda_plan_new(be, "cuBLASLt", sizeof *p, 0, (void **)&p));
    p->desc = *desc;
    if (p->desc.x_stride == 0)
        p->desc.x_stride = desc->in;
    p->plan.destroy = linear_destroy;
    p->plan.flops = 2.0 * (double)desc->rows * (double)desc->in * (double)desc->out;
    vt_status status = linear_choose(p);
    *plan = &p->plan;
    if (status != VT_OK) {
        op_plan_close(plan);
        return status;
    }
    describe(p);
    return VT_OK;
}

void cuda_linear_install(struct backend *be)
{
    be->nn.linear_plan = linear_plan;
    be->nn.linear_forward = linear_forward;
    be->nn.linear_backward_input = linear_backward_input;
    be->nn.linear_backward_weight = linear_backward_weight;
}
