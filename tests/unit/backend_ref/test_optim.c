/* AdamW, SGD and clipping against ten steps of PyTorch (tests/golden/optim.py), and the rules around them. */
#include "test.h"

#include "backend/backend.h"

enum { COUNT = 25, SPLIT = 16, STEPS = 10, LINE_BYTES = 4096 };

static FILE *golden;

static void open_golden(void)
{
    golden = fopen(VT_SOURCE_DIR "/tests/golden/optim.txt", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(golden);
}

/* Read the numbers of the next line, which must be called `name`. */
static void read_row(const char *name, double *values, int count)
{
    static char line[LINE_BYTES];
    CU_ASSERT_PTR_NOT_NULL_FATAL(fgets(line, sizeof line, golden));
    char *at = line + strlen(name);
    CU_ASSERT_FATAL(strncmp(line, name, strlen(name)) == 0 && *at == ' ');
    for (int i = 0; i < count; i++)
        values[i] = strtod(at, &at);
}

static void find_block(const char *name)
{
    char line[LINE_BYTES], start[64];
    long place = 0;
    snprintf(start, sizeof start, "%s.start ", name);
    rewind(golden);
    while (fgets(line, sizeof line, golden) && strncmp(line, start, strlen(start)) != 0)
        place = ftell(golden);
    fseek(golden, place, SEEK_SET);
}

struct state {
    float p[COUNT], g[COUNT], m[COUNT], v[COUNT], ema[COUNT];
    bf16_t compute[COUNT];
    double partial[1];
    struct step_scalars scalars;
};

static void compare_parameters(const struct state *s, const char *row)
{
    double expected[COUNT];
    read_row(row, expected, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)s->p[i], expected[i], 1e-6 * (1 + fabs(expected[i])));
        CU_ASSERT_EQUAL(s->compute[i], bf16_from_float(s->p[i]));
    }
}

static void follow(const char *name, struct optim_hyper hyper, bool adam)
{
    const struct optim_segment segments[] = {{0, SPLIT, 1.0f, 0.05f}, {SPLIT, COUNT, 0.5f, 0}};
    const struct backend_desc desc = {0};
    struct backend *be;
    struct state s = {0};
    char row[64];
    double values[COUNT], norm;
    ASSERT_OK(backend_ref_open(&desc, &be));
    open_golden();
    find_block(name);
    snprintf(row, sizeof row, "%s.start", name);
    read_row(row, values, COUNT);
    for (int i = 0; i < COUNT; i++)
        s.p[i] = (float)values[i];
    for (hyper.step = 1; hyper.step <= STEPS; hyper.step++) {
        snprintf(row, sizeof row, "%s.grad", name);
        read_row(row, values, COUNT);
        for (int i = 0; i < COUNT; i++)
            s.g[i] = (float)values[i];
        be->optim.sumsq_chunks(be, s.g, COUNT, s.partial);
        be->optim.norm_finish(be, s.partial, 1, hyper.clip, &s.scalars);
        snprintf(row, sizeof row, "%s.norm", name);
        read_row(row, &norm, 1);
        CU_ASSERT_DOUBLE_EQUAL((double)s.scalars.grad_norm, norm, 1e-6 * norm);
        if (adam)
            be->optim.adamw(be, segments, 2, &hyper, s.p, s.g, s.m, s.v, s.compute, NULL, 0, &s.scalars);
        else
            be->optim.sgd(be, segments, 2, &hyper, s.p, s.g, s.m, s.compute, NULL, 0, &s.scalars);
        snprintf(row, sizeof row, "%s.param", name);
        compare_parameters(&s, row);
    }
    fclose(golden);
    be->close(be);
}

static void test_torch(void)
{
    follow("adamw", (struct optim_hyper){.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .clip = 1}, true);
    follow("adamw_noclip", (struct optim_hyper){.lr = 0.003f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-6f}, true);
    follow("sgd", (struct optim_hyper){.lr = 0.1f, .momentum = 0.9f, .clip = 1}, false);
    follow("nesterov", (struct optim_hyper){.lr = 0.1f, .momentum = 0.9f, .nesterov = true, .clip = 1}, false);
    follow("plain_sgd", (struct optim_hyper){.lr = 0.1f}, false);
}

