/* The checker itself: ref with one deliberate fault must fail in the cases that can see it, and only there. */
#include "test.h"

#include "base/philox.h"
#include "compare.h"

static struct backend *ref, *broken;
static struct nn_ops nn; /* the sound entries */
static struct optim_ops optim;

static int failures(const char *filter)
{
    struct compare_result result = ops_compare(ref, broken, filter, true);
    broken->nn = nn;
    broken->optim = optim;
    CU_ASSERT(result.passed + result.failed > 0);
    return result.failed;
}

static void test_sound(void)
{
    CU_ASSERT_EQUAL(failures("pool: "), 0);
    CU_ASSERT_EQUAL(failures("dropout: "), 0);
}

static void test_null_entry(void)
{
    broken->nn.pool_backward = NULL;
    CU_ASSERT_EQUAL(failures("pool: cls"), 4);
    broken->optim.sgd = NULL;
    CU_ASSERT_EQUAL(failures("sgd: first step"), 1);
}

static void add_slightly_wrong(struct backend *be, float *dst, const float *src, int64_t count)
{
    nn.reduce_add(be, dst, src, count);
    dst[count - 1] = nextafterf(dst[count - 1], INFINITY);
}

static void add_past_the_end(struct backend *be, float *dst, const float *src, int64_t count)
{
    nn.reduce_add(be, dst, src, count);
    dst[count] = 0;
}

static void add_spoils_input(struct backend *be, float *dst, const float *src, int64_t count)
{
    nn.reduce_add(be, dst, src, count);
    ((float *)(uintptr_t)src)[0] += 1;
}

static void test_elementwise_faults(void)
{
    broken->nn.reduce_add = add_slightly_wrong;
    CU_ASSERT_EQUAL(failures("reduce_add"), 3);
    broken->nn.reduce_add = add_past_the_end;
    CU_ASSERT_EQUAL(failures("reduce_add"), 3);
    broken->nn.reduce_add = add_spoils_input;
    CU_ASSERT_EQUAL(failures("reduce_add"), 3);
}

static void linear_never_accumulates(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                     bool accumulate)
{
    (void)accumulate;
    nn.linear_backward_weight(plan, x, dy, dw, db, false);
}

static void linear_always_accumulates(struct op_plan *plan, const void *x, const void *dy, float *dw, float *db,
                                      bool accumulate)
{
    (void)accumulate;
    nn.linear_backward_weight(plan, x, dy, dw, db, true);
}

static void linear_input_never_accumulates(struct op_plan *plan, const struct linear_input_args *args)
{
    struct linear_input_args overwriting = *args;
    overwriting.accumulate = false;
    nn.linear_backward_input(plan, &overwriting);
}

static void linear_input_sums_anew(struct op_plan *plan, const struct linear_input_args *args)
{
    struct linear_input_args overwriting = *args;
    overwriting.accumulate_sum = false;
    nn.linear_backward_input(plan, &overwriting);
}

static vt_status linear_with_other_gelu(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    struct linear_desc other = *desc;
    other.act = desc->act == ACT_GELU_ERF ? ACT_GELU_TANH : desc->act; /* they differ by 4e-4 at most */
    return nn.linear_plan(be, &other, plan);
}

static void test_linear_faults(void)
{
    broken->nn.linear_backward_weight = linear_never_accumulates;
    CU_ASSERT_EQUAL(failures("linear: odd, bias"), 2);
    broken->nn.linear_backward_weight = linear_always_accumulates;
    CU_ASSERT_EQUAL(failures("linear: odd, bias"), 2);
    broken->nn.linear_backward_input = linear_input_never_accumulates;
    CU_ASSERT_EQUAL(failures("linear: dx accumulates"), 4); /* two cases */
    broken->nn.linear_backward_input = linear_input_sums_anew;
    CU_ASSERT_EQUAL(failures("linear: dx accumulates"), 2); /* one of them has sums */
    broken->nn.linear_plan = linear_with_other_gelu;
    CU_ASSERT(failures("linear: fc1 197") >= 1); /* fp32 for certain; bf16 may hide it */
    broken->nn.linear_plan = linear_with_other_gelu;
    CU_ASSERT_EQUAL(failures("linear: fc1 tanh"), 0);
}

