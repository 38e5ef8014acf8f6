/* What backward recomputes changes memory, not one bit of the result: every option, on ref and on the CPU; built for
 * tests/simt, with the CUDA kernels. */
#include "base/philox.h"
#include "model/vit.h"
#include "vit_rig.h"
#ifdef WITH_BACKEND_SIMT
#include "backend_simt.h"
#endif

enum { B = 3, IMAGE = 8, PATCH = 4, CLASSES = 5, LABELS = 1, LEVELS = 3 };

/* Each bit of `options` turns one on. */
enum {
    DROPOUT = 1,
    DROP_PATH = 2,
    ATTENTION_DROPOUT = 4,
    MEAN_POOL = 8,
    PRE_LOGITS = 16,
    TANH_GELU = 32,
    OPTIONS = 64
};

static struct vit_desc describe(int options, int depth, enum dtype dtype, enum dtype stream)
{
    struct vit_config c = {0};
    vit_config_defaults(&c);
    c.image_size = IMAGE, c.patch_size = PATCH, c.channels = 3;
    c.width = 24, c.depth = depth, c.heads = 3, c.mlp_width = 40, c.classes = CLASSES; /* vectors with tails */
    c.dropout = options & DROPOUT ? 0.2f : 0;
    c.drop_path = options & DROP_PATH ? 0.4f : 0;
    c.attention_dropout = options & ATTENTION_DROPOUT ? 0.1f : 0;
    c.pool = options & MEAN_POOL ? POOL_MEAN : POOL_CLS;
    c.pre_logits = options & PRE_LOGITS ? 12 : 0;
    c.gelu = options & TANH_GELU ? ACT_GELU_TANH : ACT_GELU_ERF;
    return (struct vit_desc){.config = c,
                             .batch = B,
                             .dtype = dtype,
                             .dtype_stream = stream,
                             .training = true,
                             .seed = 11,
                             .loss = LOSS_SOFTMAX,
                             .smoothing = 0.1f,
                             .labels = LABELS};
}

static void fill(struct vit_rig *rig)
{
    enum { BYTES = B * IMAGE * IMAGE * 3 };
    uint8_t images[BYTES];
    int32_t label[B];
    float weight[B], row_weight[B];
    uint64_t position[B];
    for (int i = 0; i < BYTES; i++)
        images[i] = (uint8_t)draw_u32(5, 99, 0, (uint32_t)i);
    for (int b = 0; b < B; b++) {
        label[b] = b % CLASSES;
        weight[b] = row_weight[b] = 1;
        position[b] = (uint64_t)b + ((uint64_t)1 << 33);
    }
    rig_batch(rig, &(struct vit_batch){images, label, weight, row_weight, position});
    for (int64_t i = 0; i < rig->table.total; i++)
        rig->master[i] = draw_uniform(3, 7, 0, (uint32_t)i) - 0.5f;
    rig_publish(rig);
}

/* Two microbatches, the second adds. Returns the loss. */
static double run(struct vit_rig *rig, struct backend *be, const struct vit_desc *desc)
{
    rig_open(rig, be, desc);
    fill(rig);
    double loss = rig_forward(rig, 1.0f / B);
    rig_backward(rig, false, NULL, NULL);
    loss += rig_forward(rig, 1.0f / B);
    rig_backward(rig, true, NULL, NULL);
    return loss;
}

static int differences(struct backend *be, struct vit_desc desc)
{
    struct vit_rig rig[LEVELS];
    double loss[LEVELS], moved = 0;
    int different = 0;
    for (int level = RECOMPUTE_NONE; level <= RECOMPUTE_BLOCK; level++) {
        desc.recompute = (enum vit_recompute)level;
        loss[level] = run(&rig[level], be, &desc);
        different += loss[level] != loss[0];
        different += memcmp(rig[level].logits, rig[0].logits, B * CLASSES * sizeof(float)) != 0;
        different += memcmp(rig[level].grads, rig[0].grads, (size_t)rig[0].table.total * sizeof(float)) != 0;
    }
    for (int64_t i = 0; i < rig[0].table.total; i++)
        moved += fabs((double)rig[0].grads[i]);
    CU_ASSERT(isfinite(loss[0]) && moved > 1);
    for (int level = 0; level < LEVELS; level++)
        rig_close(&rig[level]);
    return different;
}

/* Every `step`-th combination of the options. */
static void every_option(struct backend *be, int step)
{
    static const enum dtype kinds[][2] = {{DTYPE_F32, DTYPE_F32}, {DTYPE_BF16, DTYPE_F32}, {DTYPE_BF16, DTYPE_BF16}};
    for (int k = 0; k < 3; k++)
        for (int options = k % step; options < OPTIONS; options += step) {
            int different = differences(be, describe(options, 3, kinds[k][0], kinds[k][1]));
            if (different)
                fprintf(stderr, "%s: options %d, %s/%s: %d differences\n", be->name, options, dtype_name(kinds[k][0]),
                        dtype_name(kinds[k][1]), different);
            CU_ASSERT_EQUAL(different, 0);
        }
    CU_ASSERT_EQUAL(differences(be, describe(DROPOUT | DROP_PATH, 1, DTYPE_BF16, DTYPE_F32)), 0);
    be->close(be);
}

#ifdef WITH_BACKEND_SIMT
static void test_simt(void)
{
    struct backend *be = NULL;
    struct backend_desc desc = {.threads = 1};
    ASSERT_OK(backend_simt_open(&desc, &be));
    every_option(be, 21); /* 010101, 101010 and their neighbours: each option on, off, with and without the others */
}

