#include "backend/cuda/attention_graph.h"

#include <string.h>

#include "base/check.h"

static int add_tensor(struct attention_graph *g, struct graph_tensor tensor)
{
    VT_CHECK(g->tensors < GRAPH_TENSORS);
    g->tensor[g->tensors] = tensor;
    return g->tensors++;
}

/* A view of the op: [B, A, rows, d]. */
static int add_view(struct attention_graph *g, enum graph_id id, const struct attention_desc *d,
                    const struct attention_view *view, int64_t rows)
{
    return add_tensor(g, (struct graph_tensor){.id = id,
                                               .dtype = d->dtype,
                                               .dims = {d->batch, d->heads, rows, d->head_dim},
                                               .strides = {view->batch, view->head, view->row, 1}});
}

/* The same memory as [B, A, d, rows]. */
static int add_transposed(struct attention_graph *g, enum graph_id id, const struct attention_desc *d,
                          const struct attention_view *view, int64_t rows)
{
    return add_tensor(g, (struct graph_tensor){.id = id,
                                               .dtype = d->dtype,
                                               .dims = {d->batch, d->heads, d->head_dim, rows},
                                               .strides = {view->batch, view->head, 1, view->row}});
}

/* One fp32 per query row, contiguous [B, A, Nq, 1]. */
static int add_rows(struct attention_graph *g, enum graph_id id, const struct attention_desc *d)
{
    return add_tensor(g, (struct graph_tensor){.id = id,
                                               .dtype = DTYPE_F32,
                                               .dims = {d->batch, d->heads, d->queries, 1},
                                               .strides = {d->heads * d->queries, d->queries, 1, 1}});
}

static int add_scalar(struct attention_graph *g, enum graph_id id)
{
    return add_tensor(g, (struct graph_tensor){.id = id,
                                               .dtype = DTYPE_F32,
                                               .dims = {1, 1, 1, 1},
                                               .strides = {1, 1, 1, 1},
                                               .by_value = true});
}

/* An intermediate [B, A, rows, columns]. */
static int add_virtual(struct attention_graph *g, const struct attention_desc *d, enum dtype dtype, int64_t rows,
                       int64_t columns)
{
    struct graph_tensor t = {.id = GRAPH_VIRTUAL + g->tensors,
                             .dtype = dtype,
                             .dims = {d->batch, d->heads, rows, columns},
                             .strides = {d->heads * rows * columns, rows * columns, columns, 1},
                             .is_virtual = true};
    return add_tensor(g, t);
}

/* The transpose of an intermediate, as RESHAPE makes it: the same memory with its last two dims swapped. */
static int add_virtual_transposed(struct attention_graph *g, int of, enum dtype dtype)
{
    struct graph_tensor t = g->tensor[of];
    t.id = GRAPH_VIRTUAL + g->tensors;
    t.dtype = dtype;
    t.is_virtual = true;
    int64_t rows = t.dims[2], row_stride = t.strides[2];
    t.dims[2] = t.dims[3];
    t.strides[2] = t.strides[3];
    t.dims[3] = rows;
    t.strides[3] = row_stride;
    return add_tensor(g, t);
}

static int add_node(struct attention_graph *g, enum graph_op op, int a, int b, int y)
{
    VT_CHECK(g->nodes < GRAPH_NODES);
    g->node[g->nodes++] = (struct graph_node){.op = op, .a = a, .b = b, .c = -1, .scale = -1, .y = y, .stats = -1};
    return y;
}

static bool strides_aligned(const struct attention_view *view)
{
    return view->batch % 8 == 0 && view->head % 8 == 0 && view->row % 8 == 0;
}

bool attention_graph_supports(const struct attention_desc *desc, const char **reason)
{
    *reason = NULL;
    if (desc->dtype != DTYPE_BF16)
        *reason = "not bf16";
    else if (desc->dropout > 0)
        *reason = "attention dropout";
    else if (desc->head_dim % 8 != 0 || desc->head_dim > 128)
        *reason = "head size";
    else if (!strides_aligned(&desc->q) || !strides_aligned(&desc->k) || !strides_aligned(&desc->v) ||
             !strides_aligned(&desc->o))
        *reason = "rows not on 16 bytes";
    return *reason == NULL;
}

void attention_graph_unified(const struct attention_desc *d, struct attention_graph *g)
{
    memset(g, 0, sizeof *g);
    struct graph_node *node = &g->node[g->nodes++];
    node->op = GRAPH_SDPA;
    node->a = add_view(g, GRAPH_Q, d, &d->q, d->queries);
    node->b = add_view(g, GRAPH_K, d, &d->k, d->keys);
    node->c = add_view(g, GRAPH_V, d, &d->v, d->keys);
    node->scale = add_scalar(g, GRAPH_SCALE);
    node->y = add_view(g, GRAPH_O, d, &d->o, d->queries);
    node->stats = add_rows(g, GRAPH_STATS, d);
}

