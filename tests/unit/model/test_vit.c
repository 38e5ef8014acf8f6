/* A whole tiny ViT on the reference backend. */
#include "model/vit.h"

#include "base/philox.h"
#include "vit_rig.h"

enum { IMAGE = 8, PATCH = 4, CLASSES = 5, MAX_B = 8, LABELS = 2, SEED = 11 };

static struct vit_config tiny(void)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    c.image_size = IMAGE, c.patch_size = PATCH, c.channels = 3;
    c.width = 16, c.depth = 3, c.heads = 2, c.mlp_width = 24, c.classes = CLASSES;
    c.init_std = 0.3f;
    return c;
}

/* Every option that touches the passes. */
static struct vit_config tiny_all_options(void)
{
    struct vit_config c = tiny();
    c.pool = POOL_MEAN;
    c.pre_logits = 12;
    c.gelu = ACT_GELU_TANH;
    c.dropout = 0.2f, c.pos_dropout = 0.1f, c.attention_dropout = 0.15f, c.drop_path = 0.3f;
    return c;
}

/* Whole, class only, and class only without dropout, where fc1's bias gradient comes with fc2's backward. */
static void for_each_last_block(void (*check)(struct vit_config config))
{
    struct vit_config config = tiny_all_options();
    check(config);
    config.pool = POOL_CLS;
    check(config);
    config.dropout = 0;
    check(config);
}

static struct vit_desc describe(struct vit_config config, int64_t batch)
{
    return (struct vit_desc){.config = config,
                             .batch = batch,
                             .dtype = DTYPE_F32,
                             .dtype_stream = DTYPE_F32,
                             .training = true,
                             .seed = SEED,
                             .loss = LOSS_SOFTMAX,
                             .smoothing = 0.1f,
                             .labels = LABELS};
}

static struct backend *open_ref(bool strict)
{
    struct backend *be = NULL;
    struct backend_desc desc = {.threads = 1, .strict = strict};
    ASSERT_OK(backend_ref_open(&desc, &be));
    return be;
}

/* Rows `first`.. of an endless toy stream. */
struct toy {
    uint8_t images[MAX_B * IMAGE * IMAGE * 3];
    int32_t label_id[MAX_B * LABELS];
    float label_weight[MAX_B * LABELS], row_weight[MAX_B];
    uint64_t position[MAX_B];
    struct vit_batch batch;
};

static void make_toy(struct toy *toy, int first, int rows)
{
    const int pixels = IMAGE * IMAGE * 3;
    for (int b = 0; b < rows; b++) {
        const uint64_t position = (uint64_t)(first + b);
        for (int i = 0; i < pixels; i++)
            toy->images[b * pixels + i] = (uint8_t)draw_u32(5, 99, position, (uint32_t)i);
        toy->label_id[b * LABELS] = (first + b) % CLASSES;
        toy->label_id[b * LABELS + 1] = (first + b) % 3 == 0 ? -1 : (first + b + 2) % CLASSES;
        toy->label_weight[b * LABELS] = (first + b) % 3 == 0 ? 1 : 0.75f;
        toy->label_weight[b * LABELS + 1] = (first + b) % 3 == 0 ? 0 : 0.25f;
        toy->row_weight[b] = 1;
        toy->position[b] = position + ((uint64_t)1 << 33);
    }
    toy->batch = (struct vit_batch){toy->images, toy->label_id, toy->label_weight, toy->row_weight, toy->position};
}

static void open_toy(struct vit_rig *rig, struct backend *be, const struct vit_desc *desc)
{
    rig_open(rig, be, desc);
    param_table_initialise(&rig->table, 3, 2, rig->master);
    rig_publish(rig);
    struct toy toy;
    make_toy(&toy, 0, (int)desc->batch);
    rig_batch(rig, &toy.batch);
}

/* Along a row's gradient direction (and a random one) the loss must change as the gradient says: five-point differences
 * of a loss with fp32 activations, so an error of about 1e-5 / step. */
