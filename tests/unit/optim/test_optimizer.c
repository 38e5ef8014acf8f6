#include "backend/backend.h"
#include "optim/optimizer.h"
#include "test.h"

static struct backend *be;
static struct param_table table;

static void add_row(const char *name, int64_t rows, int64_t columns, bool decay)
{
    struct param row = {.rank = columns ? 2 : 1, .dim = {rows, columns}, .decay = decay};
    snprintf(row.name, sizeof row.name, "%s", name);
    param_table_add(&table, &row);
}

/* Names as timm's, sizes that leave gaps behind the rows, more than one norm chunk. */
static void make_table(void)
{
    add_row("patch_embed.proj.weight", 33, 5, true);
    add_row("patch_embed.proj.bias", 33, 0, false);
    add_row("blocks.0.attn.qkv.weight", 300, 257, true);
    add_row("blocks.0.attn.qkv.bias", 300, 0, false);
    add_row("blocks.1.attn.qkv.weight", 40, 9, true);
    add_row("head.weight", 10, 70, true);
    add_row("head.bias", 10, 0, false);
}

static const struct optimizer_rule lr_rules[] = {
    {"blocks.*", 0.5f}, {"blocks.1.*", 0.25f}, {"patch_embed.proj.bias", 0}};
static const struct optimizer_rule decay_rules[] = {{"head.bias", 2}, {"patch*.weight", 0}};

static struct optimizer_desc rule_desc(void)
{
    return (struct optimizer_desc){.kind = OPTIMIZER_ADAMW, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f,
                                   .weight_decay = 0.1f, .decay_rules = decay_rules, .decay_rule_count = 2,
                                   .lr_rules = lr_rules, .lr_rule_count = 3, .clip = 1, .ema_decay = 0.9f,
                                   .table = &table, .end = table.total};
}

/* What the rules mean, written out by hand for this table. */
static void expected_of_row(int row, float *lr, float *decay)
{
    static const float lrs[] = {1, 0, 0.5f, 0.5f, 0.25f, 1, 1}, decays[] = {0, 0, 0.1f, 0, 0.1f, 0.1f, 0.2f};
    *lr = lrs[row];
    *decay = decays[row];
}

static void segments_tile_the_range(void)
{
    const struct { int64_t begin, end; } ranges[] = {{0, table.total}, {0, 0}, {64, 128}, {192, 40000 / 64 * 64},
                                                     {77440, table.total}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct optimizer_desc desc = rule_desc();
        struct optimizer *opt = NULL;
        const struct optim_segment *segments;
        desc.begin = ranges[i].begin, desc.end = ranges[i].end;
        ASSERT_OK(optimizer_open(&desc, be, &opt));
        int count = optimizer_segments(opt, &segments);
        int64_t at = desc.begin;
        for (int s = 0; s < count; s++) {
            CU_ASSERT_EQUAL(segments[s].begin, at);
            CU_ASSERT(segments[s].end > segments[s].begin);
            at = segments[s].end;
        }
        CU_ASSERT_EQUAL(at, desc.end);
        optimizer_close(&opt);
    }
}

static void rules_reach_their_rows(void)
{
    struct optimizer_desc desc = rule_desc();
    struct optimizer *opt = NULL;
    const struct optim_segment *segments;
    ASSERT_OK(optimizer_open(&desc, be, &opt));
    int count = optimizer_segments(opt, &segments);
    for (int row = 0; row < table.count; row++)
        for (int s = 0; s < count; s++)
            if (segments[s].begin <= table.rows[row].offset && table.rows[row].offset < segments[s].end) {
                float lr, decay;
                expected_of_row(row, &lr, &decay);
                CU_ASSERT_EQUAL(segments[s].lr_scale, lr);
                CU_ASSERT_EQUAL(segments[s].weight_decay, decay);
                CU_ASSERT(table.rows[row].offset + table.rows[row].count <= segments[s].end);
            }
    optimizer_close(&opt);
}

static void equal_neighbours_merge(void)
{
    struct optimizer_desc desc = rule_desc();
    struct optimizer *opt = NULL;
    const struct optim_segment *segments;
    desc.decay_rule_count = desc.lr_rule_count = 0;
    desc.weight_decay = 0;
    ASSERT_OK(optimizer_open(&desc, be, &opt));
    CU_ASSERT_EQUAL(optimizer_segments(opt, &segments), 1);
    optimizer_close(&opt);
}

static void bad_settings_are_named(void)
{
    struct optimizer *opt = NULL;
    struct optimizer_desc desc = rule_desc();
    const struct optimizer_rule typo = {"block.*", 1}, negative = {"blocks.*", -1};
    desc.lr_rules = &typo, desc.lr_rule_count = 1;
    ASSERT_FAILS(optimizer_open(&desc, be, &opt), VT_E_USAGE, "'block.*' matches none of the 7 parameters");
    desc.lr_rules = &negative;
    ASSERT_FAILS(optimizer_open(&desc, be, &opt), VT_E_USAGE, "'blocks.*' is -1, expected >= 0");
    desc = rule_desc();
    desc.eps = 0;
    ASSERT_FAILS(optimizer_open(&desc, be, &opt), VT_E_USAGE, "optim.eps is 0");
    desc = rule_desc();
    desc.weight_decay = NAN;
    ASSERT_FAILS(optimizer_open(&desc, be, &opt), VT_E_USAGE, "weight_decay");
    CU_ASSERT_PTR_NULL(opt);
}

