/* Skipped (non-finite) steps leave no trace but their count: parameters, state and EMA get the bits of the run without
 * them, as under torch's GradScaler, which does not call optimizer.step then; also when the run is cut off at any step and
 * goes on from what a checkpoint keeps. */
#include "backend/backend.h"
#include "optim/optimizer.h"
#include "test.h"

enum { COUNT = 3 * PARAM_ALIGN, TAKEN = 5, BUFFERS = 4 };

static struct backend *be;
static struct param_table table;

struct run { /* device */
    float *grads, *state[BUFFERS]; /* params, m, v, ema */
    struct step_scalars *scalars;
};

struct saved { /* host: what a checkpoint keeps */
    float state[BUFFERS][COUNT];
    uint32_t skipped;
};

static void *device_alloc(size_t bytes)
{
    void *memory = NULL;
    ASSERT_OK(be->alloc(be, MEMORY_DEVICE, bytes, "test", &memory));
    return memory;
}

static struct run run_open(const struct saved *from)
{
    const struct step_scalars scalars = {.skipped = from->skipped};
    struct run run = {.grads = device_alloc(COUNT * sizeof(float)), .scalars = device_alloc(sizeof *run.scalars)};
    be->upload(be, STREAM_COMPUTE, run.scalars, &scalars, sizeof scalars);
    for (int i = 0; i < BUFFERS; i++) {
        run.state[i] = device_alloc(COUNT * sizeof(float));
        be->upload(be, STREAM_COMPUTE, run.state[i], from->state[i], COUNT * sizeof(float));
    }
    ASSERT_OK(be->synchronise(be));
    return run;
}

/* Into *saved; the run is over. */
static void run_save(struct run *run, struct saved *saved)
{
    struct step_scalars scalars;
    be->download(be, STREAM_COMPUTE, &scalars, run->scalars, sizeof scalars);
    for (int i = 0; i < BUFFERS; i++)
        be->download(be, STREAM_COMPUTE, saved->state[i], run->state[i], COUNT * sizeof(float));
    ASSERT_OK(be->synchronise(be));
    saved->skipped = scalars.skipped;
    for (int i = 0; i < BUFFERS; i++)
        be->release(be, MEMORY_DEVICE, run->state[i]);
    be->release(be, MEMORY_DEVICE, run->grads);
    be->release(be, MEMORY_DEVICE, run->scalars);
}

static struct saved start(void)
{
    struct saved saved = {.skipped = 0};
    for (int row = 0; row < table.count; row++)
        for (int64_t i = 0; i < table.rows[row].count; i++)
            saved.state[0][table.rows[row].offset + i] = (float)sin(0.37 * (double)(i + 1) * (row + 1));
    memcpy(saved.state[3], saved.state[0], sizeof saved.state[0]);
    return saved;
}

static int taken_before(const char *plan, int step)
{
    int taken = 0;
    for (int i = 0; i < step; i++)
        taken += plan[i] == 'x';
    return taken;
}

/* Gradients and rate go by the steps taken, so that runs can be compared; a skipped step has one NaN. */
static void run_step(const struct run *run, struct optimizer *opt, const char *plan, int step)
{
    const struct optimizer_buffers buffers = {.params = run->state[0], .grads = run->grads, .m = run->state[1],
                                              .v = run->state[2], .ema = run->state[3]};
    float grads[COUNT] = {0};
    int taken = taken_before(plan, step);
    for (int row = 0; row < table.count; row++)
        for (int64_t i = 0; i < table.rows[row].count; i++)
            grads[table.rows[row].offset + i] = (float)(taken * cos(0.11 * (double)(i + 1) * (row + taken)));
    if (plan[step - 1] == '-')
        grads[step] = NAN;
    be->upload(be, STREAM_COMPUTE, run->grads, grads, sizeof grads);
    be->nn.scalars_reset(be, run->scalars);
    optimizer_step(opt, &buffers, 0.01 * taken, step, run->scalars);
    ASSERT_OK(be->synchronise(be));
}

/* Steps after `done` up to `last` of a plan: 'x' is taken, '-' is skipped. */
static void go_on(enum optimizer_kind kind, const char *plan, int done, int last, struct saved *saved)
{
    const struct optimizer_desc desc = {.kind = kind, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .momentum = 0.9f,
                                        .weight_decay = 0.1f, .clip = 1, .ema_decay = 0.9f, .table = &table, .end = COUNT};
    struct optimizer *opt = NULL;
    struct run run = run_open(saved);
    ASSERT_OK(optimizer_open(&desc, be, &opt));
    for (int step = done + 1; step <= last; step++)
        run_step(&run, opt, plan, step);
    optimizer_close(&opt);
    run_save(&run, saved);
}

static void check_plans(enum optimizer_kind kind)
{
    static const char *const plans[] = {"xxxxx", "xx-xxx", "-xxxxx", "--x-xx--xx-"};
    struct saved straight = start();
    go_on(kind, "xxxxx", 0, TAKEN, &straight);
    CU_ASSERT_NOT_EQUAL(straight.state[0][0], start().state[0][0]);
    for (size_t k = 0; k < sizeof plans / sizeof *plans; k++) {
        int steps = (int)strlen(plans[k]);
        CU_ASSERT_EQUAL_FATAL(taken_before(plans[k], steps), TAKEN);
        for (int cut = 0; cut <= steps; cut++) {
            struct saved saved = start();
            go_on(kind, plans[k], 0, cut, &saved);
            CU_ASSERT_EQUAL(saved.skipped, (uint32_t)(cut - taken_before(plans[k], cut)));
            go_on(kind, plans[k], cut, steps, &saved);
            CU_ASSERT_EQUAL(saved.skipped, (uint32_t)(steps - TAKEN));
            CU_ASSERT_EQUAL(memcmp(saved.state, straight.state, sizeof saved.state), 0);
        }
    }
}

static void adamw(void) { check_plans(OPTIMIZER_ADAMW); }
static void sgd(void) { check_plans(OPTIMIZER_SGD); }

static const struct test_case cases[] = {{"adamw", adamw}, {"sgd", sgd}};

int main(void)
{
    struct backend_desc desc = {.threads = 1, .strict = true};
    struct param weight = {.name = "weight", .rank = 2, .dim = {9, 13}, .decay = true};
    struct param bias = {.name = "bias", .rank = 1, .dim = {9}};
    if (backend_ref_open(&desc, &be) != VT_OK)
        return 2;
    param_table_add(&table, &weight);
    param_table_add(&table, &bias);
    int failed = table.total != COUNT || run_tests("skipped steps", cases, (int)(sizeof cases / sizeof *cases));
    param_table_close(&table);
    be->close(be);
    return failed;
}