static void check_row_gradient(struct vit_rig *rig, const struct param *row, const float *grads, bool random)
{
    double norm = 0, expected = 0;
    float direction[4096], saved[4096];
    CU_ASSERT_FATAL(row->count <= 4096);
    for (int64_t e = 0; e < row->count; e++) {
        direction[e] = random ? (float)draw_uniform(1, 7, 0, (uint32_t)e) - 0.5f : grads[row->offset + e];
        norm += (double)direction[e] * (double)direction[e];
    }
    norm = sqrt(norm);
    for (int64_t e = 0; e < row->count; e++) {
        direction[e] /= (float)(norm > 1e-12 ? norm : 1);
        expected += (double)direction[e] * (double)grads[row->offset + e];
    }
    static const struct {
        float step;
        double weight;
    } points[4] = {{5e-3f, 8}, {-5e-3f, -8}, {1e-2f, -1}, {-1e-2f, 1}};
    double measured = 0;
    memcpy(saved, rig->master + row->offset, (size_t)row->count * sizeof(float));
    for (int p = 0; p < 4; p++) {
        for (int64_t e = 0; e < row->count; e++)
            rig->master[row->offset + e] = saved[e] + points[p].step * direction[e];
        rig_publish(rig);
        measured += points[p].weight / 6e-2 * rig_forward(rig, 1.0f / (float)rig->desc.batch);
    }
    memcpy(rig->master + row->offset, saved, (size_t)row->count * sizeof(float));
    if (fabs(measured - expected) > 1e-4 + 1e-3 * fabs(expected))
        fprintf(stderr, "%s: differences give %g, backward gives %g\n", row->name, measured, expected);
    CU_ASSERT_DOUBLE_EQUAL(measured, expected, 1e-4 + 1e-3 * fabs(expected));
}

static void check_gradients(const struct vit_desc *desc)
{
    struct backend *be = open_ref(false);
    struct vit_rig rig;
    open_toy(&rig, be, desc);
    rig_forward(&rig, 1.0f / (float)desc->batch);
    rig_backward(&rig, false, NULL, NULL);
    double total = 0;
    for (int64_t i = 0; i < rig.table.total; i++)
        total += fabs((double)rig.grads[i]);
    CU_ASSERT_TRUE(total > 1);
    for (int i = 0; i < rig.table.count; i++) {
        check_row_gradient(&rig, &rig.table.rows[i], rig.grads, false);
        check_row_gradient(&rig, &rig.table.rows[i], rig.grads, true);
    }
    rig_close(&rig);
    be->close(be);
}

static void test_gradients(void)
{
    struct vit_desc desc = describe(tiny(), 3);
    check_gradients(&desc);
}

static void test_gradients_all_options(void)
{
    struct vit_desc desc = describe(tiny_all_options(), 4);
    desc.loss = LOSS_SIGMOID;
    check_gradients(&desc);
    desc.config.cls_token = desc.config.qkv_bias = false;
    desc.config.dropout = 0;
    check_gradients(&desc);
}

static void test_depth_one(void)
{
    struct vit_desc desc = describe(tiny(), 2);
    desc.config.depth = 1;
    desc.config.drop_path = 0.5f;
    check_gradients(&desc);
}

/* A class-token pool with every option; and with a width that takes the whole last block. */
static void test_class_only(void)
{
    struct vit_desc desc = describe(tiny_all_options(), 4);
    desc.config.pool = POOL_CLS;
    check_gradients(&desc);
    desc.config.qkv_bias = false;
    desc.config.dropout = desc.config.attention_dropout = 0;
    check_gradients(&desc);
    desc.config.width = 18;
    check_gradients(&desc);
}

/* Plain gradient descent with momentum drives one batch's loss to its floor. */
static void test_overfit(void)
{
    struct backend *be = open_ref(true); /* strict: nothing but ops and copies touches device memory */
    struct vit_desc desc = describe(tiny(), 5);
    desc.smoothing = 0;
    struct vit_rig rig;
    open_toy(&rig, be, &desc);
    struct toy toy;
    make_toy(&toy, 0, 5);
    for (int b = 0; b < 5; b++) {
        toy.label_weight[b * LABELS] = 1;
        toy.label_id[b * LABELS + 1] = -1;
    }
    rig_batch(&rig, &toy.batch);
    float *momentum = calloc((size_t)rig.table.total, sizeof *momentum);
    double first = 0, last = 0;
    for (int step = 0; step < 150; step++) {
        last = rig_forward(&rig, 1.0f / 5);
        if (step == 0)
            first = last;
        rig_backward(&rig, false, NULL, NULL);
        for (int64_t i = 0; i < rig.table.total; i++) {
            momentum[i] = 0.9f * momentum[i] + rig.grads[i];
            rig.master[i] -= 0.02f * momentum[i];
        }
        rig_publish(&rig);
    }
    CU_ASSERT_TRUE(first > 0.5);
    CU_ASSERT_TRUE(last < 1e-2);
    CU_ASSERT_EQUAL(rig.scalars.correct1, 5);
    free(momentum);
    rig_close(&rig);
    be->close(be);
}

