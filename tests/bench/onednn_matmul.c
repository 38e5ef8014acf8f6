#include "onednn_matmul.h"

#include <dnnl.h>
#include <stdlib.h>

#include "base/check.h"

struct onednn_matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, packed;
    bool b_packed, ready;
    dnnl_memory_desc_t b_desc;
};

#define TRY(call) VT_CHECKF((call) == dnnl_success, "oneDNN")

static dnnl_data_type_t type_of(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t view(int64_t batch, int64_t rows, int64_t columns, int64_t batch_stride, int64_t row,
                               int64_t column, enum dtype dtype)
{
    dnnl_memory_desc_t desc;
    dnnl_dims_t dims = {batch, rows, columns}, strides = {batch_stride, row, column};
    int skip = batch ? 0 : 1;
    TRY(dnnl_memory_desc_init_by_strides(&desc, 3 - skip, dims + skip, type_of(dtype), strides + skip));
    return desc;
}

struct onednn_matmul *onednn_matmul_open(const struct onednn_matmul_desc *d)
{
    struct onednn_matmul *m = calloc(1, sizeof *m);
    VT_CHECK(m != NULL);
    dnnl_memory_desc_t a = view(d->batch, d->m, d->k, d->a_batch, d->a_row, d->a_column, d->dtype);
    dnnl_memory_desc_t b = view(d->batch, d->k, d->n, d->b_batch, d->b_row, d->b_column, d->dtype);
    dnnl_memory_desc_t c = view(d->batch, d->m, d->n, d->m * d->n, d->n, 1, d->dtype_out), any = b;
    TRY(dnnl_engine_create(&m->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags));
    dnnl_primitive_attr_t attr;
    TRY(dnnl_primitive_attr_create(&attr));
    if (d->accumulate) {
        dnnl_post_ops_t ops;
        TRY(dnnl_post_ops_create(&ops));
        TRY(dnnl_post_ops_append_sum(ops, 1));
        TRY(dnnl_primitive_attr_set_post_ops(attr, ops));
        dnnl_post_ops_destroy(ops);
    }
    if (d->b_packed) {
        dnnl_dims_t dims = {d->batch, d->k, d->n};
        int skip = d->batch ? 0 : 1;
        TRY(dnnl_memory_desc_init_by_tag(&any, 3 - skip, dims + skip, type_of(d->dtype), dnnl_format_tag_any));
    }
    dnnl_matmul_desc_t matmul;
    TRY(dnnl_matmul_desc_init(&matmul, &a, &any, NULL, &c));
    TRY(dnnl_primitive_desc_create(&m->desc, &matmul, attr, m->engine, NULL));
    TRY(dnnl_primitive_create(&m->primitive, m->desc));
    TRY(dnnl_memory_create(&m->a, &a, m->engine, NULL));
    TRY(dnnl_memory_create(&m->b, &b, m->engine, NULL));
    TRY(dnnl_memory_create(&m->c, &c, m->engine, NULL));
    const dnnl_memory_desc_t *chosen = dnnl_primitive_desc_query_md(m->desc, dnnl_query_weights_md, 0);
    TRY(dnnl_memory_create(&m->packed, chosen, m->engine, DNNL_MEMORY_ALLOCATE));
    m->b_packed = d->b_packed;
    m->b_desc = b;
    dnnl_primitive_attr_destroy(attr);
    return m;
}

static void pack(struct onednn_matmul *m)
{
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t reorder;
    TRY(dnnl_reorder_primitive_desc_create(&desc, &m->b_desc, m->engine,
                                           dnnl_primitive_desc_query_md(m->desc, dnnl_query_weights_md, 0), m->engine,
                                           NULL));
    TRY(dnnl_primitive_create(&reorder, desc));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, m->b}, {DNNL_ARG_TO, m->packed}};
    TRY(dnnl_primitive_execute(reorder, m->stream, 2, args));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(desc);
}

void onednn_matmul_run(struct onednn_matmul *m, void *a, void *b, void *c)
{
    TRY(dnnl_memory_set_data_handle(m->a, a));
    TRY(dnnl_memory_set_data_handle(m->b, b));
    TRY(dnnl_memory_set_data_handle(m->c, c));
    if (m->b_packed && !m->ready) {
        pack(m);
        m->ready = true;
    }
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, m->a}, {DNNL_ARG_WEIGHTS, m->b_packed ? m->packed : m->b}, {DNNL_ARG_DST, m->c}};
    TRY(dnnl_primitive_execute(m->primitive, m->stream, 3, args));
    TRY(dnnl_stream_wait(m->stream));
}

const char *onednn_matmul_kernel(const struct onednn_matmul *m)
{
    const char *name = "?";
    (void)dnnl_primitive_desc_query(m->desc, dnnl_query_impl_info_str, 0, &name);
    return name;
}

void onednn_matmul_close(struct onednn_matmul *m)
{
    dnnl_memory_destroy(m->a);
    dnnl_memory_destroy(m->b);
    dnnl_memory_destroy(m->c);
    dnnl_memory_destroy(m->packed);
    dnnl_primitive_destroy(m->primitive);
    dnnl_primitive_desc_destroy(m->desc);
    dnnl_stream_destroy(m->stream);
    dnnl_engine_destroy(m->engine);
    free(m);
}