static struct backend *open_ref(void)
{
    const struct backend_desc desc = {0};
    struct backend *be = NULL;
    ASSERT_OK(backend_ref_open(&desc, &be));
    return be;
}

static void test_nonfinite_is_skipped_and_counted(void)
{
    struct backend *be = open_ref();
    const struct optim_segment whole = {0, COUNT, 1, 0.1f};
    const struct optim_hyper hyper = {.lr = 1, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .step = 1, .clip = 1};
    struct state s = {.p = {1, 2, 3}, .ema = {4}}, before = s;
    s.g[7] = INFINITY;
    s.scalars.skipped = 2;
    be->optim.sumsq_chunks(be, s.g, COUNT, s.partial);
    be->optim.norm_finish(be, s.partial, 1, hyper.clip, &s.scalars);
    CU_ASSERT_EQUAL(s.scalars.nonfinite, 1);
    CU_ASSERT_EQUAL(s.scalars.skipped, 3);
    be->optim.adamw(be, &whole, 1, &hyper, s.p, s.g, s.m, s.v, s.compute, s.ema, 0.9f, &s.scalars);
    be->optim.sgd(be, &whole, 1, &hyper, s.p, s.g, s.m, s.compute, s.ema, 0.9f, &s.scalars);
    CU_ASSERT(memcmp(s.p, before.p, sizeof s.p) == 0 && memcmp(s.m, before.m, sizeof s.m) == 0);
    CU_ASSERT(memcmp(s.ema, before.ema, sizeof s.ema) == 0 && memcmp(s.compute, before.compute, sizeof s.compute) == 0);

    be->nn.scalars_reset(be, &s.scalars);
    CU_ASSERT_EQUAL(s.scalars.nonfinite, 0);
    CU_ASSERT_EQUAL(s.scalars.skipped, 3);
    s.g[7] = 0.5f;
    be->optim.sumsq_chunks(be, s.g, COUNT, s.partial);
    be->optim.norm_finish(be, s.partial, 1, hyper.clip, &s.scalars);
    CU_ASSERT_EQUAL(s.scalars.nonfinite, 0);
    CU_ASSERT_EQUAL(s.scalars.skipped, 3);
    CU_ASSERT_EQUAL(s.scalars.clip_factor, 1);
    be->close(be);
}

static void test_ema(void)
{
    struct backend *be = open_ref();
    const struct optim_segment whole = {0, 2, 1, 0};
    const struct optim_hyper hyper = {.lr = 1, .step = 1};
    struct state s = {.p = {3, -1}, .g = {1, 1}, .ema = {10, 0.5f}, .scalars.clip_factor = 0.5f};
    be->optim.sgd(be, &whole, 1, &hyper, s.p, s.g, s.m, NULL, s.ema, 0.75f, &s.scalars);
    CU_ASSERT_EQUAL(s.p[0], 2.5f);
    CU_ASSERT_EQUAL(s.ema[0], 10 + 0.25f * (2.5f - 10)); /* towards the new p, not the old */
    CU_ASSERT_EQUAL(s.ema[1], 0.5f + 0.25f * (-1.5f - 0.5f));
    be->close(be);
}

static void test_norm_chunks(void)
{
    struct backend *be = open_ref();
    int64_t count = 2 * NORM_CHUNK + 3;
    float *g = calloc((size_t)count, sizeof *g);
    double partial[4] = {-1, -1, -1, -1};
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    g[0] = 1;
    g[NORM_CHUNK - 1] = 2;
    g[NORM_CHUNK] = 3;
    g[count - 1] = 4;
    be->optim.sumsq_chunks(be, g, count, partial);
    CU_ASSERT_EQUAL(partial[0], 5);
    CU_ASSERT_EQUAL(partial[1], 9);
    CU_ASSERT_EQUAL(partial[2], 16);
    CU_ASSERT_EQUAL(partial[3], -1);
    free(g);
    be->close(be);
}

static const struct test_case cases[] = {
    {"ten steps of torch", test_torch},
    {"a non-finite step is skipped and counted", test_nonfinite_is_skipped_and_counted},
    {"the average follows the new weights", test_ema},
    {"norm chunks", test_norm_chunks},
};
TEST_MAIN("backend/ref optim", cases)
