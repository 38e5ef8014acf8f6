/* The whole model against PyTorch in double precision (vit.py). Usage: golden_vit_BACKEND case... (BACKEND at build
 * time). */
#include "backend/backend.h"
#include "checkpoint/safetensors.h"
#include "model/vit.h"
#include "vit_formula.h"
#include "vit_rig.h"

enum { LABELS = 2 };

struct golden_case {
    const char *name;
    int image, patch, channels, width, depth, heads, mlp, classes, batch;
    bool no_cls_token, no_qkv_bias;
    enum pool_kind pool;
    int pre_logits;
    enum activation gelu;
    enum loss_kind loss;
    float smoothing, dropout, pos_dropout, attention_dropout, drop_path;
    float logits_bar; /* of their largest magnitude, fp32 */
};

#define SMALL                                                                                                          \
    .image = 16, .patch = 4, .width = 32, .depth = 2, .heads = 4, .mlp = 48, .classes = 10, .batch = 4,                \
    .logits_bar = 1e-5f
static const struct golden_case golden_cases[] = {
    {.name = "cls", SMALL, .channels = 3, .gelu = ACT_GELU_ERF, .smoothing = 0.1f},
    {.name = "gap",
     SMALL,
     .channels = 1,
     .pool = POOL_MEAN,
     .pre_logits = 20,
     .gelu = ACT_GELU_TANH,
     .no_qkv_bias = true,
     .loss = LOSS_SIGMOID,
     .smoothing = 0.1f},
    {.name = "gap_nocls",
     .image = 16,
     .patch = 4,
     .channels = 3,
     .width = 32,
     .depth = 2,
     .heads = 2,
     .mlp = 48,
     .classes = 10,
     .batch = 4,
     .no_cls_token = true,
     .pool = POOL_MEAN,
     .gelu = ACT_GELU_ERF,
     .logits_bar = 1e-5f},
    {.name = "drop",
     .image = 16,
     .patch = 4,
     .channels = 3,
     .width = 24,
     .depth = 3,
     .heads = 4,
     .mlp = 48,
     .classes = 10,
     .batch = 4,
     .gelu = ACT_GELU_ERF,
     .smoothing = 0.1f,
     .dropout = 0.1f,
     .pos_dropout = 0.15f,
     .attention_dropout = 0.2f,
     .drop_path = 0.4f,
     .logits_bar = 1e-5f},
    {.name = "drop_cls", /* all tokens in PyTorch, class tokens alone here: the same draws */
     .image = 16,
     .patch = 4,
     .channels = 3,
     .width = 40,
     .depth = 2,
     .heads = 5,
     .mlp = 56,
     .classes = 10,
     .batch = 4,
     .no_qkv_bias = true,
     .pre_logits = 12,
     .gelu = ACT_GELU_TANH,
     .smoothing = 0.1f,
     .dropout = 0.2f,
     .drop_path = 0.5f,
     .logits_bar = 1e-5f},
    {.name = "b16",
     .image = 224,
     .patch = 16,
     .channels = 3,
     .width = 768,
     .depth = 12,
     .heads = 12,
     .mlp = 3072,
     .classes = 1000,
     .batch = 2,
     .gelu = ACT_GELU_ERF,
     .smoothing = 0.1f,
     .logits_bar = 1e-4f},
};
static const struct golden_case *current;
static struct backend *be;

static struct vit_desc describe(const struct golden_case *g, enum dtype dtype)
{
    struct vit_desc d = {.batch = g->batch,
                         .dtype = dtype,
                         .dtype_stream = DTYPE_F32,
                         .training = true,
                         .seed = 20260117,
                         .loss = g->loss,
                         .smoothing = g->smoothing,
                         .labels = LABELS};
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    struct vit_config *c = &d.config;
    vit_config_defaults(c);
    c->image_size = g->image, c->patch_size = g->patch, c->channels = g->channels;
    c->width = g->width, c->depth = g->depth, c->heads = g->heads, c->mlp_width = g->mlp, c->classes = g->classes;
    c->cls_token = !g->no_cls_token, c->qkv_bias = !g->no_qkv_bias;
    c->pool = g->pool, c->pre_logits = g->pre_logits, c->gelu = g->gelu;
    c->dropout = g->dropout, c->pos_dropout = g->pos_dropout, c->attention_dropout = g->attention_dropout;
    c->drop_path = g->drop_path;
    memcpy(c->mean, mean, sizeof mean);
    memcpy(c->std, std, sizeof std);
    return d;
}