struct flat { /* one set of device buffers */
    float *p, *g, *m, *v, *ema;
    struct step_scalars *scalars;
};

static float *device_floats(void)
{
    void *pointer = NULL;
    ASSERT_OK(be->alloc(be, MEMORY_DEVICE, (size_t)table.total * sizeof(float), "test", &pointer));
    return pointer;
}

static void fill_rows(float *values, double scale, int seed)
{
    memset(values, 0, (size_t)table.total * sizeof *values);
    for (int row = 0; row < table.count; row++)
        for (int64_t i = 0; i < table.rows[row].count; i++)
            values[table.rows[row].offset + i] = (float)(scale * sin(0.37 * (double)(i + 1) * (seed + row)));
}

static void flat_open(struct flat *flat, const float *p)
{
    void *scalars = NULL;
    *flat = (struct flat){device_floats(), device_floats(), device_floats(), device_floats(), device_floats(), NULL};
    ASSERT_OK(be->alloc(be, MEMORY_DEVICE, sizeof *flat->scalars, "test", &scalars));
    flat->scalars = scalars;
    be->upload(be, STREAM_COMPUTE, flat->p, p, (size_t)table.total * sizeof *p);
    be->upload(be, STREAM_COMPUTE, flat->ema, p, (size_t)table.total * sizeof *p);
}

static void flat_close(struct flat *flat)
{
    float *all[] = {flat->p, flat->g, flat->m, flat->v, flat->ema};
    for (int i = 0; i < 5; i++)
        be->release(be, MEMORY_DEVICE, all[i]);
    be->release(be, MEMORY_DEVICE, flat->scalars);
}

/* Algorithm 2 of "Decoupled weight decay regularization", in double, row by row; frozen rows count for nothing. */
struct reference {
    double *p, *m, *v, *ema;
};

static void reference_step(struct reference *ref, const float *g, double lr0, int64_t t)
{
    double sumsq = 0, lr_scale, decay;
    float a, b;
    for (int row = 0; row < table.count; row++) {
        expected_of_row(row, &a, &b);
        for (int64_t i = table.rows[row].offset; a > 0 && i < table.rows[row].offset + table.rows[row].count; i++)
            sumsq += (double)g[i] * g[i];
    }
    double clip = fmin(1, 1.0 / (sqrt(sumsq) + 1e-6));
    for (int row = 0; row < table.count; row++) {
        expected_of_row(row, &a, &b);
        lr_scale = a, decay = b;
        for (int64_t i = table.rows[row].offset; i < table.rows[row].offset + table.rows[row].count; i++) {
            double gi = a > 0 ? g[i] * clip : 0, lr = lr0 * lr_scale;
            ref->p[i] -= lr * decay * ref->p[i];
            ref->m[i] = 0.9f * ref->m[i] + (1 - 0.9f) * gi;
            ref->v[i] = 0.99f * ref->v[i] + (1 - 0.99f) * gi * gi;
            double mhat = ref->m[i] / (1 - pow(0.9f, (double)t)), vhat = ref->v[i] / (1 - pow(0.99f, (double)t));
            ref->p[i] -= lr * mhat / (sqrt(vhat) + 1e-8);
            ref->ema[i] += (1 - 0.9f) * (ref->p[i] - ref->ema[i]);
        }
    }
}

static void run_steps(const struct flat *flat, const int64_t *cuts, int parts, int steps, const float *g)
{
    struct optimizer_buffers buffers = {
        .params = flat->p, .grads = flat->g, .m = flat->m, .v = flat->v, .ema = flat->ema};
    for (int part = 0; part < parts; part++) {
        struct optimizer_desc desc = rule_desc();
        struct optimizer *opt = NULL;
        desc.begin = cuts[part], desc.end = cuts[part + 1];
        ASSERT_OK(optimizer_open(&desc, be, &opt));
        for (int t = 1; t <= steps; t++) {
            be->upload(be, STREAM_COMPUTE, flat->g, g, (size_t)table.total * sizeof *g);
            be->nn.scalars_reset(be, flat->scalars);
            optimizer_step(opt, &buffers, 0.01 * t, t, flat->scalars);
        }
        ASSERT_OK(be->synchronise(be));
        optimizer_close(&opt);
    }
}

