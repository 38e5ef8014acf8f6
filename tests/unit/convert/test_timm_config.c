#include "convert/timm_config.h"

#include "test.h"

static struct json *parse(const struct vit_config *c)
{
    struct json *root = NULL;
    const struct timm_data data = {.crop_pct = 0.875, .bilinear = true};
    char *text = timm_config_to_text(c, &data);
    ASSERT_OK(json_parse(text, strlen(text), "config.json", &root));
    free(text);
    return root;
}

static struct vit_config named(const char *name)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    ASSERT_OK(vit_config_named(&c, name));
    return c;
}

static void check_architecture(const struct vit_config *c, const char *expected)
{
    struct json *root = parse(c);
    CU_ASSERT_STRING_EQUAL(json_string_of(json_find(root, "architecture")), expected);
    json_free(&root);
}

static void test_architectures(void)
{
    struct vit_config c = named("B/16");
    check_architecture(&c, "vit_base_patch16_224");
    c.image_size = 384;
    check_architecture(&c, "vit_base_patch16_384");
    c = named("Ti/4"), c.image_size = 28;
    check_architecture(&c, "vit_tiny_patch16_224"); /* model_args say the patch */
    c = named("H/14");
    check_architecture(&c, "vit_huge_patch14_224");
    c.width = 80, c.heads = 5;
    check_architecture(&c, "vit_base_patch16_224");
}

static void test_fields(void)
{
    struct vit_config c = named("S/16");
    c.classes = 11, c.channels = 1, c.mlp_width = 1000, c.mean[0] = 0.2860f, c.pool = POOL_MEAN, c.pre_logits = 5;
    struct json *root = parse(&c);
    const struct json *args = json_find(root, "model_args"), *cfg = json_find(root, "pretrained_cfg");
    CU_ASSERT_EQUAL(json_int_of(json_find(root, "num_classes")), 11);
    CU_ASSERT_EQUAL(json_int_of(json_find(root, "num_features")), 384);
    CU_ASSERT_STRING_EQUAL(json_string_of(json_find(root, "global_pool")), "avg");
    CU_ASSERT_EQUAL((int)(384 * json_double_of(json_find(args, "mlp_ratio"))), 1000); /* as timm computes it */
    CU_ASSERT_EQUAL(json_int_of(json_find(args, "in_chans")), 1);
    CU_ASSERT_EQUAL(json_int_of(json_find(args, "fc_norm")), 0);
    CU_ASSERT_EQUAL(json_double_of(json_at(json_find(cfg, "mean"), 0)), 0.286);
    CU_ASSERT_EQUAL(json_count(json_find(cfg, "std")), 1);
    CU_ASSERT_EQUAL(json_int_of(json_at(json_find(cfg, "input_size"), 2)), 224);
    CU_ASSERT_STRING_EQUAL(json_string_of(json_find(cfg, "interpolation")), "bilinear");
    CU_ASSERT_EQUAL(json_double_of(json_find(cfg, "crop_pct")), 0.875);
    CU_ASSERT_EQUAL(json_int_of(json_find(json_find(root, "vitrail"), "pre_logits")), 5);
    json_free(&root);
}

static void test_mlp_ratios(void)
{
    struct vit_config c = named("S/16");
    for (c.mlp_width = 1; c.mlp_width < 4 * c.width; c.mlp_width += 7) {
        struct json *root = parse(&c);
        CU_ASSERT_EQUAL((int)(384 * json_double_of(json_find(json_find(root, "model_args"), "mlp_ratio"))),
                        c.mlp_width);
        json_free(&root);
    }
}

static const struct test_case cases[] = {
    {"architectures", test_architectures},
    {"fields", test_fields},
    {"mlp ratios survive truncation", test_mlp_ratios},
};
TEST_MAIN("timm_config", cases)
