/* test_model CANDIDATE [FILTER]: whole models on CANDIDATE (cuda; cpu proves the test itself) against a backend known to be
 * right, from the same weights and pictures: loss, logits and the gradient of every parameter. The reference is `ref` for
 * small models and the CPU in fp32 for real ones. One line per case; FILTER is part of a name, "big" adds the largest model. */
#include <math.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/philox.h"
#include "candidate.h"
#include "vit_rig.h"

enum { LABELS = 2 };

struct model_case {
    const char *name, *size; /* size: NULL = the fields below */
    int image, patch, channels, width, depth, heads, mlp, classes;
    int batch;
    bool mean_pool, tanh_gelu, random, sigmoid, big;
    enum vit_recompute recompute;
};

static const struct model_case models[] = {
    {"tiny", NULL, 28, 7, 1, 64, 2, 2, 128, 10, 6, .tanh_gelu = true},
    {"odd", NULL, 40, 8, 3, 96, 3, 3, 200, 37, 5, .mean_pool = true},
    {"odd, random", NULL, 40, 8, 3, 96, 3, 3, 200, 37, 5, .mean_pool = true, .random = true},
    {"sigmoid, recomputed", NULL, 32, 4, 3, 128, 2, 2, 256, 21, 4, .sigmoid = true, .random = true, .recompute = RECOMPUTE_BLOCK},
    {"light, random", NULL, 40, 8, 3, 96, 3, 3, 200, 37, 5, .mean_pool = true, .random = true, .recompute = RECOMPUTE_LIGHT},
    {"light, tanh", NULL, 28, 7, 1, 64, 2, 2, 128, 10, 6, .tanh_gelu = true, .recompute = RECOMPUTE_LIGHT},
    {"S/16", "S/16", .image = 224, .batch = 4, .tanh_gelu = true},
    {"S/16 random", "S/16", .image = 224, .batch = 4, .tanh_gelu = true, .random = true},
    {"B/16", "B/16", .image = 224, .batch = 3},
    {"S/16 384", "S/16", .image = 384, .batch = 2, .tanh_gelu = true},
    {"L/16", "L/16", .image = 224, .batch = 2, .tanh_gelu = true, .big = true},
    {"H/14", "H/14", .image = 224, .batch = 2, .tanh_gelu = true, .big = true},
};

/* What may differ. fp32: the sums' order, through all layers. bf16: products and stored tensors round to 8 bits, which a
 * gradient shows as noise of about a percent of its row's norm. */
struct limits {
    double loss, logits, gradient;
};
static const struct limits limits_fp32 = {1e-5, 5e-5, 2e-4}, limits_bf16 = {1e-2, 4e-2, 6e-2};

static const char *candidate_name, *filter;
static struct backend *candidate, *reference_small, *reference_large;
static int cases_run;

static struct vit_desc describe(const struct model_case *m, enum dtype dtype, enum dtype stream)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    if (m->size) {
        ASSERT_OK(vit_config_named(&c, m->size));
        c.image_size = m->image;
    } else {
        c.image_size = m->image, c.patch_size = m->patch, c.channels = m->channels, c.width = m->width;
        c.depth = m->depth, c.heads = m->heads, c.mlp_width = m->mlp, c.classes = m->classes;
        c.init_std = 0.1f;
    }
    c.gelu = m->tanh_gelu ? ACT_GELU_TANH : ACT_GELU_ERF;
    if (m->mean_pool)
        c.pool = POOL_MEAN, c.cls_token = false, c.pre_logits = 48;
    if (m->random)
        c.dropout = 0.1f, c.pos_dropout = 0.1f, c.attention_dropout = 0.1f, c.drop_path = 0.2f;
    ASSERT_OK(vit_config_check(&c));
    return (struct vit_desc){.config = c, .batch = m->batch, .dtype = dtype, .dtype_stream = stream, .training = true,
                             .recompute = m->recompute, .seed = 11, .loss = m->sigmoid ? LOSS_SIGMOID : LOSS_SOFTMAX,
                             .smoothing = 0.1f, .labels = LABELS};
}

/* Smooth pictures with some noise, mixed labels, the last row padding. */
static void fill_batch(struct vit_rig *rig)
{
    const struct vit_config *c = &rig->desc.config;
    int64_t B = rig->desc.batch;
    int side = c->image_size, pixels = side * side * c->channels;
    uint8_t *images = malloc((size_t)(B * pixels));
    int32_t id[64];
    float weight[64], row_weight[32];
    uint64_t position[32];
    VT_CHECK(images && B <= 32);
    for (int64_t b = 0; b < B; b++) {
        for (int i = 0; i < pixels; i++) {
            double x = i / c->channels % side, y = i / c->channels / side;
            double wave = sin(x * (0.05 + 0.02 * (double)b)) * cos(y * 0.07) * 80 + 128;
            images[b * pixels + i] = (uint8_t)(wave + draw_below(5, 99, (uint64_t)b, (uint32_t)i, 40) - 20);
        }
        id[2 * b] = (int32_t)((7 * b + 1) % c->classes);
        id[2 * b + 1] = b % 3 ? (int32_t)((5 * b + 2) % c->classes) : -1;
        weight[2 * b] = b % 3 ? 0.7f : 1;
        weight[2 * b + 1] = b % 3 ? 0.3f : 0;
        row_weight[b] = b + 1 < B || B == 1;
        position[b] = (uint64_t)b + ((uint64_t)1 << 33);
    }
    rig_batch(rig, &(struct vit_batch){images, id, weight, row_weight, position});
    free(images);
}