static void fill_batch(struct vit_rig *rig)
{
    const struct vit_config *c = &rig->desc.config;
    const int B = (int)rig->desc.batch;
    const int64_t bytes = (int64_t)B * c->image_size * c->image_size * c->channels;
    uint8_t *images = malloc((size_t)bytes);
    for (int64_t i = 0; i < bytes; i++)
        images[i] = (uint8_t)(formula_word(formula_hash("images"), i) >> 56);
    int32_t id[8 * LABELS];
    float weight[8 * LABELS], row_weight[8];
    uint64_t position[8];
    for (int b = 0; b < B; b++) {
        id[2 * b] = (7 * b + 3) % c->classes, weight[2 * b] = 0.75f;
        id[2 * b + 1] = (7 * b + 5) % c->classes, weight[2 * b + 1] = 0.25f;
        row_weight[b] = B > 2 && b == 2 ? 0 : 1;
        position[b] = ((uint64_t)1 << 33) + 1000003 * (uint64_t)b + 17;
    }
    const struct vit_batch batch = {images, id, weight, row_weight, position};
    rig_batch(rig, &batch);
    free(images);
}

static void open_case(struct vit_rig *rig, enum dtype dtype)
{
    const struct vit_desc desc = describe(current, dtype);
    rig_open(rig, be, &desc);
    for (int i = 0; i < rig->table.count; i++)
        formula_weights(&rig->table.rows[i], rig->master + rig->table.rows[i].offset);
    rig_publish(rig);
    fill_batch(rig);
}

/* A golden tensor; the caller frees it. */
static float *golden(const struct safetensors *file, const char *name, int64_t count)
{
    const struct safetensor *tensor = safetensors_find(file, name);
    if (!tensor || tensor->count != count)
        fprintf(stderr, "%s: no tensor %s of %lld elements\n", file->path, name, (long long)count);
    CU_ASSERT_TRUE_FATAL(tensor && tensor->count == count);
    float *values = malloc((size_t)count * sizeof *values);
    ASSERT_OK(safetensors_read_f32(file, tensor, values));
    return values;
}

static void open_golden(struct safetensors *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/vit/%s.safetensors", VT_SOURCE_DIR, current->name);
    ASSERT_OK(safetensors_open(path, file));
}

static double squared_error(const float *a, const float *b, int64_t count, double *squared_b)
{
    double error = 0;
    for (int64_t i = 0; i < count; i++) {
        error += pow((double)a[i] - (double)b[i], 2);
        *squared_b += (double)b[i] * (double)b[i];
    }
    return error;
}

static void check_logits(struct vit_rig *rig, const struct safetensors *file)
{
    const int64_t count = rig->desc.batch * rig->desc.config.classes;
    float *expected = golden(file, "logits", count);
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)rig->logits[i] - (double)expected[i]));
        largest = fmax(largest, fabs((double)expected[i]));
    }
    printf("\n    %s: logits differ by %.1e of their largest magnitude\n", current->name, worst / largest);
    CU_ASSERT_TRUE(worst <= (double)current->logits_bar * largest);
    free(expected);

    float *rows = golden(file, "row_loss", rig->desc.batch);
    double sum = 0;
    for (int b = 0; b < rig->desc.batch; b++)
        sum += (double)rows[b];
    CU_ASSERT_DOUBLE_EQUAL(rig->scalars.loss_sum, sum, 1e-5 * sum);
    free(rows);
}

/* ||gradient - golden|| against ||golden||, whole tensors. Returns the ratio's largest value. */
static double check_full_gradients(struct vit_rig *rig, const struct safetensors *file)
{
    double total = 0, worst = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < rig->table.count; i++) {
            const struct param *row = &rig->table.rows[i];
            char name[PARAM_NAME_BYTES + 8];
            snprintf(name, sizeof name, "grad.%s", row->name);
            float *expected = golden(file, name, row->count);
            double norm = 0, error = squared_error(rig->grads + row->offset, expected, row->count, &norm);
            free(expected);
            if (pass == 0) {
                total += norm;
                continue;
            }
            double ratio = sqrt(error) / fmax(sqrt(norm), 1e-3 * sqrt(total));
            worst = fmax(worst, ratio);
            if (ratio > 1e-4)
                fprintf(stderr, "gradient of %s: off by %.2e of its norm\n", row->name, ratio);
        }
    return worst;
}