static void shards_equal_the_whole(void)
{
    size_t n = (size_t)table.total, bytes = n * sizeof(float);
    float *p = malloc(bytes), *g = malloc(bytes), *whole = malloc(bytes), *parts = malloc(bytes);
    struct flat a, b;
    const int64_t one[] = {0, table.total}, four[] = {0, 64, 38592, 77440, table.total};
    struct reference ref = {calloc(n, 8), calloc(n, 8), calloc(n, 8), calloc(n, 8)};
    fill_rows(p, 1, 1);
    fill_rows(g, 0.1, 5);
    for (size_t i = 0; i < n; i++)
        ref.p[i] = ref.ema[i] = p[i];
    flat_open(&a, p);
    flat_open(&b, p);
    run_steps(&a, one, 1, 3, g);
    run_steps(&b, four, 4, 3, g);
    for (int t = 1; t <= 3; t++)
        reference_step(&ref, g, 0.01 * t, t);
    float *const pairs[][2] = {{a.p, b.p}, {a.m, b.m}, {a.v, b.v}, {a.ema, b.ema}};
    double *const expected[] = {ref.p, ref.m, ref.v, ref.ema};
    for (int k = 0; k < 4; k++) {
        double worst = 0;
        be->download(be, STREAM_COMPUTE, whole, pairs[k][0], bytes);
        be->download(be, STREAM_COMPUTE, parts, pairs[k][1], bytes);
        ASSERT_OK(be->synchronise(be));
        CU_ASSERT_EQUAL(memcmp(whole, parts, bytes), 0);
        for (size_t i = 0; i < n; i++)
            worst = fmax(worst, fabs(whole[i] - expected[k][i]));
        CU_ASSERT(worst < 1e-6); /* three roundings of values near 1 */
    }
    flat_close(&a);
    flat_close(&b);
    free(p), free(g), free(whole), free(parts);
    free(ref.p), free(ref.m), free(ref.v), free(ref.ema);
}

static void gaps_stay_zero_and_frozen_rows_stay(void)
{
    size_t bytes = (size_t)table.total * sizeof(float);
    float *p = malloc(bytes), *g = malloc(bytes), *after = malloc(bytes);
    const int64_t one[] = {0, table.total};
    struct flat flat;
    fill_rows(p, 1, 1);
    fill_rows(g, 0.1, 5);
    flat_open(&flat, p);
    run_steps(&flat, one, 1, 5, g);
    be->download(be, STREAM_COMPUTE, after, flat.p, bytes);
    ASSERT_OK(be->synchronise(be));
    for (int row = 0; row < table.count; row++) {
        int64_t end = row + 1 < table.count ? table.rows[row + 1].offset : table.total;
        for (int64_t i = table.rows[row].offset + table.rows[row].count; i < end; i++)
            CU_ASSERT_FATAL(after[i] == 0);
    }
    const struct param *frozen = &table.rows[1], *live = &table.rows[2];
    CU_ASSERT_EQUAL(memcmp(after + frozen->offset, p + frozen->offset, (size_t)frozen->count * 4), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(after + live->offset, p + live->offset, (size_t)live->count * 4), 0);
    flat_close(&flat);
    free(p), free(g), free(after);
}

static void nonfinite_gradients_change_nothing(void)
{
    size_t bytes = (size_t)table.total * sizeof(float);
    float *p = malloc(bytes), *g = malloc(bytes), *after = malloc(bytes);
    const int64_t one[] = {0, table.total};
    struct step_scalars scalars;
    struct flat flat;
    fill_rows(p, 1, 1);
    fill_rows(g, 0.1, 5);
    g[table.rows[4].offset + 3] = INFINITY;
    flat_open(&flat, p);
    run_steps(&flat, one, 1, 2, g);
    be->download(be, STREAM_COMPUTE, after, flat.p, bytes);
    be->download(be, STREAM_COMPUTE, &scalars, flat.scalars, sizeof scalars);
    ASSERT_OK(be->synchronise(be));
    CU_ASSERT_EQUAL(memcmp(after, p, bytes), 0);
    CU_ASSERT_EQUAL(scalars.nonfinite, 1);
    CU_ASSERT_EQUAL(scalars.skipped, 2);
    flat_close(&flat);
    free(p), free(g), free(after);
}

static void state_counts(void)
{
    struct optimizer_desc desc = rule_desc();
    CU_ASSERT_EQUAL(optimizer_state_count(&desc), 3);
    desc.ema_decay = 0;
    CU_ASSERT_EQUAL(optimizer_state_count(&desc), 2);
    desc.kind = OPTIMIZER_SGD;
    CU_ASSERT_EQUAL(optimizer_state_count(&desc), 1);
}

static const struct test_case cases[] = {
    {"segments tile the range", segments_tile_the_range},
    {"rules reach their rows, the last match wins", rules_reach_their_rows},
    {"equal neighbours merge", equal_neighbours_merge},
    {"bad settings are named", bad_settings_are_named},
    {"shards equal the whole and the paper", shards_equal_the_whole},
    {"gaps stay zero, frozen rows stay", gaps_stay_zero_and_frozen_rows_stay},
    {"non-finite gradients change nothing", nonfinite_gradients_change_nothing},
    {"state counts", state_counts},
};

int main(void)
{
    struct backend_desc desc = {.threads = 1, .strict = true};
    if (backend_ref_open(&desc, &be) != VT_OK)
        return 2;
    make_table();
    int failed = run_tests("optimizer", cases, (int)(sizeof cases / sizeof *cases));
    param_table_close(&table);
    be->close(be);
    return failed;
}