static const struct test_case cases[] = {{"the same bits with the CUDA kernels", test_simt}};
#else

static void test_ref(void)
{
    struct backend *be = NULL;
    struct backend_desc desc = {.threads = 1, .strict = true}; /* strict: tensors start as NaN */
    ASSERT_OK(backend_ref_open(&desc, &be));
    every_option(be, 1);
}

static void test_cpu(void)
{
    struct backend *be = NULL;
    struct backend_desc desc = {.threads = 2};
    ASSERT_OK(backend_cpu_open(&desc, &be));
    every_option(be, 1);
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static struct vit_desc b16_of_two(void)
{
    struct vit_desc desc = {0};
    vit_config_defaults(&desc.config);
    ASSERT_OK(vit_config_named(&desc.config, "B/16"));
    desc.config.image_size = 224;
    desc.batch = 2;
    desc.training = true;
    desc.dtype = DTYPE_BF16;
    desc.dtype_stream = DTYPE_BF16;
    return desc;
}

/* What a pool of the class token leaves out of the last block and after it, tensor by tensor. */
static void test_class_only_memory(void)
{
    struct vit_desc desc = b16_of_two();
    const size_t rows = 2, M = rows * 197, D = 768, F = 3072;
    const size_t width = aligned(M * D * 2) - aligned(rows * D * 2), gelu = aligned(M * F * 2) - aligned(rows * F * 2);
    const size_t packed = aligned(M * 3 * D * 2) - aligned(M * 2 * D * 2), own = aligned(rows * D * 2); /* q, dx_class */
    const size_t stats = aligned(M * 2 * 4) - aligned(rows * 2 * 4), lse = aligned(M * 12 * 4) - aligned(rows * 12 * 4);
    const size_t fewer[LEVELS] = {packed + 4 * width + 2 * gelu + 2 * stats + lse - 2 * own,
                                  packed + 3 * width + gelu + 2 * stats + lse - 2 * own, width + stats - 2 * own};
    for (int level = 0; level < LEVELS; level++) {
        desc.recompute = (enum vit_recompute)level;
        desc.config.pool = POOL_CLS;
        size_t bytes = vit_activation_bytes(&desc);
        desc.config.pool = POOL_MEAN;
        CU_ASSERT_EQUAL(vit_activation_bytes(&desc) - bytes, fewer[level]);
    }
}

/* What each level leaves out, tensor by tensor; and the sizes that docs/speed.md gives per token and layer. */
static void test_memory(void)
{
    struct vit_desc desc = b16_of_two();
    desc.config.pool = POOL_MEAN;
    const size_t M = 2 * 197, D = 768, F = 3072, L = 12;
    size_t bytes[LEVELS];
    for (int level = 0; level < LEVELS; level++) {
        desc.recompute = (enum vit_recompute)level;
        bytes[level] = vit_activation_bytes(&desc);
    }
    size_t norms = 2 * aligned(M * D * 2), gelu = aligned(M * F * 2), stats = aligned(M * 2 * 4),
           stream = aligned(M * D * 2);
    CU_ASSERT_EQUAL(bytes[RECOMPUTE_NONE] - bytes[RECOMPUTE_LIGHT], L * (norms + gelu));
    size_t block =
        2 * stream + norms + 2 * stats + aligned(M * 3 * D * 2) + aligned(M * D * 2) + aligned(M * 12 * 4) + 2 * gelu;
    CU_ASSERT_EQUAL(bytes[RECOMPUTE_NONE] - bytes[RECOMPUTE_BLOCK], (L - 1) * (block - stream));
    /* Per token and layer, bf16: 16, 10 and 1 widths of 2 bytes, and 64 bytes of statistics and log-sums in the first
     * two. */
    CU_ASSERT_DOUBLE_EQUAL((double)block / (double)M, 16 * 768 * 2 + 64, 1);
    CU_ASSERT_DOUBLE_EQUAL((double)(block - norms - gelu) / (double)M, 10 * 768 * 2 + 64, 1);
    desc.training = false;
    desc.recompute = RECOMPUTE_LIGHT; /* says nothing in evaluation */
    size_t eval = vit_activation_bytes(&desc);
    desc.recompute = RECOMPUTE_NONE;
    CU_ASSERT_EQUAL(eval, vit_activation_bytes(&desc));
}

/* What a replica reserves is what vit_activation_bytes said. */
static void test_memory_is_reserved(void)
{
    struct backend *be = NULL;
    struct backend_desc ref = {.threads = 1};
    ASSERT_OK(backend_ref_open(&ref, &be));
    for (int level = 0; level < LEVELS; level++) {
        struct vit_desc desc = describe(PRE_LOGITS | DROPOUT, 3, DTYPE_BF16, DTYPE_F32);
        struct vit_rig rig;
        desc.recompute = (enum vit_recompute)level;
        rig_open(&rig, be, &desc);
        CU_ASSERT_EQUAL(vit_memory_plan(rig.vit).activations, vit_activation_bytes(&desc));
        rig_close(&rig);
    }
    be->close(be);
}

static const struct test_case cases[] = {
    {"the same bits on ref", test_ref},
    {"the same bits on the CPU", test_cpu},
    {"memory by level", test_memory},
    {"memory of a class-only last block", test_class_only_memory},
    {"memory is reserved", test_memory_is_reserved},
};
#endif
TEST_MAIN("recompute", cases)
