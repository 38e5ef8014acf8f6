#include "convert/import.h"

#include "checkpoint/safetensors.h"
#include "convert/position_resize.h"
#include "scratch.h"
#include "test.h"

static struct vit_config tiny(void)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    c.image_size = 32, c.patch_size = 8, c.width = 24, c.depth = 2, c.heads = 3, c.mlp_width = 40, c.classes = 7;
    return c;
}

struct model {
    struct vit_config config;
    struct param_table table;
    float *values;
};

static struct model make_model(struct vit_config config, uint64_t seed)
{
    struct model m = {.config = config};
    vit_params(&config, &m.table);
    m.values = calloc((size_t)m.table.total, sizeof *m.values);
    param_table_initialise(&m.table, seed, 1, m.values);
    return m;
}

static void free_model(struct model *m)
{
    param_table_close(&m->table);
    free(m->values);
}

/* The model's parameters as a file, without the rows whose name starts with `without`, with an extra tensor named
 * `extra`. */
static void write_model(const struct model *m, const char *path, const char *without, const char *extra)
{
    struct safetensor *tensors = calloc((size_t)m->table.count + 1, sizeof *tensors);
    const float *sources[256];
    const float zeros[4] = {0};
    int count = 0;
    for (int i = 0; i < m->table.count; i++) {
        const struct param *row = &m->table.rows[i];
        if (without && strncmp(row->name, without, strlen(without)) == 0)
            continue;
        struct safetensor *t = &tensors[count];
        snprintf(t->name, sizeof t->name, "%s", row->name);
        t->rank = row->rank;
        memcpy(t->dim, row->dim, sizeof row->dim);
        sources[count++] = m->values + row->offset;
    }
    if (extra) {
        snprintf(tensors[count].name, sizeof tensors[count].name, "%s", extra);
        tensors[count].rank = 1;
        tensors[count].dim[0] = 4;
        sources[count++] = zeros;
    }
    char *header = NULL;
    size_t header_bytes = 0;
    static const char *const metadata[] = {"format", "pt"};
    safetensors_layout(tensors, count, metadata, 1, &header, &header_bytes);
    FILE *file = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fwrite(header, 1, header_bytes, file);
    for (int i = 0; i < count; i++)
        fwrite(sources[i], sizeof(float), (size_t)tensors[i].count, file);
    fclose(file);
    free(header);
    free(tensors);
}

static const float *row_values(const struct model *m, const char *name, int64_t *count)
{
    int i = param_table_find(&m->table, name);
    CU_ASSERT_TRUE_FATAL(i >= 0);
    *count = m->table.rows[i].count;
    return m->values + m->table.rows[i].offset;
}

static bool same_row(const struct model *a, const struct model *b, const char *name)
{
    int64_t count_a, count_b;
    const float *va = row_values(a, name, &count_a), *vb = row_values(b, name, &count_b);
    return count_a == count_b && memcmp(va, vb, (size_t)count_a * sizeof(float)) == 0;
}

static void test_same_model(void)
{
    struct vit_config config = tiny();
    config.pre_logits = 10;
    struct model a = make_model(config, 1), b = make_model(config, 2);
    struct import_report report;
    const char *path = scratch_path("same.safetensors");
    write_model(&a, path, NULL, NULL);
    ASSERT_OK(import_weights_report(path, &b.config, &b.table, b.values, &report));
    CU_ASSERT_EQUAL(memcmp(a.values, b.values, (size_t)a.table.total * sizeof(float)), 0);
    CU_ASSERT_EQUAL(report.loaded, a.table.count);
    CU_ASSERT_FALSE(report.new_head);
    CU_ASSERT_EQUAL(report.resized_from, 0);
    free_model(&a);
    free_model(&b);
}

static void test_fine_tuning(void)
{
    struct vit_config config = tiny();
    config.pre_logits = 10;
    struct model a = make_model(config, 1);
    config.pre_logits = 0;
    config.classes = 3;
    config.image_size = 48;
    struct model b = make_model(config, 2), untouched = make_model(config, 2);
    struct import_report report;
    const char *path = scratch_path("tune.safetensors");
    write_model(&a, path, NULL, NULL);
    ASSERT_OK(import_weights_report(path, &b.config, &b.table, b.values, &report));
    CU_ASSERT_TRUE(report.new_head);
    CU_ASSERT_EQUAL(report.old_classes, 7);
    CU_ASSERT_EQUAL(report.resized_from, 4);
    CU_ASSERT_EQUAL(report.dropped, 2);
    CU_ASSERT_TRUE(same_row(&b, &untouched, "head.weight"));
    CU_ASSERT_TRUE(same_row(&a, &b, "blocks.1.mlp.fc2.weight"));
    CU_ASSERT_TRUE(same_row(&a, &b, "cls_token"));
    int64_t count;
    const float *old = row_values(&a, "pos_embed", &count), *new = row_values(&b, "pos_embed", &count);
    float expected[36 * 24];
    position_resize(old + 24, 4, 6, 24, expected);
    CU_ASSERT_EQUAL(memcmp(new, old, 24 * sizeof(float)), 0); /* the class token's row stays in front */
    CU_ASSERT_EQUAL(memcmp(new + 24, expected, sizeof expected), 0);
    free_model(&a);
    free_model(&b);
    free_model(&untouched);
}

static void check_refused(const struct model *source, struct vit_config config, const char *without, const char *extra,
                          vt_status code, const char *text)
{
    struct model b = make_model(config, 2);
    const char *path = scratch_path("bad.safetensors");
    write_model(source, path, without, extra);
    ASSERT_FAILS(import_weights(path, &b.config, &b.table, b.values), code, text);
    free_model(&b);
}

static void test_refusals(void)
{
    struct vit_config config = tiny();
    struct model a = make_model(config, 1);
    check_refused(&a, config, "blocks.1.mlp", NULL, VT_E_FORMAT,
                  "4 of the model's 32 parameters are missing, the first is blocks.1.mlp.fc1.weight");
    check_refused(&a, config, NULL, "blocks.0.ls1.gamma", VT_E_FORMAT,
                  "1 tensors have no place in the model, the first is blocks.0.ls1.gamma");
    check_refused(&a, config, "norm", "fc_norm.weight", VT_E_UNSUPPORTED, "a norm behind the pooling is not supported");
    config.patch_size = 4;
    check_refused(&a, config, NULL, NULL, VT_E_FORMAT,
                  "patch_embed.proj.weight is [24, 3, 8, 8]; the model expects [24, 3, 4, 4]");
    config = tiny(), config.width = 48;
    check_refused(&a, config, NULL, NULL, VT_E_FORMAT, "cls_token is [1, 1, 24]; the model expects [1, 1, 48]");
    config = tiny(), config.depth = 1;
    check_refused(&a, config, NULL, NULL, VT_E_FORMAT, "12 tensors have no place in the model, the first is blocks.1.");
    config = tiny(), config.cls_token = false, config.pool = POOL_MEAN;
    check_refused(&a, config, NULL, NULL, VT_E_FORMAT, "the first is cls_token");
    ASSERT_FAILS(import_weights(scratch_path("none.safetensors"), &a.config, &a.table, a.values), VT_E_IO,
                 "none.safetensors");
    free_model(&a);
}

static const struct test_case cases[] = {
    {"same model", test_same_model},
    {"fine-tuning: other grid, other classes", test_fine_tuning},
    {"refusals", test_refusals},
};
TEST_MAIN("import", cases)
