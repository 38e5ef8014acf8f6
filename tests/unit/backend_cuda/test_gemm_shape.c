/* What linear layers ask of cuBLASLt, on the shapes of ViT-B/16. That the products mean the layer is tests/plugin's
 * part. */
#include "backend/cuda/gemm_shape.h"
#include "test.h"

static struct linear_desc layer(int64_t rows, int64_t in, int64_t out)
{
    return (struct linear_desc){
        .rows = rows, .in = in, .out = out, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16, .bias = true, .x_stride = in};
}

static void keys_name_everything(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(50432, 768, 3072);
    char key[GEMM_KEY_BYTES];
    d.act = ACT_GELU_TANH;
    linear_forward_candidates(&d, true, c);
    gemm_key(&c[0].shape, key);
    CU_ASSERT_STRING_EQUAL(key, "gemm/TN/3072x50432x768/ld=768,768,3072/bf16>bf16/gelu_aux_bias:fp32");
    linear_weight_candidates(&d, true, c);
    gemm_key(&c[0].shape, key);
    CU_ASSERT_STRING_EQUAL(key, "gemm/NT/768x3072x50432/ld=768,3072,768/bf16>fp32/bgradb:fp32/beta");
    linear_input_candidates(&d, false, c);
    gemm_key(&c[0].shape, key);
    CU_ASSERT_STRING_EQUAL(key, "gemm/NN/768x50432x3072/ld=768,3072,768/bf16>bf16/plain");
    c[0].shape.sm_target = 116;
    gemm_key(&c[0].shape, key);
    CU_ASSERT_STRING_EQUAL(key, "gemm/NN/768x50432x3072/ld=768,3072,768/bf16>bf16/plain/sm116");
    d = layer(50432, 3072, 768);
    d.input_act = ACT_GELU_TANH;
    linear_input_candidates(&d, true, c);
    gemm_key(&c[0].shape, key);
    CU_ASSERT_STRING_EQUAL(key, "gemm/NN/3072x50432x768/ld=3072,768,3072/bf16>bf16/dgelu_bgrad:bf16");
}

static void check_routes(const struct linear_candidate *c, int count, const enum linear_route *routes,
                         const enum gemm_epilogue *epilogues, int expected)
{
    CU_ASSERT_EQUAL_FATAL(count, expected);
    for (int i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(c[i].route, routes[i]);
        CU_ASSERT_EQUAL(c[i].shape.epilogue, epilogues[i]);
    }
}

/* erf has no epilogue; fp32 results get no fast tanh; aux columns must be multiples of 8 apart. */
static void gelu_fuses_where_it_may(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(394, 768, 3072);
    const enum linear_route split[] = {ROUTE_SPLIT, ROUTE_SPLIT, ROUTE_SCRATCH};
    const enum gemm_epilogue bias[] = {GEMM_BIAS, GEMM_BIAS, GEMM_PLAIN};
    const enum linear_route both[] = {ROUTE_FUSED, ROUTE_FUSED, ROUTE_SPLIT, ROUTE_SPLIT, ROUTE_SCRATCH};
    const enum gemm_epilogue with_aux[] = {GEMM_GELU_AUX_BIAS, GEMM_GELU_AUX_BIAS, GEMM_BIAS, GEMM_BIAS, GEMM_PLAIN};
    const enum gemm_epilogue without[] = {GEMM_GELU_BIAS, GEMM_GELU_BIAS, GEMM_BIAS, GEMM_BIAS, GEMM_PLAIN};
    d.act = ACT_GELU_ERF;
    check_routes(c, linear_forward_candidates(&d, true, c), split, bias, 3);
    d.act = ACT_GELU_TANH;
    check_routes(c, linear_forward_candidates(&d, true, c), both, with_aux, 5);
    check_routes(c, linear_forward_candidates(&d, false, c), both, without, 5);
    CU_ASSERT_EQUAL(c[0].shape.ld_aux, 0);
    d.out = 3076;
    check_routes(c, linear_forward_candidates(&d, true, c), split, bias, 3);
    check_routes(c, linear_forward_candidates(&d, false, c), both, without, 5);
    d = layer(394, 768, 3072);
    d.act = ACT_GELU_TANH;
    d.dtype = d.dtype_out = DTYPE_F32;
    CU_ASSERT_EQUAL(linear_forward_candidates(&d, true, c), 2);
    CU_ASSERT_EQUAL(c[0].route, ROUTE_SPLIT);
}

static void input_gradient(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(394, 3072, 768);
    CU_ASSERT_EQUAL(linear_input_candidates(&d, false, c), 2);
    CU_ASSERT_EQUAL(c[0].route, ROUTE_FUSED);
    CU_ASSERT_EQUAL(c[1].route, ROUTE_SCRATCH);
    CU_ASSERT_EQUAL(c[1].shape.dtype_in, DTYPE_F32);
    d.input_act = ACT_GELU_TANH;
    CU_ASSERT_EQUAL(linear_input_candidates(&d, false, c), 3);
    CU_ASSERT_EQUAL(c[0].shape.epilogue, GEMM_DGELU);
    CU_ASSERT_EQUAL(c[0].shape.ld_aux, 3072);
    CU_ASSERT_EQUAL(c[1].route, ROUTE_SPLIT);
    d.input_act = ACT_GELU_ERF;
    CU_ASSERT_EQUAL(linear_input_candidates(&d, false, c), 2);
    CU_ASSERT_EQUAL(c[0].route, ROUTE_SPLIT);
    d.dtype = d.dtype_out = DTYPE_F32;
    CU_ASSERT_EQUAL(linear_input_candidates(&d, false, c), 1);
}