/* Twice: the second time adds to the first, as microbatches do. Returns milliseconds of the second. */
static double run(struct vit_rig *rig, struct backend *be, const struct vit_desc *desc)
{
    rig_open(rig, be, desc);
    param_table_initialise(&rig->table, 3, 2, rig->master);
    rig_publish(rig);
    fill_batch(rig);
    rig_forward(rig, 1.0f / (float)desc->batch);
    rig_backward(rig, false, NULL, NULL);
    double start = clock_ms();
    rig_forward(rig, 1.0f / (float)desc->batch);
    rig_backward(rig, true, NULL, NULL);
    return clock_ms() - start;
}

/* ||a - b|| / ||b|| */
static double distance(const float *a, const float *b, int64_t count, double floor)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    if (!isfinite(difference))
        return INFINITY;
    return sqrt(difference) / (sqrt(norm) + floor + 1e-30);
}

/* The worst row. Rows whose gradient is almost nothing (a key's bias: softmax does not see it) are measured against a
 * thousandth of a row of typical size. */
static double worst_row(const struct vit_rig *a, const struct vit_rig *b, const char **name)
{
    double sum = 0, worst = -1;
    for (int64_t i = 0; i < b->table.total; i++)
        sum += (double)b->grads[i] * (double)b->grads[i];
    double rms = sqrt(sum / (double)b->table.parameters);
    for (int r = 0; r < b->table.count; r++) {
        const struct param *row = &b->table.rows[r];
        double d = distance(a->grads + row->offset, b->grads + row->offset, row->count, 1e-2 * rms * sqrt((double)row->count));
        if (d > worst || !isfinite(d)) {
            worst = d;
            *name = row->name;
        }
    }
    return worst;
}

static void check(const struct model_case *m, enum dtype dtype, enum dtype stream)
{
    struct vit_rig a, b;
    const char *row = "";
    const struct limits *limit = dtype == DTYPE_F32 ? &limits_fp32 : &limits_bf16;
    struct vit_desc desc = describe(m, dtype, stream), exact = describe(m, DTYPE_F32, DTYPE_F32);
    double ms = run(&a, candidate, &desc);
    run(&b, m->size ? reference_large : reference_small, &exact);
    double loss = fabs(a.scalars.loss_sum - b.scalars.loss_sum) / (fabs(b.scalars.loss_sum) + 1e-30);
    int64_t K = desc.config.classes;
    double logits = distance(a.logits, b.logits, (desc.batch - 1) * K, 0);
    double gradient = worst_row(&a, &b, &row);
    bool ok = loss <= limit->loss && logits <= limit->logits && gradient <= limit->gradient;
    printf("%-6s %-20s %s/%-5s loss %.1e (%.0e)  logits %.1e (%.0e)  gradients %.1e (%.0e) %-32s %8.1f ms\n", ok ? "ok" : "FAILED",
           m->name, dtype_name(dtype), dtype_name(stream), loss, limit->loss, logits, limit->logits, gradient, limit->gradient,
           row, ms);
    fflush(stdout);
    CU_ASSERT_TRUE(ok);
    cases_run++;
    rig_close(&a);
    rig_close(&b);
}

static void models_agree(void)
{
    static const enum dtype kinds[][2] = {{DTYPE_F32, DTYPE_F32}, {DTYPE_BF16, DTYPE_F32}, {DTYPE_BF16, DTYPE_BF16}};
    bool big = filter && strcmp(filter, "big") == 0;
    printf("\n");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const struct model_case *m = &models[i];
        if (big ? !m->big : m->big || (filter && strcmp(filter, "small") == 0 ? m->size != NULL : filter && !strstr(m->name, filter)))
            continue;
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            check(m, kinds[k][0], kinds[k][1]);
    }
    CU_ASSERT(cases_run > 0);
}

static const struct test_case cases[] = {{"models agree with the reference", models_agree}};

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s BACKEND [FILTER | small | big]\n", argv[0]);
        return 2;
    }
    candidate_name = argv[1];
    filter = argc == 3 ? argv[2] : NULL;
    vt_status status = candidate_open(candidate_name, &candidate);
    if (status != VT_OK)
        return candidate_missing(status);
    if (candidate_open("ref", &reference_small) != VT_OK || candidate_open("cpu", &reference_large) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    printf("%s on %s: relative differences (limits)\n", candidate_name, candidate->device_name);
    int failed = run_tests("model parity", cases, 1);
    candidate->close(candidate);
    reference_small->close(reference_small);
    reference_large->close(reference_large);
    return failed;
}