/* Norm and four signed sums, for models too large to store. */
static double check_gradient_summaries(struct vit_rig *rig, const struct safetensors *file)
{
    double worst = 0;
    for (int i = 0; i < rig->table.count; i++) {
        const struct param *row = &rig->table.rows[i];
        char name[PARAM_NAME_BYTES + 8];
        snprintf(name, sizeof name, "grad.%s", row->name);
        float *expected = golden(file, name, 5);
        snprintf(name, sizeof name, "sign.%s", row->name);
        const uint64_t hash = formula_hash(name);
        double sums[5] = {0};
        for (int64_t e = 0; e < row->count; e++) {
            const double g = (double)rig->grads[row->offset + e];
            const uint64_t signs = formula_word(hash, e) >> 60;
            sums[0] += g * g;
            for (int j = 0; j < 4; j++)
                sums[j + 1] += signs >> j & 1 ? g : -g;
        }
        sums[0] = sqrt(sums[0]);
        for (int j = 0; j < 5; j++) { /* a signed sum of errors is about as large as their norm: up to 4 sigma */
            double ratio = fabs(sums[j] - (double)expected[j]) / fmax((double)expected[0], 1e-6) / (j ? 4 : 1);
            worst = fmax(worst, ratio);
            if (ratio > 1e-4)
                fprintf(stderr, "gradient of %s: summary %d is %g, expected %g\n", row->name, j, sums[j],
                        (double)expected[j]);
        }
        free(expected);
    }
    return worst;
}

static void test_fp32(void)
{
    struct safetensors file = {0};
    struct vit_rig rig;
    open_golden(&file);
    open_case(&rig, DTYPE_F32);
    rig_forward(&rig, 1.0f / (float)rig.desc.batch);
    check_logits(&rig, &file);
    rig_backward(&rig, false, NULL, NULL);
    double worst =
        strcmp(current->name, "b16") == 0 ? check_gradient_summaries(&rig, &file) : check_full_gradients(&rig, &file);
    printf("    %s: gradients differ by at most %.1e of their norms\n", current->name, worst);
    CU_ASSERT_TRUE(worst <= 1e-4);
    rig_close(&rig);
    safetensors_close(&file);
}

/* bf16 may stray from the exact result at most twice as far as PyTorch's autocast does. */
static void test_bf16(void)
{
    struct safetensors file = {0};
    open_golden(&file);
    if (!safetensors_find(&file, "torch_bf16")) {
        safetensors_close(&file);
        return;
    }
    float *torch = golden(&file, "torch_bf16", 2);
    struct vit_rig rig;
    open_case(&rig, DTYPE_BF16);
    rig_forward(&rig, 1.0f / (float)rig.desc.batch);
    float *logits = golden(&file, "logits", rig.desc.batch * rig.desc.config.classes);
    double norm = 0, error = squared_error(rig.logits, logits, rig.desc.batch * rig.desc.config.classes, &norm);
    printf("\n    %s: bf16 logits stray %.2e, PyTorch's %.2e\n", current->name, sqrt(error / norm), (double)torch[0]);
    CU_ASSERT_TRUE(sqrt(error / norm) <= 2 * (double)torch[0]);
    free(logits);
    if (torch[1] > 0) {
        rig_backward(&rig, false, NULL, NULL);
        norm = error = 0;
        for (int i = 0; i < rig.table.count; i++) {
            const struct param *row = &rig.table.rows[i];
            char name[PARAM_NAME_BYTES + 8];
            snprintf(name, sizeof name, "grad.%s", row->name);
            float *expected = golden(&file, name, row->count);
            error += squared_error(rig.grads + row->offset, expected, row->count, &norm);
            free(expected);
        }
        printf("    %s: bf16 gradients stray %.2e, PyTorch's %.2e\n", current->name, sqrt(error / norm),
               (double)torch[1]);
        CU_ASSERT_TRUE(sqrt(error / norm) <= 2 * (double)torch[1]);
    }
    free(torch);
    rig_close(&rig);
    safetensors_close(&file);
}

static vt_status open_backend(void)
{
    const struct backend_desc desc = {.threads = 2};
#ifdef GOLDEN_CPU
    return backend_cpu_open(&desc, &be);
#else
    return backend_ref_open(&desc, &be);
#endif
}

int main(int argc, char **argv)
{
    static const struct test_case tests[] = {{"fp32", test_fp32}, {"bf16", test_bf16}};
    if (argc < 2 || open_backend() != VT_OK) {
        fprintf(stderr, "usage: %s case...\n%s\n", argv[0], status_message());
        return 2;
    }
    int failed = 0;
    for (int a = 1; a < argc; a++) {
        current = NULL;
        for (size_t i = 0; i < sizeof golden_cases / sizeof *golden_cases; i++)
            if (strcmp(argv[a], golden_cases[i].name) == 0)
                current = &golden_cases[i];
        if (!current) {
            fprintf(stderr, "no case %s\n", argv[a]);
            return 2;
        }
        failed |= run_tests(current->name, tests, 2);
    }
    be->close(be);
    return failed;
}