/* One element of the fp32 result off by 1e-3, as bf16 arithmetic would leave it. */
static void dropout_imprecise(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    nn.dropout_forward(plan, x, y, random);
    ((float *)y)[0] = bf16_to_float(bf16_from_float(((float *)y)[0] * 1.001f));
}

static void dropout_other_seed(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    struct op_random other = {random->seed + 1, random->position};
    nn.dropout_forward(plan, x, y, &other);
}

static void test_dropout_faults(void)
{
    broken->nn.dropout_forward = dropout_imprecise;
    CU_ASSERT(failures("dropout: rate 0") >= 1);
    broken->nn.dropout_forward = dropout_other_seed;
    CU_ASSERT_EQUAL(failures("dropout: rate 0.5"), 2);
}

/* Every result one unit in the last bf16 place too large: no element is far off, the rms is. */
static void pool_biased(struct op_plan *plan, const void *x, void *y)
{
    nn.pool_forward(plan, x, y);
    bf16_t *bits = y;
    for (int i = 0; i < 21; i++) /* 3 x 7 of the case */
        bits[i]++;
}

static void test_bf16_bias(void)
{
    broken->nn.pool_forward = pool_biased;
    CU_ASSERT_EQUAL(failures("pool: mean behind a class"), 2);
}

/* patchify with one thing of its mix left out or turned round. */
static void forgets_erase(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                          const struct op_random *random)
{
    struct patchify_mix less = mix ? *mix : (struct patchify_mix){0};
    less.erase = NULL;
    nn.patchify_forward(plan, images, &less, patches, random);
}

static void forgets_lambda(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                           const struct op_random *random)
{
    struct patchify_mix less = mix ? *mix : (struct patchify_mix){0};
    less.lambda = NULL;
    nn.patchify_forward(plan, images, &less, patches, random);
}

static void forgets_cutmix(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                           const struct op_random *random)
{
    struct patchify_mix less = mix ? *mix : (struct patchify_mix){0};
    less.cutmix = NULL;
    nn.patchify_forward(plan, images, &less, patches, random);
}

static vt_status other_noise(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    struct patchify_desc other = *desc;
    other.erase_purpose++;
    return nn.patchify_plan(be, &other, plan);
}

static void test_patchify_faults(void)
{
    broken->nn.patchify_forward = forgets_erase;
    CU_ASSERT_EQUAL(failures("patchify: erase 6x16x8x3 p8, zero"), 2);
    broken->nn.patchify_forward = forgets_lambda;
    CU_ASSERT_EQUAL(failures("patchify: mixup 4x16"), 2);
    broken->nn.patchify_forward = forgets_cutmix; /* rows with a box would be blended */
    CU_ASSERT_EQUAL(failures("patchify: mixup or cutmix"), 2);
    broken->nn.patchify_plan = other_noise;
    CU_ASSERT_EQUAL(failures("patchify: all 14x9x9x3"), 2);
}

static const struct test_case cases[] = {
    {"a sound backend passes", test_sound},
    {"empty entries fail", test_null_entry},
    {"one bit, one element too far, a spoiled input", test_elementwise_faults},
    {"accumulation and activation", test_linear_faults},
    {"precision and draws", test_dropout_faults},
    {"one bf16 unit of bias", test_bf16_bias},
    {"what patchify mixes and erases", test_patchify_faults},
};

int main(void)
{
    const struct backend_desc desc = {0};
    if (backend_ref_open(&desc, &ref) != VT_OK || backend_ref_open(&desc, &broken) != VT_OK)
        return 2;
    nn = broken->nn;
    optim = broken->optim;
    int failed = run_tests("op checker", cases, (int)(sizeof cases / sizeof *cases));
    broken->close(broken);
    ref->close(ref);
    return failed;
}
