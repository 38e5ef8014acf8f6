#include "backend/cuda/attention_graph.h"
#include "test.h"

/* ViT-B/16: packed qkv [B,N,3,A,d] and o [B,N,A,d]. */
static struct attention_desc vit(void)
{
    const int64_t n = 197, heads = 12, d = 64;
    const struct attention_view qkv = {n * 3 * heads * d, d, 3 * heads * d}, o = {n * heads * d, d, heads * d};
    return (struct attention_desc){.batch = 64, .heads = heads, .queries = n, .keys = n, .head_dim = d, .dtype = DTYPE_BF16,
                                   .scale = 0.125f, .q = qkv, .k = qkv, .v = qkv, .o = o};
}

static void check_tensor(const struct attention_graph *g, enum graph_id id, const int64_t dims[4], const int64_t strides[4])
{
    int at = attention_graph_find(g, id);
    CU_ASSERT_FATAL(at >= 0);
    CU_ASSERT_EQUAL(memcmp(g->tensor[at].dims, dims, 4 * sizeof *dims), 0);
    CU_ASSERT_EQUAL(memcmp(g->tensor[at].strides, strides, 4 * sizeof *strides), 0);
}

/* Rules that hold in every graph: ids are unique, nodes read what is real or was made before, each tensor is made at most
 * once, shapes fit. Returns the number of nodes of one kind. */
static int check_graph(const struct attention_graph *g, enum graph_op count_op)
{
    bool made[GRAPH_TENSORS] = {false};
    int counted = 0;
    for (int i = 0; i < g->tensors; i++)
        for (int j = 0; j < i; j++)
            CU_ASSERT_NOT_EQUAL(g->tensor[i].id, g->tensor[j].id);
    for (int n = 0; n < g->nodes; n++) {
        const struct graph_node *node = &g->node[n];
        const int inputs[] = {node->a, node->b, node->c, node->scale};
        for (int i = 0; i < 4; i++)
            CU_ASSERT(inputs[i] < 0 || !g->tensor[inputs[i]].is_virtual || made[inputs[i]]);
        CU_ASSERT_FALSE(made[node->y]);
        made[node->y] = true;
        if (node->stats >= 0)
            made[node->stats] = true;
        const int64_t *y = g->tensor[node->y].dims, *a = g->tensor[node->a].dims;
        counted += node->op == count_op;
        if (node->op == GRAPH_MATMUL) {
            const int64_t *b = g->tensor[node->b].dims;
            CU_ASSERT(a[3] == b[2] && y[2] == a[2] && y[3] == b[3]);
            CU_ASSERT_EQUAL(g->tensor[node->a].dtype, DTYPE_BF16); /* tensor cores read bf16 */
            CU_ASSERT_EQUAL(g->tensor[node->b].dtype, DTYPE_BF16);
        } else if (node->op == GRAPH_MAX_COLUMNS || node->op == GRAPH_SUM_COLUMNS) {
            CU_ASSERT(y[2] == a[2] && y[3] == 1);
        } else if (node->op == GRAPH_RESHAPE) {
            CU_ASSERT(y[2] == a[3] && y[3] == a[2]);
        }
    }
    for (int i = 0; i < g->tensors; i++)
        CU_ASSERT(!g->tensor[i].is_virtual || made[i]);
    return counted;
}

