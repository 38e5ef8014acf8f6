#include "backend/cpu/onednn_product.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

#include "base/check.h"

struct onednn_product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t matmul, reorder;
    dnnl_memory_t a, b, packed, c, scratchpad;
    size_t packed_bytes, scratch_bytes;
    int threads;
};

static dnnl_status_t matrix(dnnl_memory_desc_t *desc, int64_t rows, int64_t columns, int64_t row, int64_t column,
                            dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row, column};
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides);
}

/* dnnl_success, or the first failure. */
#define DNNL_TRY(call)                                                                                                 \
    do {                                                                                                               \
        dnnl_status_t dnnl_try_status_ = (call);                                                                       \
        if (dnnl_try_status_ != dnnl_success)                                                                          \
            return dnnl_try_status_;                                                                                   \
    } while (0)

static dnnl_status_t make_matmul_desc(struct onednn_product *p, const struct onednn_product_desc *d,
                                      const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *c,
                                      const dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t any;
    const dnnl_dims_t dims = {d->k, d->n};
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&any, 2, dims, dnnl_bf16, dnnl_format_tag_any));
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (d->accumulate) {
        dnnl_post_ops_t ops;
        DNNL_TRY(dnnl_post_ops_create(&ops));
        dnnl_status_t status = dnnl_post_ops_append_sum(ops, 1);
        status = status == dnnl_success ? dnnl_primitive_attr_set_post_ops(attr, ops) : status;
        dnnl_post_ops_destroy(ops);
        DNNL_TRY(status);
    }
    dnnl_matmul_desc_t matmul;
    DNNL_TRY(dnnl_matmul_desc_init(&matmul, a, &any, NULL, c));
    return dnnl_primitive_desc_create(&p->desc, &matmul, attr, p->engine, NULL);
}

static dnnl_status_t make_reorder(struct onednn_product *p, const dnnl_memory_desc_t *from,
                                  const dnnl_memory_desc_t *to)
{
    dnnl_primitive_desc_t desc;
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&desc, from, p->engine, to, p->engine, NULL));
    dnnl_status_t status = dnnl_primitive_create(&p->reorder, desc);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

static dnnl_status_t make_all(struct onednn_product *p, const struct onednn_product_desc *d)
{
    dnnl_memory_desc_t a, b, c;
    DNNL_TRY(matrix(&a, d->m, d->k, d->a_row, d->a_column, dnnl_bf16));
    DNNL_TRY(matrix(&b, d->k, d->n, d->b_row, d->b_column, dnnl_bf16));
    DNNL_TRY(matrix(&c, d->m, d->n, d->n, 1, dnnl_f32));
    DNNL_TRY(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
    dnnl_primitive_attr_t attr;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    dnnl_status_t status = make_matmul_desc(p, d, &a, &c, attr);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(p->desc, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *scratchpad = dnnl_primitive_desc_query_md(p->desc, dnnl_query_scratchpad_md, 0);
    DNNL_TRY(dnnl_primitive_create(&p->matmul, p->desc));
    DNNL_TRY(make_reorder(p, &b, packed));
    DNNL_TRY(dnnl_memory_create(&p->a, &a, p->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->b, &b, p->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->c, &c, p->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->packed, packed, p->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&p->scratchpad, scratchpad, p->engine, DNNL_MEMORY_NONE));
    p->packed_bytes = (dnnl_memory_desc_get_size(packed) + 63) / 64 * 64;
    p->scratch_bytes = dnnl_memory_desc_get_size(scratchpad);
    return dnnl_success;
}

vt_status onednn_product_open(const struct onednn_product_desc *desc, struct onednn_product **out)
{
    struct onednn_product *p = calloc(1, sizeof *p);
    if (!p)
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for a oneDNN product");
    p->threads = desc->threads;
    omp_set_num_threads(p->threads); /* oneDNN cuts its work when a primitive is made, for the team it sees */
    dnnl_status_t status = make_all(p, desc);
    if (status != dnnl_success) {
        onednn_product_close(&p);
        return VT_FAIL(VT_E_UNSUPPORTED, "cpu: oneDNN refuses a bf16 product of %lld x %lld x %lld (status %d)",
                       (long long)desc->m, (long long)desc->n, (long long)desc->k, (int)status);
    }
    *out = p;
    return VT_OK;
}

size_t onednn_product_workspace(const struct onednn_product *product)
{
    return product->packed_bytes + product->scratch_bytes;
}

static void bind_memory(dnnl_memory_t memory, const void *pointer, dnnl_stream_t stream)
{
    VT_CHECK(dnnl_memory_set_data_handle_v2(memory, (void *)(uintptr_t)pointer, stream) == dnnl_success);
}

void onednn_product_run(struct onednn_product *product, const void *a, const void *b, float *c, void *workspace)
{
    struct onednn_product *p = product;
    omp_set_num_threads(p->threads);
    bind_memory(p->a, a, p->stream);
    bind_memory(p->b, b, p->stream);
    bind_memory(p->c, c, p->stream);
    bind_memory(p->packed, workspace, p->stream);
    bind_memory(p->scratchpad, (char *)workspace + p->packed_bytes, p->stream);
    const dnnl_exec_arg_t pack[] = {{DNNL_ARG_FROM, p->b}, {DNNL_ARG_TO, p->packed}};
    const dnnl_exec_arg_t multiply[] = {{DNNL_ARG_SRC, p->a},
                                        {DNNL_ARG_WEIGHTS, p->packed},
                                        {DNNL_ARG_DST, p->c},
                                        {DNNL_ARG_SCRATCHPAD, p->scratchpad}};
    VT_CHECK(dnnl_primitive_execute(p->reorder, p->stream, 2, pack) == dnnl_success);
    VT_CHECK(dnnl_primitive_execute(p->matmul, p->stream, 4, multiply) == dnnl_success);
    VT_CHECK(dnnl_stream_wait(p->stream) == dnnl_success);
}

void onednn_product_close(struct onednn_product **product)
{
    struct onednn_product *p = product ? *product : NULL;
    if (!p)
        return;
    dnnl_memory_t memories[] = {p->a, p->b, p->c, p->packed, p->scratchpad};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        dnnl_memory_destroy(memories[i]);
    dnnl_primitive_destroy(p->matmul);
    dnnl_primitive_destroy(p->reorder);
    dnnl_primitive_desc_destroy(p->desc);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    free(p);
    *product = NULL;
}
