/* What a file of weights is taken for: the order of trust, heads that shapes settle or do not, hostile shapes. */
#include "base/file.h"
#include "convert/import.h"
#include "scratch.h"
#include "weights_file.h"

static struct vit_config tiny(void)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    c.image_size = 32, c.patch_size = 8, c.width = 24, c.depth = 2, c.heads = 3, c.mlp_width = 40, c.classes = 7;
    return c;
}

/* scratch_path's buffers are few and take turns. */
static const char *keep(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s", scratch_path(name));
    return path;
}

static void write_text(const char *name, const char *text)
{
    ASSERT_OK(file_write_atomic(scratch_path(name), text, strlen(text)));
}

static char *names[] = {"T-shirt/top", "Trouser \"x\"", "", "caf\xc3\xa9"};

static const struct timm_data native = {
    .crop_pct = 1, .bilinear = true, .eval_transform = "squash|bilinear", .class_names = names, .class_count = 4};

/* Nothing that can be said is at its default. */
static struct vit_config odd(void)
{
    struct vit_config c = tiny();
    c.pool = POOL_MEAN;
    c.gelu = ACT_GELU_TANH;
    c.layernorm_eps = 1e-5f;
    for (int i = 0; i < 3; i++)
        c.mean[i] = 0.1f + 0.123456789f * (float)i, c.std[i] = 1 / 3.0f + (float)i;
    return c;
}

static void check_odd(const struct import_description *got)
{
    const struct vit_config expected = odd(), *c = &got->model;
    CU_ASSERT(c->image_size == 32 && c->patch_size == 8 && c->channels == 3 && c->width == 24 && c->depth == 2);
    CU_ASSERT(c->heads == 3 && c->mlp_width == 40 && c->classes == 7 && c->cls_token && c->qkv_bias);
    CU_ASSERT(c->pool == POOL_MEAN && c->gelu == ACT_GELU_TANH && c->layernorm_eps == 1e-5f);
    CU_ASSERT_EQUAL(memcmp(c->mean, expected.mean, sizeof c->mean), 0); /* to the last bit */
    CU_ASSERT_EQUAL(memcmp(c->std, expected.std, sizeof c->std), 0);
    char transform[160];
    import_eval_transform(got, transform, sizeof transform);
    CU_ASSERT_STRING_EQUAL(transform, "squash|bilinear");
    CU_ASSERT_EQUAL_FATAL(got->data.class_count, 4);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_STRING_EQUAL(got->data.class_names[i], names[i]);
}

static void described_by_its_metadata(void)
{
    struct vit_config config = odd();
    struct import_description got;
    char *text = timm_config_to_text(&config, &native);
    write_shapes(scratch_path("alone.safetensors"), &config, text);
    ASSERT_OK(import_describe(scratch_path("alone.safetensors"), NULL, &got));
    check_odd(&got);
    import_description_close(&got);
    CU_ASSERT_PTR_NULL(got.data.class_names);
    free(text);
}

static void described_by_config_json(void)
{
    struct vit_config config = odd();
    struct import_description got;
    char *text = timm_config_to_text(&config, &native);
    write_shapes(scratch_path("model.safetensors"), &config, NULL);
    write_text("config.json", text);
    ASSERT_OK(import_describe(scratch_path("model.safetensors"), NULL, &got));
    check_odd(&got);
    import_description_close(&got);
    ASSERT_OK(import_describe(scratch_dir(), NULL, &got)); /* a folder stands for its model.safetensors */
    check_odd(&got);
    import_description_close(&got);
    CU_ASSERT_EQUAL(rename(scratch_path("config.json"), scratch_path("elsewhere.json")), 0);
    const struct import_hints hints = {.config_json = keep("elsewhere.json")};
    ASSERT_OK(import_describe(scratch_path("model.safetensors"), &hints, &got));
    check_odd(&got);
    import_description_close(&got);
    free(text);
}