/* Rows keep their draws and their share of the gradient however they are cut into microbatches. */
static void check_accumulation(struct vit_config config)
{
    struct backend *be = open_ref(true);
    struct vit_desc whole_desc = describe(config, 6), part_desc = describe(config, 2);
    struct vit_rig whole, part;
    open_toy(&whole, be, &whole_desc);
    double loss = rig_forward(&whole, 1.0f / 6), sum = 0;
    rig_backward(&whole, false, NULL, NULL);

    open_toy(&part, be, &part_desc);
    for (int first = 0; first < 6; first += 2) {
        struct toy toy;
        make_toy(&toy, first, 2);
        rig_batch(&part, &toy.batch);
        sum += rig_forward(&part, 1.0f / 6);
        rig_backward(&part, first > 0, NULL, NULL);
    }
    CU_ASSERT_DOUBLE_EQUAL(sum, loss, 1e-6 * loss);
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < whole.table.total; i++) {
        worst = fmax(worst, fabs((double)(whole.grads[i] - part.grads[i])));
        largest = fmax(largest, fabs((double)whole.grads[i]));
    }
    CU_ASSERT_TRUE(largest > 1e-3);
    CU_ASSERT_TRUE(worst < 1e-6 * fmax(largest, 1));
    rig_close(&part);
    rig_close(&whole);
    be->close(be);
}

static void test_accumulation(void)
{
    for_each_last_block(check_accumulation);
}

/* Weight-0 rows add nothing, not even when their pixels change. */
static void check_padding_rows(struct vit_config config)
{
    struct backend *be = open_ref(true);
    struct vit_desc desc = describe(config, 4), valid_desc = describe(config, 3);
    struct vit_rig padded, valid;
    open_toy(&padded, be, &desc);
    open_toy(&valid, be, &valid_desc);
    struct toy toy;
    make_toy(&toy, 0, 4);
    toy.row_weight[3] = 0;
    rig_batch(&padded, &toy.batch);
    CU_ASSERT_DOUBLE_EQUAL(rig_forward(&padded, 0.25f), rig_forward(&valid, 0.25f), 1e-9);
    CU_ASSERT_EQUAL(padded.scalars.weight_sum, 3);
    rig_backward(&padded, false, NULL, NULL);
    rig_backward(&valid, false, NULL, NULL);
    double worst = 0;
    for (int64_t i = 0; i < padded.table.total; i++)
        worst = fmax(worst, fabs((double)(padded.grads[i] - valid.grads[i])));
    CU_ASSERT_TRUE(worst < 1e-7);
    rig_close(&padded);
    rig_close(&valid);
    be->close(be);
}

static void test_padding_rows(void)
{
    for_each_last_block(check_padding_rows);
}

/* An evaluation replica draws nothing and, where nothing is drawn, agrees with the training one bit for bit. */
static void check_evaluation(struct vit_config config)
{
    struct backend *be = open_ref(true);
    struct vit_desc desc = describe(config, 4);
    struct vit_rig train, eval;
    open_toy(&train, be, &desc);
    desc.training = false;
    desc.config.dropout = desc.config.attention_dropout = desc.config.pos_dropout = desc.config.drop_path = 0.5f;
    open_toy(&eval, be, &desc);
    rig_forward(&train, 0.25f);
    rig_forward(&eval, 0.25f);
    CU_ASSERT_EQUAL(memcmp(train.logits, eval.logits, 4 * CLASSES * sizeof(float)), 0);
    CU_ASSERT_TRUE(config.depth == 1 ||
                   vit_memory_plan(eval.vit).activations * 2 < vit_memory_plan(train.vit).activations);
    rig_close(&train);
    rig_close(&eval);
    be->close(be);
}

static void test_evaluation(void)
{
    struct vit_config config = tiny();
    check_evaluation(config);
    config.depth = 1;
    check_evaluation(config);
    config.pool = POOL_MEAN;
    check_evaluation(config);
}

struct ready_log {
    const struct vit_rig *rig;
    int64_t last;
    int calls, starts_of_rows;
};

static void on_ready(void *context, int64_t first)
{
    struct ready_log *log = context;
    CU_ASSERT_TRUE(first < log->last);
    log->last = first;
    log->calls++;
    for (int i = 0; i < log->rig->table.count; i++)
        log->starts_of_rows += log->rig->table.rows[i].offset == first;
}

static void test_grad_ready(void)
{
    struct backend *be = open_ref(true);
    struct vit_desc desc = describe(tiny(), 2);
    struct vit_rig rig;
    open_toy(&rig, be, &desc);
    rig_forward(&rig, 0.5f);
    struct ready_log log = {.rig = &rig, .last = rig.table.total};
    rig_backward(&rig, false, on_ready, &log);
    CU_ASSERT_EQUAL(log.last, 0);
    CU_ASSERT_EQUAL(log.calls, 2 + 2 * desc.config.depth);
    CU_ASSERT_EQUAL(log.starts_of_rows, log.calls);
    rig_close(&rig);
    be->close(be);
}

