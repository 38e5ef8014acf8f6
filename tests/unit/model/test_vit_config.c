#include "model/vit_config.h"

#include "test.h"

static struct vit_config named(const char *name)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    ASSERT_OK(vit_config_named(&c, name));
    ASSERT_OK(vit_config_check(&c));
    return c;
}

static int64_t parameters(const struct vit_config *c)
{
    struct param_table table = {0};
    vit_params(c, &table);
    int64_t count = table.parameters;
    param_table_close(&table);
    return count;
}

static void test_names(void)
{
    static const struct {
        const char *name;
        int width, depth, heads, mlp, patch, image;
    } cases[] = {
        {"Ti/16", 192, 12, 3, 768, 16, 224},
        {"S/32", 384, 12, 6, 1536, 32, 224},
        {"b/8", 768, 12, 12, 3072, 8, 224},
        {"vit_l16", 1024, 24, 16, 4096, 16, 224},
        {"vit_ti4", 192, 12, 3, 768, 4, 224},
        {"H/14", 1280, 32, 16, 5120, 14, 224},
        {"g/14", 1408, 40, 16, 6144, 14, 224},
        {"G/14", 1664, 48, 16, 8192, 14, 224},
        {"s16", 384, 12, 6, 1536, 16, 224},
        {"vit_tiny_patch16_224", 192, 12, 3, 768, 16, 224},
        {"vit_base_patch16_384", 768, 12, 12, 3072, 16, 384},
        {"vit_base_patch32_224.augreg_in21k", 768, 12, 12, 3072, 32, 224},
        {"deit_small_patch16_224", 384, 12, 6, 1536, 16, 224},
        {"vit_giant_patch14_224", 1408, 40, 16, 6144, 14, 224},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vit_config c = named(cases[i].name);
        CU_ASSERT_EQUAL(c.width, cases[i].width);
        CU_ASSERT_EQUAL(c.depth, cases[i].depth);
        CU_ASSERT_EQUAL(c.heads, cases[i].heads);
        CU_ASSERT_EQUAL(c.mlp_width, cases[i].mlp);
        CU_ASSERT_EQUAL(c.patch_size, cases[i].patch);
        CU_ASSERT_EQUAL(c.image_size, cases[i].image);
    }
}

static void test_unknown_names(void)
{
    static const char *const bad[] = {
        "",     "B",        "B/",          "Q/16",     "B/16x",          "vit_base_patch16_224x", "B/0",
        "B/-4", "resnet50", "vit_base_16", "swin_b16", "vit_base_patch", "B/999999999999",        "vit_base_patch16_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vit_config c = {0};
        ASSERT_FAILS(vit_config_named(&c, bad[i]), VT_E_USAGE, "expected one of Ti/16 S/16");
        CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), bad[i]));
    }
}

/* Counts published by timm (results/model_metadata) for 1000 classes. */
static void test_parameter_counts(void)
{
    static const struct {
        const char *name;
        int64_t count;
    } cases[] = {{"Ti/16", 5717416}, {"S/16", 22050664}, {"B/16", 86567656}, {"L/16", 304326632}, {"H/14", 632045800}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vit_config c = named(cases[i].name);
        CU_ASSERT_EQUAL(parameters(&c), cases[i].count);
    }
}

static void check_message(struct vit_config c, const char *text)
{
    ASSERT_FAILS(vit_config_check(&c), VT_E_USAGE, text);
}

static void test_checks(void)
{
    const struct vit_config good = named("S/16");
    struct vit_config c = good;
    c.image_size = 220;
    check_message(c, "model.image_size: 220 is not a multiple of model.patch_size 16");
    c = good, c.heads = 5;
    check_message(c, "model.heads: 5 does not divide model.width 384");
    c = good, c.depth = 0;
    check_message(c, "model.depth: 0 is out of range; expected 1 to 1024");
    c = good, c.cls_token = false;
    check_message(c, "model.pool: cls needs model.cls_token");
    c = good, c.channels = 5;
    check_message(c, "model.channels: 5");
    c = good, c.drop_path = 1;
    check_message(c, "model.drop_path: 1 is no rate; expected 0 <= rate < 1");
    c = good, c.dropout = -0.1f;
    check_message(c, "model.dropout");
    c = good, c.attention_dropout = NAN;
    check_message(c, "model.attention_dropout");
    c = good, c.std[1] = 0;
    check_message(c, "data.std: channel 1 is 0");
    c = good, c.layernorm_eps = 0;
    check_message(c, "model.layernorm_eps");
    c = good, c.gelu = ACT_TANH;
    check_message(c, "model.gelu");
    c = good, c.image_size = 16384, c.attention_dropout = 0.1f;
    check_message(c, "exceed 2^32 draws");
}

static const struct param *row(const struct param_table *table, const char *name)
{
    int i = param_table_find(table, name);
    CU_ASSERT_TRUE_FATAL(i >= 0);
    return &table->rows[i];
}