static void order_of_trust(void)
{
    struct vit_config config = odd();
    struct import_description got;
    struct import_hints hints = {0};
    char transform[160], *text = timm_config_to_text(&config, &native);
    const char *path = keep("trust.safetensors");
    write_shapes(path, &config, text);
    write_text("config.json", "{\"model_args\": {\"num_heads\": 6}, \"pretrained_cfg\": {\"mean\": [0, 0.25, 0.5], "
                              "\"crop_pct\": 0.875}, \"label_names\": [\"one\"]}");
    ASSERT_OK(import_describe(path, NULL, &got));
    import_eval_transform(&got, transform, sizeof transform);
    CU_ASSERT_EQUAL(got.model.heads, 6);
    CU_ASSERT_EQUAL(got.model.mean[1], 0.25f);
    CU_ASSERT_EQUAL(got.model.std[1], config.std[1]); /* what it does not say comes from the metadata */
    CU_ASSERT_EQUAL(got.model.pool, POOL_MEAN);
    CU_ASSERT_STRING_EQUAL(transform, "centre(0.875)|bilinear");
    CU_ASSERT(got.data.class_count == 1 && strcmp(got.data.class_names[0], "one") == 0);
    import_description_close(&got);
    hints.heads = 2;
    ASSERT_OK(import_describe(path, &hints, &got));
    CU_ASSERT_EQUAL(got.model.heads, 2);
    import_description_close(&got);
    hints.heads = 5;
    ASSERT_FAILS(import_describe(path, &hints, &got), VT_E_USAGE, "model.heads: 5 does not divide model.width 24");
    CU_ASSERT_PTR_NULL(got.data.class_names);
    remove(scratch_path("config.json"));
    free(text);
}

static void described_wrongly(void)
{
    static const struct {
        const char *text;
        vt_status code;
        const char *message;
    } bad[] = {
        {"{\"architecture\": \"vit_tiny_patch16_224\", \"global_pool\": \"map\"}", VT_E_UNSUPPORTED,
         "global_pool: map; expected token or avg"},
        {"{\"model_args\": {\"num_heads\": 5}}", VT_E_USAGE, "model.heads: 5 does not divide model.width 24"},
        {"{\"model_args\": {\"num_heads\": 4294967299}}", VT_E_FORMAT, "expected 1 to 1024"},
        {"{\"model_args\": []}", VT_E_FORMAT, "model_args"},
        {"{\"model_args\": {\"embed_dim\": 768}}", VT_E_FORMAT, "embed_dim: 768, but the weights have 24: it describes"},
        {"{\"model_args\": {\"num_heads\": 3, \"depth\": 12}}", VT_E_FORMAT, "depth: 12, but the weights have 2"},
        {"[1]", VT_E_FORMAT, "expected an object"},
        {"{\"pretrained_cfg\": {\"crop_pct\": 0}}", VT_E_FORMAT, "crop_pct: 0; expected above 0"},
        {"{\"pretrained_cfg\": {\"mean\": [1]}}", VT_E_FORMAT, "mean: 1 values for 3 channels"},
        {"{\"model_args\": {\"num_heads\": 3}, \"pretrained_cfg\": {\"std\": [1, 0, 1]}}", VT_E_USAGE, "data.std: channel 1"},
        {"{\"label_names\": [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\"]}", VT_E_FORMAT,
         "label_names: 8 names for 7 classes"},
        {"{\"label_names\": [\"1\", 2]}", VT_E_FORMAT, "expected a string"},
        {"{\"vitrail\": {\"eval_transform\": 3}}", VT_E_FORMAT, "eval_transform"},
        {"{\"vitrail\": []}", VT_E_USAGE, "cannot be told from shapes"}, /* says nothing */
        {"{", VT_E_FORMAT, "config"},
    };
    struct vit_config config = tiny();
    struct import_description got;
    const char *path = keep("wrong.safetensors");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        remove(scratch_path("config.json"));
        write_shapes(path, &config, bad[i].text);
        ASSERT_FAILS(import_describe(path, NULL, &got), bad[i].code, bad[i].message);
        write_shapes(path, &config, NULL);
        write_text("config.json", bad[i].text);
        ASSERT_FAILS(import_describe(path, NULL, &got), bad[i].code, bad[i].message);
    }
    remove(scratch_path("config.json"));
}

static int heads_told(struct vit_config *c)
{
    struct import_description got;
    write_shapes(scratch_path("heads.safetensors"), c, NULL);
    vt_status status = import_describe(scratch_path("heads.safetensors"), NULL, &got);
    int heads = status == VT_OK ? got.model.heads : 0;
    if (status != VT_OK) {
        CU_ASSERT_EQUAL(status, VT_E_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), "expected --heads N, or --config"));
    }
    import_description_close(&got);
    return heads;
}