/* What is announced as final is final: the buffer's tail no longer changes. */
struct tail_log {
    struct vit_rig *rig;
    float *seen[32];
    int64_t first[32];
    int calls;
};

static void keep_tail(void *context, int64_t first)
{
    struct tail_log *log = context;
    struct vit_rig *rig = log->rig;
    size_t bytes = (size_t)(rig->table.total - first) * sizeof(float);
    log->first[log->calls] = first;
    log->seen[log->calls] = malloc(bytes);
    rig->be->download(rig->be, STREAM_COMPUTE, log->seen[log->calls], rig->device_grads + first, bytes);
    ASSERT_OK(rig->be->synchronise(rig->be));
    log->calls++;
}

static void check_grad_ready_is_final(struct vit_config config)
{
    struct backend *be = open_ref(true);
    struct vit_desc desc = describe(config, 2);
    struct vit_rig rig;
    open_toy(&rig, be, &desc);
    rig_forward(&rig, 0.5f);
    struct tail_log log = {.rig = &rig};
    rig_backward(&rig, false, keep_tail, &log);
    for (int i = 0; i < log.calls; i++) {
        size_t bytes = (size_t)(rig.table.total - log.first[i]) * sizeof(float);
        CU_ASSERT_EQUAL(memcmp(log.seen[i], rig.grads + log.first[i], bytes), 0);
        free(log.seen[i]);
    }
    rig_close(&rig);
    be->close(be);
}

static void test_grad_ready_is_final(void)
{
    for_each_last_block(check_grad_ready_is_final);
}

static void test_flops_agree(void)
{
    struct backend *be = open_ref(false);
    for (int class_only = 0; class_only < 2; class_only++) {
        struct vit_desc desc = describe(class_only ? tiny() : tiny_all_options(), 3);
        struct vit_rig rig;
        open_toy(&rig, be, &desc);
        const struct vit_config *c = &desc.config;
        double patches = 2.0 * vit_patches(c) * c->channels * c->patch_size * c->patch_size * c->width;
        double expected = vit_train_flops(c) + patches; /* 3 images; forward is a third, but for the patches' product */
        CU_ASSERT_DOUBLE_EQUAL(vit_forward_flops(rig.vit), expected, 1e-6 * expected);
        rig_close(&rig);
    }
    be->close(be);
}

static void test_bf16_runs(void)
{
    struct backend *be = open_ref(true);
    struct vit_desc desc = describe(tiny_all_options(), 3);
    struct vit_rig fp32, bf16;
    open_toy(&fp32, be, &desc);
    desc.dtype = desc.dtype_stream = DTYPE_BF16;
    open_toy(&bf16, be, &desc);
    double exact = rig_forward(&fp32, 1.0f / 3), rounded = rig_forward(&bf16, 1.0f / 3);
    CU_ASSERT_DOUBLE_EQUAL(rounded, exact, 0.03 * exact);
    CU_ASSERT_NOT_EQUAL(rounded, exact);
    rig_backward(&fp32, false, NULL, NULL);
    rig_backward(&bf16, false, NULL, NULL);
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < fp32.table.total; i++) {
        difference += pow((double)(fp32.grads[i] - bf16.grads[i]), 2);
        norm += pow((double)fp32.grads[i], 2);
    }
    CU_ASSERT_TRUE(difference < 0.05 * 0.05 * norm);
    rig_close(&fp32);
    rig_close(&bf16);
    be->close(be);
}

static void test_refusals(void)
{
    struct backend *be = open_ref(false);
    struct vit *vit = NULL;
    struct param_table table = {0};
    struct vit_desc desc = describe(tiny(), 2);
    vit_params(&desc.config, &table);
    desc.params = &table;
    be->nn.attention_backward = NULL;
    ASSERT_FAILS(vit_open(&desc, be, &vit), VT_E_UNSUPPORTED, "backend ref has no op nn.attention_backward");
    CU_ASSERT_PTR_NULL(vit);
    vit_close(&vit);
    param_table_close(&table);
    be->close(be);
}

static const struct test_case cases[] = {
    {"gradients", test_gradients},
    {"gradients with every option", test_gradients_all_options},
    {"depth one", test_depth_one},
    {"class token only", test_class_only},
    {"overfit one batch, strict", test_overfit},
    {"microbatches add up", test_accumulation},
    {"padding rows", test_padding_rows},
    {"evaluation replica", test_evaluation},
    {"on_grad_ready covers the buffer", test_grad_ready},
    {"on_grad_ready means final", test_grad_ready_is_final},
    {"flops agree with the config's", test_flops_agree},
    {"bf16", test_bf16_runs},
    {"refusals", test_refusals},
};
TEST_MAIN("vit", cases)