static void test_table_timm(void)
{
    struct vit_config c = named("Ti/16");
    struct param_table t = {0};
    vit_params(&c, &t);
    CU_ASSERT_STRING_EQUAL(t.rows[0].name, "cls_token");
    CU_ASSERT_STRING_EQUAL(t.rows[t.count - 1].name, "head.bias");
    CU_ASSERT_EQUAL(row(&t, "pos_embed")->dim[1], 197);
    CU_ASSERT_FALSE(row(&t, "pos_embed")->decay);
    CU_ASSERT_FALSE(row(&t, "cls_token")->decay);
    CU_ASSERT_FALSE(row(&t, "blocks.3.norm1.weight")->decay);
    CU_ASSERT_FALSE(row(&t, "blocks.3.attn.qkv.bias")->decay);
    CU_ASSERT_TRUE(row(&t, "blocks.3.attn.qkv.weight")->decay);
    CU_ASSERT_TRUE(row(&t, "patch_embed.proj.weight")->decay);
    CU_ASSERT_TRUE(row(&t, "patch_embed.proj.weight")->matrix);
    CU_ASSERT_EQUAL(row(&t, "patch_embed.proj.weight")->rank, 4);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.attn.qkv.weight")->layer, 1);
    CU_ASSERT_EQUAL(row(&t, "head.weight")->layer, 13);
    CU_ASSERT_EQUAL(row(&t, "cls_token")->layer, 0);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.mlp.fc1.weight")->init, INIT_TRUNC_NORMAL);
    CU_ASSERT_DOUBLE_EQUAL(row(&t, "cls_token")->init_value, 1e-6, 1e-12);
    for (int i = 0; i < t.count; i++) /* forward order, blocks in the middle, no matrix without decay */
        CU_ASSERT_TRUE(t.rows[i].matrix == t.rows[i].decay && (i == 0 || t.rows[i].layer >= t.rows[i - 1].layer));
    param_table_close(&t);
}

static void test_table_jax(void)
{
    struct vit_config c = named("Ti/16");
    c.init = VIT_INIT_JAX;
    c.head_bias = -10;
    c.pre_logits = 192;
    c.qkv_bias = c.cls_token = false;
    c.pool = POOL_MEAN;
    struct param_table t = {0};
    vit_params(&c, &t);
    CU_ASSERT_EQUAL(param_table_find(&t, "cls_token"), -1);
    CU_ASSERT_EQUAL(param_table_find(&t, "blocks.0.attn.qkv.bias"), -1);
    CU_ASSERT_EQUAL(row(&t, "pos_embed")->dim[1], 196);
    CU_ASSERT_EQUAL(row(&t, "head.weight")->init, INIT_ZERO);
    CU_ASSERT_EQUAL(row(&t, "head.bias")->init, INIT_CONSTANT);
    CU_ASSERT_EQUAL(row(&t, "head.bias")->init_value, -10);
    CU_ASSERT_EQUAL(row(&t, "pre_logits.fc.weight")->init, INIT_LECUN_NORMAL);
    CU_ASSERT_EQUAL(row(&t, "patch_embed.proj.weight")->init, INIT_LECUN_NORMAL);
    CU_ASSERT_EQUAL(row(&t, "patch_embed.proj.weight")->fan_in, 768);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.attn.qkv.weight")->init, INIT_XAVIER_UNIFORM);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.attn.qkv.weight")->fan_out, 192);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.mlp.fc2.weight")->fan_in, 768);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.mlp.fc1.bias")->init, INIT_NORMAL);
    CU_ASSERT_EQUAL(row(&t, "blocks.0.attn.proj.bias")->init, INIT_ZERO);
    param_table_close(&t);
}

/* B/16 at 224 with 1000 classes takes 17.6 G multiply-adds forward, as DeiT and timm publish: of all tokens, and patches that have
 * no input gradient. A pool of the class token leaves 196 of 197 queries, projections and MLPs of the last block away. */
static void test_flops(void)
{
    const double D = 768, F = 3072, patches = 196.0 * 768 * D, left_away = 196 * (2 * D * D + 2 * D * F + 2 * 197 * D);
    struct vit_config c = named("B/16");
    double class_only = vit_train_flops(&c);
    c.pool = POOL_MEAN;
    CU_ASSERT_DOUBLE_EQUAL((vit_train_flops(&c) + 2 * patches) / 6e9, 17.6, 0.05);
    CU_ASSERT_DOUBLE_EQUAL(vit_train_flops(&c) / 1e9, 105.15, 0.005);
    CU_ASSERT_DOUBLE_EQUAL(vit_train_flops(&c) - class_only, 6 * left_away, 1);
    c.pool = POOL_CLS;
    c.width = 780; /* not a multiple of 8: the whole block */
    double whole = vit_train_flops(&c);
    c.pool = POOL_MEAN;
    CU_ASSERT_EQUAL(vit_train_flops(&c), whole);
}

static const struct test_case cases[] = {
    {"names", test_names},   {"unknown names", test_unknown_names}, {"parameter counts", test_parameter_counts},
    {"checks", test_checks}, {"timm table", test_table_timm},       {"JAX table", test_table_jax},
    {"flops", test_flops},
};
TEST_MAIN("vit_config", cases)