/* Head counts of timm 1.0's plain models, as its create functions have them. */
static void heads_by_shape(void)
{
    static const struct {
        int width, depth, mlp_width, heads;
    } shapes[] = {{192, 12, 768, 3},    {384, 12, 1536, 6},   {768, 12, 3072, 12},  {1024, 24, 4096, 16},
                  {1280, 32, 5120, 16}, {1408, 40, 6144, 16}, {1664, 48, 8192, 16}, {512, 12, 2048, 8},
                  {640, 12, 2560, 10},  {1152, 27, 4304, 16}, {1536, 40, 6144, 0} /* 16 and 24 */,
                  {768, 8, 2304, 0},    {192, 4, 768, 0},     {384, 12, 1535, 0},   {64, 12, 256, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct vit_config c = tiny();
        c.width = shapes[i].width, c.depth = shapes[i].depth, c.mlp_width = shapes[i].mlp_width, c.heads = 1;
        CU_ASSERT_EQUAL(heads_told(&c), shapes[i].heads);
    }
    struct vit_config gap = tiny();
    gap.width = 768, gap.depth = 12, gap.mlp_width = 3072, gap.cls_token = false;
    CU_ASSERT_EQUAL(heads_told(&gap), 0); /* 12, or vit_base_patch16_gap_224's 16 */
    gap.width = 384, gap.mlp_width = 1536;
    CU_ASSERT_EQUAL(heads_told(&gap), 6);
}

static void set(struct safetensor *t, const char *name, int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    *t = (struct safetensor){.rank = rank, .dim = {a, b, c, d}};
    snprintf(t->name, sizeof t->name, "%s", name);
}

/* Small or sparse files that claim huge models: one error, before anything of that size is made. */
static void hostile_shapes(void)
{
    static const struct {
        int64_t width, mlp, patch, channels, tokens, classes, fc1_columns;
        const char *message;
    } bad[] = {
        {65536, 8, 1, 1, 5, 1, 1, "a matrix of 12884901888 values, expected at most 4294967295"},
        {32768, 262144, 1, 1, 5, 1, 1, "a matrix of 8589934592 values"},
        {1 << 20, 8, 1, 1, 5, 1, 1, "model.width: 1048576 is out of range"},
        {(int64_t)1 << 29, 8, 1, 1, 5, 1, 1, "has a side of 536870912"},
        {((int64_t)1 << 32) + 64, 8, 1, 1, 5, 1, 1, "has a side of 4294967360"},
        {64, 8, 1, 1, 5, 0, 1, "model.classes: 0 is out of range"},
        {64, 8, 1, 1, 5, (int64_t)1 << 27, 1, "model.classes: 134217728 is out of range"},
        {64, 8, 1, 7, 5, 1, 1, "images of 7 channels"},
        {64, 8, 1, 1, 6, 1, 1, "pos_embed holds 5 patches; expected a square grid"},
        {64, 8, 2048, 1, 5, 1, 1, "model.patch_size: 2048 is out of range"},
        {64, 8, 16384, 1, 5, 1, 1, "images of 32768 px"},
        {64, 8, 1, 1, 5, 1, 0, "fc1.weight has a side of 0"},
    };
    struct import_description got;
    const struct import_hints hints = {.heads = 1};
    const char *path = keep("hostile.safetensors");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct safetensor t[6];
        set(&t[0], "cls_token", 1, 1, 0, 0, 0);
        set(&t[1], "pos_embed", 3, 1, bad[i].tokens, 1, 0);
        set(&t[2], "patch_embed.proj.weight", 4, bad[i].width, bad[i].channels, bad[i].patch, bad[i].patch);
        set(&t[3], "blocks.0.norm1.weight", 1, 1, 0, 0, 0);
        set(&t[4], "blocks.0.mlp.fc1.weight", 2, bad[i].mlp, bad[i].fc1_columns, 0, 0);
        set(&t[5], "head.weight", 2, bad[i].classes, 1, 0, 0);
        write_tensors(path, t, 6, NULL);
        vt_status status = import_describe(path, &hints, &got);
        if (status == VT_OK || !strstr(status_message(), bad[i].message))
            fprintf(stderr, "case %zu: %s\n", i, status == VT_OK ? "accepted" : status_message());
        CU_ASSERT_FATAL(status != VT_OK && strstr(status_message(), bad[i].message) != NULL);
    }
    remove(path);
}

static void missing_tensors(void)
{
    struct import_description got;
    struct safetensor t[1];
    set(&t[0], "pos_embed", 3, 1, 5, 8, 0);
    write_tensors(scratch_path("few.safetensors"), t, 1, NULL);
    ASSERT_FAILS(import_describe(scratch_path("few.safetensors"), NULL, &got), VT_E_FORMAT,
                 "no tensor patch_embed.proj.weight; expected a ViT with timm names");
    ASSERT_FAILS(import_describe(scratch_path("none.safetensors"), NULL, &got), VT_E_IO, "none.safetensors");
}

static const struct test_case cases[] = {
    {"described by its metadata", described_by_its_metadata},
    {"described by config.json", described_by_config_json},
    {"order of trust", order_of_trust},
    {"described wrongly", described_wrongly},
    {"heads by shape", heads_by_shape},
    {"hostile shapes", hostile_shapes},
    {"missing tensors", missing_tensors},
};
TEST_MAIN("guess", cases)