static void test_views(void)
{
    struct attention_desc d = vit();
    struct attention_graph g;
    const int64_t n = 197, row = 3 * 12 * 64;
    attention_graph_unified(&d, &g);
    check_graph(&g, GRAPH_SDPA);
    CU_ASSERT_EQUAL(g.nodes, 1);
    check_tensor(&g, GRAPH_Q, (int64_t[]){64, 12, n, 64}, (int64_t[]){n * row, 64, row, 1});
    check_tensor(&g, GRAPH_K, (int64_t[]){64, 12, n, 64}, (int64_t[]){n * row, 64, row, 1}); /* not transposed here */
    check_tensor(&g, GRAPH_O, (int64_t[]){64, 12, n, 64}, (int64_t[]){n * 768, 64, 768, 1});
    check_tensor(&g, GRAPH_STATS, (int64_t[]){64, 12, n, 1}, (int64_t[]){12 * n, n, 1, 1});
    attention_graph_forward(&d, &g);
    check_tensor(&g, GRAPH_K, (int64_t[]){64, 12, 64, n}, (int64_t[]){n * row, 64, 1, row});
    check_tensor(&g, GRAPH_V, (int64_t[]){64, 12, n, 64}, (int64_t[]){n * row, 64, row, 1});
    attention_graph_backward(&d, &g);
    check_tensor(&g, GRAPH_V, (int64_t[]){64, 12, 64, n}, (int64_t[]){n * row, 64, 1, row});
    check_tensor(&g, GRAPH_DK, (int64_t[]){64, 12, n, 64}, (int64_t[]){n * row, 64, row, 1});
    check_tensor(&g, GRAPH_ROW_SUM, (int64_t[]){64, 12, n, 1}, (int64_t[]){12 * n, n, 1, 1});
}

static void test_forward(void)
{
    struct attention_desc d = vit();
    struct attention_graph g;
    attention_graph_forward(&d, &g);
    CU_ASSERT_EQUAL(g.nodes, 10);
    CU_ASSERT_EQUAL(check_graph(&g, GRAPH_MATMUL), 2);
    CU_ASSERT_EQUAL(g.node[g.nodes - 1].y, attention_graph_find(&g, GRAPH_O));
    CU_ASSERT_EQUAL(attention_graph_find(&g, GRAPH_DQ), -1);
}

static void test_backward(void)
{
    struct attention_desc d = vit();
    struct attention_graph g;
    attention_graph_backward(&d, &g);
    CU_ASSERT_EQUAL(g.nodes, 17);
    CU_ASSERT_EQUAL(check_graph(&g, GRAPH_MATMUL), 5);
    for (enum graph_id id = GRAPH_DQ; id <= GRAPH_DV; id++) { /* each gradient is one product, written once */
        int writers = 0;
        for (int i = 0; i < g.nodes; i++)
            writers += g.node[i].y == attention_graph_find(&g, id) && g.node[i].op == GRAPH_MATMUL;
        CU_ASSERT_EQUAL(writers, 1);
    }
}

/* Queries and keys of different counts and strides, as in MAP pooling. */
static void test_cross(void)
{
    struct attention_desc d = vit();
    d.queries = 1;
    d.q = d.o = (struct attention_view){768, 64, 768};
    struct attention_graph g;
    attention_graph_backward(&d, &g);
    check_graph(&g, GRAPH_MATMUL);
    check_tensor(&g, GRAPH_DQ, (int64_t[]){64, 12, 1, 64}, (int64_t[]){768, 64, 768, 1});
    attention_graph_forward(&d, &g);
    check_graph(&g, GRAPH_MATMUL);
}

static void test_refusals(void)
{
    static const char *const REASONS[] = {"bf16", "dropout", "head size", "16 bytes"};
    for (int i = 0; i < 4; i++) {
        struct attention_desc d = vit();
        const char *reason;
        CU_ASSERT(attention_graph_supports(&d, &reason));
        if (i == 0)
            d.dtype = DTYPE_F32;
        else if (i == 1)
            d.dropout = 0.1f;
        else if (i == 2)
            d.head_dim = 20;
        else
            d.v.row += 4;
        CU_ASSERT_FALSE_FATAL(attention_graph_supports(&d, &reason));
        CU_ASSERT_PTR_NOT_NULL(strstr(reason, REASONS[i]));
    }
}

static const struct test_case CASES[] = {
    {"strides of packed qkv", test_views}, {"forward graph", test_forward}, {"backward graph", test_backward},
    {"queries unlike keys", test_cross},   {"refusals", test_refusals},
};

TEST_MAIN("attention_graph", CASES)