/* s = scale q k^T; m = max s; e = exp(s - m); z = sum e; stats = m + log z; o = (e / z) v. */
void attention_graph_forward(const struct attention_desc *d, struct attention_graph *g)
{
    const int64_t n = d->queries, k = d->keys;
    memset(g, 0, sizeof *g);
    int q = add_view(g, GRAPH_Q, d, &d->q, n);
    int kt = add_transposed(g, GRAPH_K, d, &d->k, k);
    int v = add_view(g, GRAPH_V, d, &d->v, k);
    int o = add_view(g, GRAPH_O, d, &d->o, n);
    int stats = add_rows(g, GRAPH_STATS, d);
    int scale = add_scalar(g, GRAPH_SCALE);

    int qk = add_node(g, GRAPH_MATMUL, q, kt, add_virtual(g, d, DTYPE_F32, n, k));
    int s = add_node(g, GRAPH_MUL, qk, scale, add_virtual(g, d, DTYPE_F32, n, k));
    int m = add_node(g, GRAPH_MAX_COLUMNS, s, -1, add_virtual(g, d, DTYPE_F32, n, 1));
    int below = add_node(g, GRAPH_SUB, s, m, add_virtual(g, d, DTYPE_F32, n, k));
    int e = add_node(g, GRAPH_EXP, below, -1, add_virtual(g, d, DTYPE_F32, n, k));
    int z = add_node(g, GRAPH_SUM_COLUMNS, e, -1, add_virtual(g, d, DTYPE_F32, n, 1));
    int log_z = add_node(g, GRAPH_LOG, z, -1, add_virtual(g, d, DTYPE_F32, n, 1));
    add_node(g, GRAPH_ADD, m, log_z, stats);
    int p = add_node(g, GRAPH_DIV, e, z, add_virtual(g, d, d->dtype, n, k));
    add_node(g, GRAPH_MATMUL, p, v, o);
}

/* row_sum = sum_c d_o o; p = exp(scale q k^T - stats); dv = p^T d_o; ds = scale p (d_o v^T - row_sum); dk = ds^T q; dq = ds k. */
void attention_graph_backward(const struct attention_desc *d, struct attention_graph *g)
{
    const int64_t n = d->queries, k = d->keys;
    memset(g, 0, sizeof *g);
    int q = add_view(g, GRAPH_Q, d, &d->q, n);
    int kt = add_transposed(g, GRAPH_K, d, &d->k, k);
    int vt = add_transposed(g, GRAPH_V, d, &d->v, k);
    int o = add_view(g, GRAPH_O, d, &d->o, n);
    int d_o = add_view(g, GRAPH_D_O, d, &d->o, n);
    int dq = add_view(g, GRAPH_DQ, d, &d->q, n);
    int dk = add_view(g, GRAPH_DK, d, &d->k, k);
    int dv = add_view(g, GRAPH_DV, d, &d->v, k);
    int stats = add_rows(g, GRAPH_STATS, d);
    int row_sum = add_rows(g, GRAPH_ROW_SUM, d);
    int scale = add_scalar(g, GRAPH_SCALE);
    int one = add_scalar(g, GRAPH_ONE); /* stands where a dropout factor would: the engine matches this pattern */

    int product = add_node(g, GRAPH_MUL, d_o, o, add_virtual(g, d, DTYPE_F32, n, d->head_dim));
    int summed = add_node(g, GRAPH_SUM_COLUMNS, product, -1, add_virtual(g, d, DTYPE_F32, n, 1));
    add_node(g, GRAPH_MUL, summed, one, row_sum);

    int qk = add_node(g, GRAPH_MATMUL, q, kt, add_virtual(g, d, DTYPE_F32, n, k));
    int s = add_node(g, GRAPH_MUL, qk, scale, add_virtual(g, d, DTYPE_F32, n, k));
    int below = add_node(g, GRAPH_SUB, s, stats, add_virtual(g, d, DTYPE_F32, n, k));
    int p = add_node(g, GRAPH_EXP, below, -1, add_virtual(g, d, DTYPE_F32, n, k));
    int pt = add_node(g, GRAPH_RESHAPE, p, -1, add_virtual_transposed(g, p, d->dtype));
    add_node(g, GRAPH_MATMUL, pt, d_o, dv);

    int dp = add_node(g, GRAPH_MATMUL, d_o, vt, add_virtual(g, d, DTYPE_F32, n, k));
    int centred = add_node(g, GRAPH_SUB, dp, row_sum, add_virtual(g, d, DTYPE_F32, n, k));
    int weighted = add_node(g, GRAPH_MUL, centred, p, add_virtual(g, d, DTYPE_F32, n, k));
    int ds = add_node(g, GRAPH_MUL, weighted, scale, add_virtual(g, d, d->dtype, n, k));
    int dst = add_node(g, GRAPH_RESHAPE, ds, -1, add_virtual_transposed(g, ds, d->dtype));
    add_node(g, GRAPH_MATMUL, dst, q, dk);

    int k_rows = add_node(g, GRAPH_RESHAPE, kt, -1, add_virtual_transposed(g, kt, d->dtype));
    add_node(g, GRAPH_MATMUL, ds, k_rows, dq);
}

int attention_graph_find(const struct attention_graph *graph, enum graph_id id)
{
    for (int i = 0; i < graph->tensors; i++)
        if (graph->tensor[i].id == (int64_t)id)
            return i;
    return -1;
}
