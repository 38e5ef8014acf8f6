/* Mixup, CutMix and erasing against timm's own code (tests/golden/patchify.py), in ref. */
#include "test.h"

#include "backend/backend.h"

enum { B = 6, H = 6, W = 8, C = 3, P = 2, ALL = B * H * W * C, LINE_BYTES = 1 << 15 };

static FILE *golden;
static struct backend *be;

/* The next line, which must be called `name` and have `count` values. */
static void read_row(const char *name, double *values, int count)
{
    static char line[LINE_BYTES];
    CU_ASSERT_PTR_NOT_NULL_FATAL(fgets(line, sizeof line, golden));
    char *at = line + strlen(name);
    CU_ASSERT_FATAL(strncmp(line, name, strlen(name)) == 0 && *at == ' ');
    for (int i = 0; i < count; i++)
        values[i] = strtod(at, &at);
    CU_ASSERT_FATAL(*at == '\n');
}

static void read_boxes(const char *name, struct pixel_box boxes[B])
{
    double values[4 * B];
    read_row(name, values, 4 * B);
    for (int i = 0; i < 4 * B; i++)
        ((int32_t *)boxes)[i] = (int32_t)values[i];
}

static void expect(const char *name, const uint8_t *images, enum erase_fill fill, const struct patchify_mix *mix)
{
    static float patches[ALL];
    static double expected[ALL];
    const uint64_t position[B] = {5000000000, 5000000017, 5000000034, 5000000051, 5000000068, 5000000085};
    const struct op_random random = {0x123456789ABCDEF, position};
    const struct patchify_desc desc = {.batch = B, .height = H, .width = W, .channels = C, .patch = P,
                                       .dtype = DTYPE_F32, .mean = {0.5f, 0.25f, 0.375f}, .std = {0.25f, 0.5f, 0.125f},
                                       .mixup = true, .cutmix = true, .erase = fill, .erase_purpose = 77};
    struct op_plan *plan;
    ASSERT_OK(be->nn.patchify_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    be->nn.patchify_forward(plan, images, mix, patches, &random);
    op_plan_close(&plan);
    read_row(name, expected, ALL);
    double worst = 0;
    for (int i = 0; i < ALL; i++)
        worst = fmax(worst, fabs((double)patches[i] - expected[i]));
    CU_ASSERT(worst < 2e-6); /* of values up to 5, which timm makes in fp32 */
}

static void test_as_timm(void)
{
    static double row[ALL];
    static uint8_t images[ALL];
    float lambda[B];
    struct pixel_box cutmix[B], erase[B];
    const int32_t partner[B] = {5, 4, 3, 2, 1, 0};
    read_row("images", row, ALL);
    for (int i = 0; i < ALL; i++)
        images[i] = (uint8_t)row[i];
    read_row("lambda", row, B);
    for (int i = 0; i < B; i++)
        lambda[i] = (float)row[i];
    struct patchify_mix mix = {.partner = partner, .lambda = lambda};
    expect("mixup", images, ERASE_NONE, &mix);
    read_boxes("cutmix", cutmix);
    mix.cutmix = cutmix;
    expect("both", images, ERASE_NONE, &mix);
    read_boxes("erase", erase);
    expect("zero", images, ERASE_ZERO, &(struct patchify_mix){.erase = erase});
    mix.erase = erase;
    expect("all", images, ERASE_NOISE, &mix);
}

static const struct test_case cases[] = {{"mixup, CutMix and erasing as timm", test_as_timm}};

int main(void)
{
    const struct backend_desc desc = {0};
    golden = fopen(VT_SOURCE_DIR "/tests/golden/patchify.txt", "r");
    if (!golden || backend_ref_open(&desc, &be) != VT_OK)
        return 2;
    int failed = run_tests("backend/ref patchify", cases, (int)(sizeof cases / sizeof *cases));
    be->close(be);
    fclose(golden);
    return failed;
}