/* The library's sums come in D's type, for rows that begin on 16 bytes; our kernel takes all else. */
static void input_gradient_with_sums(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(394, 3072, 768);
    const enum linear_route all[] = {ROUTE_FUSED, ROUTE_SPLIT, ROUTE_SCRATCH};
    const enum gemm_epilogue sums[] = {GEMM_DGELU_BGRAD, GEMM_PLAIN, GEMM_PLAIN};
    CU_ASSERT_EQUAL(linear_input_candidates(&d, true, c), 0);
    d.input_act = ACT_GELU_TANH;
    check_routes(c, linear_input_candidates(&d, true, c), all, sums, 3);
    CU_ASSERT_EQUAL(c[0].shape.dtype_bias, DTYPE_BF16);
    CU_ASSERT_EQUAL(c[0].shape.ld_aux, 3072);
    CU_ASSERT_FALSE(c[0].shape.accumulates);
    d.out = 764;
    check_routes(c, linear_input_candidates(&d, true, c), all + 1, sums + 1, 2);
    d.out = 768;
    d.x_stride = 3076;
    check_routes(c, linear_input_candidates(&d, true, c), all + 1, sums + 1, 2);
    d.x_stride = 3072;
    d.dtype_out = DTYPE_F32;
    check_routes(c, linear_input_candidates(&d, true, c), all + 1, sums + 1, 2);
    d.dtype = DTYPE_F32;
    check_routes(c, linear_input_candidates(&d, true, c), all + 1, sums + 1, 1);
    d = layer(394, 3072, 768);
    d.input_act = ACT_GELU_ERF;
    check_routes(c, linear_input_candidates(&d, true, c), all + 1, sums + 1, 2);
}

/* Sums beside the product where all rows begin on 16 bytes; fp32 operands where no product takes bf16 ones. */
static void weight_gradient(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(395, 768, 1000);
    const enum linear_route all[] = {ROUTE_FUSED, ROUTE_SPLIT, ROUTE_SCRATCH};
    const enum gemm_epilogue sums[] = {GEMM_BGRADB, GEMM_PLAIN, GEMM_PLAIN};
    check_routes(c, linear_weight_candidates(&d, true, c), all, sums, 3);
    CU_ASSERT_EQUAL(c[2].shape.dtype_in, DTYPE_F32);
    check_routes(c, linear_weight_candidates(&d, false, c), (const enum linear_route[]){ROUTE_FUSED, ROUTE_SCRATCH}, sums + 1, 2);
    d.out = 1001;
    check_routes(c, linear_weight_candidates(&d, true, c), all + 1, sums + 1, 2);
    d = layer(395, 764, 1000);
    check_routes(c, linear_weight_candidates(&d, true, c), all + 1, sums + 1, 2);
    d = layer(395, 768, 1000);
    d.x_stride = 197 * 768 + 4;
    check_routes(c, linear_weight_candidates(&d, true, c), all + 1, sums + 1, 2);
    CU_ASSERT_EQUAL(c[1].shape.lda, 768);
}

/* bf16 x beside fp32 dy: no product takes that. */
static void logits(void)
{
    struct linear_candidate c[LINEAR_CANDIDATES];
    struct linear_desc d = layer(256, 768, 1000);
    d.dtype_out = DTYPE_F32;
    d.x_stride = 197 * 768;
    CU_ASSERT_TRUE(linear_is_mixed(&d));
    linear_forward_candidates(&d, false, c);
    CU_ASSERT_EQUAL(c[0].shape.dtype_in, DTYPE_BF16);
    CU_ASSERT_EQUAL(c[0].shape.dtype_out, DTYPE_F32);
    CU_ASSERT_EQUAL(c[0].shape.ldb, 197 * 768);
    CU_ASSERT_EQUAL(gemm_b_count(&c[0].shape), 255 * 197 * 768 + 768);
    linear_input_candidates(&d, false, c);
    CU_ASSERT_EQUAL(c[0].shape.dtype_in, DTYPE_BF16);
    CU_ASSERT_EQUAL(c[0].shape.ldd, 197 * 768);
    CU_ASSERT_EQUAL(linear_weight_candidates(&d, true, c), 1);
    CU_ASSERT_EQUAL(c[0].route, ROUTE_SPLIT);
    CU_ASSERT_EQUAL(c[0].shape.dtype_in, DTYPE_F32);
    CU_ASSERT_EQUAL(c[0].shape.lda, 768);
}

static void alignment(void)
{
    CU_ASSERT_EQUAL(gemm_alignment(768, DTYPE_BF16), 16);
    CU_ASSERT_EQUAL(gemm_alignment(1000, DTYPE_F32), 16);
    CU_ASSERT_EQUAL(gemm_alignment(1001, DTYPE_F32), 4);
    CU_ASSERT_EQUAL(gemm_alignment(12, DTYPE_BF16), 8);
    CU_ASSERT_EQUAL(gemm_alignment(1, DTYPE_BF16), 2);
}

static const struct test_case cases[] = {
    {"keys name everything an algorithm depends on", keys_name_everything},
    {"GELU fuses where it may", gelu_fuses_where_it_may},
    {"input gradients", input_gradient},
    {"input gradients with their sums", input_gradient_with_sums},
    {"weight gradients", weight_gradient},
    {"logits", logits},
    {"alignment", alignment},
};
TEST_MAIN("gemm_shape", cases)
