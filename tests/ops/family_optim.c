/* The elementwise ops over flat buffers: reduce_add, cast, scalars_reset, the global norm, AdamW and SGD. dtypes are
 * fixed. */
#include <math.h>

#include "op_case.h"

/* ---- reduce_add, cast, scalars_reset */
enum { SRC, DST, COPY_COUNT };

static const struct op_case ADD_CASES[] = {
    {"1 element", .desc.optim = {.count = 1}},
    {"1003 elements", .desc.optim = {.count = 1003}},
    {"100000 elements", .desc.optim = {.count = 100000}},
};
static const struct op_case CAST_CASES[] = {
    {"fp32 to bf16", .from = DTYPE_F32, .to = DTYPE_BF16, .desc.optim = {.count = 100003}},
    {"bf16 to fp32", .from = DTYPE_BF16, .to = DTYPE_F32, .desc.optim = {.count = 1003}},
    {"fp32 to fp32", .from = DTYPE_F32, .to = DTYPE_F32, .desc.optim = {.count = 77}},
    {"bf16 to bf16", .from = DTYPE_BF16, .to = DTYPE_BF16, .desc.optim = {.count = 77}},
};
static const struct op_case RESET_CASES[] = {{.name = "all but skipped"}};

static int add_specs(const struct op_case *c, struct tensor_spec *s)
{
    s[SRC] = (struct tensor_spec){"src", DTYPE_F32, c->desc.optim.count, FWD_IN};
    s[DST] = (struct tensor_spec){"dst", DTYPE_F32, c->desc.optim.count, FWD_IN | FWD_OUT, .limit = LIMIT_EXACT};
    return COPY_COUNT;
}

static const char *add_missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, reduce_add)
    return NULL;
}

static void add_forward(const struct op_run *r)
{
    r->be->nn.reduce_add(r->be, r->t[DST], r->t[SRC], r->c->desc.optim.count);
}

const struct op_family reduce_add_family = {
    .name = "reduce_add",
    .cases = ADD_CASES,
    .case_count = sizeof ADD_CASES / sizeof *ADD_CASES,
    .specs = add_specs,
    .missing = add_missing,
    .forward = add_forward,
};

static int cast_specs(const struct op_case *c, struct tensor_spec *s)
{
    s[SRC] = (struct tensor_spec){"src", c->from, c->desc.optim.count, FWD_IN};
    s[DST] = (struct tensor_spec){"dst", c->to, c->desc.optim.count, FWD_OUT, .limit = LIMIT_EXACT};
    return COPY_COUNT;
}

/* What rounding gets wrong: ties, overflow to infinity, infinities, denormals. */
static void cast_prepare(const struct op_case *c, void *const *t)
{
    static const float EDGES[] = {0x1.01p0f, 0x1.03p0f, -0x1.01p0f, 0x1.fffffep127f,
                                  INFINITY,  -INFINITY, 0x1p-133f,  -0.0f};
    for (int i = 0; c->from == DTYPE_F32 && i < 8; i++)
        ((float *)t[SRC])[i + 20] = EDGES[i];
}

static const char *cast_missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, cast)
    return NULL;
}

static void cast_forward(const struct op_run *r)
{
    r->be->nn.cast(r->be, r->t[SRC], r->c->from, r->t[DST], r->c->to, r->c->desc.optim.count);
}

const struct op_family cast_family = {
    .name = "cast",
    .cases = CAST_CASES,
    .case_count = sizeof CAST_CASES / sizeof *CAST_CASES,
    .specs = cast_specs,
    .missing = cast_missing,
    .prepare = cast_prepare,
    .forward = cast_forward,
};

static int reset_specs(const struct op_case *c, struct tensor_spec *s)
{
    (void)c;
    s[0] = (struct tensor_spec){"scalars", DTYPE_U8, 1, FWD_IN | FWD_OUT, FILL_SCALARS, LIMIT_EXACT, .scalars = true};
    return 1;
}

static const char *reset_missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, scalars_reset)
    return NULL;
}

static void reset_forward(const struct op_run *r)
{
    r->be->nn.scalars_reset(r->be, r->t[0]);
}

const struct op_family scalars_family = {
    .name = "scalars_reset",
    .cases = RESET_CASES,
    .case_count = 1,
    .specs = reset_specs,
    .missing = reset_missing,
    .forward = reset_forward,
};

/* ---- the global norm */
enum { GRADS, PARTIAL, NORM_SCALARS, NORM_COUNT };

static const struct op_case NORM_CASES[] = {
    {"1 element", .desc.optim = {.count = 1, .hyper.clip = 1}},
    {"under the limit", .desc.optim = {.count = 1000, .hyper.clip = 1e6f}},
    {"clipped, 3 chunks", .desc.optim = {.count = 2 * NORM_CHUNK + 77, .hyper.clip = 1}},
    {"whole chunks", .desc.optim = {.count = 2 * NORM_CHUNK, .hyper.clip = 1}},
    {"no clipping", .desc.optim = {.count = 5000}},
    {"a NaN", OPT_NONFINITE, .desc.optim = {.count = NORM_CHUNK + 5000, .hyper.clip = 1}},
};

static int64_t chunks(const struct op_case *c)
{
    return (c->desc.optim.count + NORM_CHUNK - 1) / NORM_CHUNK;
}

static int norm_specs(const struct op_case *c, struct tensor_spec *s)
{
    s[GRADS] = (struct tensor_spec){"grads", DTYPE_F32, c->desc.optim.count, FWD_IN};
    s[PARTIAL] = (struct tensor_spec){"partial", DTYPE_F64, chunks(c), FWD_OUT};
    s[NORM_SCALARS] = (struct tensor_spec){"scalars", DTYPE_U8, 1, FWD_IN | FWD_OUT, FILL_SCALARS, .scalars = true};
    return NORM_COUNT;
}

static void norm_prepare(const struct op_case *c, void *const *t)
{
    if (c->options & OPT_NONFINITE)
        ((float *)t[GRADS])[c->desc.optim.count / 2] = NAN;
}

static const char *norm_missing(const struct backend *be)
{
    ENTRY_MISSING(be, optim, sumsq_chunks)
    ENTRY_MISSING(be, optim, norm_finish)
    return NULL;
}

static void norm_forward(const struct op_run *r)
{
    const struct optim_case *o = &r->c->desc.optim;
    r->be->optim.sumsq_chunks(r->be, r->t[GRADS], o->count, r->t[PARTIAL]);
    r->be->optim.norm_finish(r->be, r->t[PARTIAL], chunks(r->c), o->hyper.clip, r->t[NORM_SCALARS]);
}

const struct op_family norm_family = {
    .name = "norm",
    .cases = NORM_CASES,
    .case_count = sizeof NORM_CASES / sizeof *NORM_CASES,
    .specs = norm_specs,
    .missing = norm_missing,
    .prepare = norm_prepare,
    .forward = norm_forward,
};

/* ---- AdamW and SGD: three segments that leave the first and last elements of the buffer alone */
enum { P, G, M, V, COMPUTE, EMA, SCALARS, UPDATE_COUNT };

#define ADAM(s) .hyper = {.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .step = s}, .ema_decay = 0.999f
#define SGD(s, n) .hyper = {.lr = 0.1f, .momentum = 0.9f, .nesterov = n, .step = s}, .ema_decay = 0.9f

static const struct op_case ADAMW_CASES[] = {
    {"first step", .desc.optim = {.count = 1000, ADAM(1)}},
    {"step 1000", .desc.optim = {.count = 50001, ADAM(1000)}},
    {"250 segments", .desc.optim = {.count = 20007, .segments = 250, ADAM(3)}},
    {"no copies", OPT_NO_COPIES, .desc.optim = {.count = 1000, ADAM(3)}},
    {"skipped", OPT_NONFINITE, .desc.optim = {.count = 1000, ADAM(3)}},
    {"first step was skipped", OPT_NONFINITE, .desc.optim = {.count = 1000, ADAM(1), .skipped = 1}},
    {"first update, 8 steps skipped", .desc.optim = {.count = 1003, ADAM(9), .skipped = 8}},
    {"update 12, 8 steps skipped", .desc.optim = {.count = 1003, ADAM(20), .skipped = 8}},
    {"update 300000", .desc.optim = {.count = 1000, ADAM(300008), .skipped = 8}},
    {"beta1 0, beta2 0.95", .desc.optim = {.count = 1000, .hyper = {.lr = 0.01f, .beta2 = 0.95f, .eps = 1e-8f, .step = 4}}},
};
static const struct op_case SGD_CASES[] = {
    {"first step", .desc.optim = {.count = 1000, SGD(1, false)}},
    {"momentum", .desc.optim = {.count = 50001, SGD(5, false)}},
    {"250 segments", .desc.optim = {.count = 20007, .segments = 250, SGD(5, false)}},
    {"nesterov", .desc.optim = {.count = 1000, SGD(5, true)}},
    {"no copies", OPT_NO_COPIES, .desc.optim = {.count = 1000, SGD(2, false)}},
    {"skipped", OPT_NONFINITE, .desc.optim = {.count = 1000, SGD(2, false)}},
    {"first update, 8 steps skipped", .desc.optim = {.count = 1003, SGD(9, false), .skipped = 8}},
};

static int update_specs(const struct op_case *c, struct tensor_spec *s)
{
    int64_t count = c->desc.optim.count;
    int updated = FWD_IN | (c->options & OPT_NONFINITE ? 0 : FWD_OUT);
    int copied = c->options & OPT_NO_COPIES ? 0 : updated;
    s[P] = (struct tensor_spec){"p", DTYPE_F32, count, updated};
    s[G] = (struct tensor_spec){"g", DTYPE_F32, count, FWD_IN};
    s[M] = (struct tensor_spec){"m", DTYPE_F32, count, updated};
    s[V] = (struct tensor_spec){"v", DTYPE_F32, count, updated, FILL_POSITIVE};
    s[COMPUTE] = (struct tensor_spec){"compute", DTYPE_BF16, count, copied};
    s[EMA] = (struct tensor_spec){"ema", DTYPE_F32, count, copied};
    s[SCALARS] = (struct tensor_spec){"scalars", DTYPE_U8, 1, FWD_IN, FILL_SCALARS, .scalars = true};
    return UPDATE_COUNT;
}

static int sgd_specs(const struct op_case *c, struct tensor_spec *s)
{
    update_specs(c, s);
    s[V].roles = 0;
    return UPDATE_COUNT;
}

static void update_prepare(const struct op_case *c, void *const *t)
{
    struct step_scalars *scalars = t[SCALARS];
    scalars->nonfinite = c->options & OPT_NONFINITE ? 1 : 0;
    scalars->skipped = c->desc.optim.skipped;
}

enum { MAX_SEGMENTS = 250 };

/* Three, or many of odd sizes; the ends of the buffer are left alone. Returns how many. */
static int segments_of(const struct optim_case *o, struct optim_segment segments[MAX_SEGMENTS])
{
    int64_t a = o->count / 3, b = o->count / 2, left = o->count - 20;
    segments[0] = (struct optim_segment){10, a, .lr_scale = 1, .weight_decay = 0.05f};
    segments[1] = (struct optim_segment){a, b, .lr_scale = 0.5f, .weight_decay = 0};
    segments[2] = (struct optim_segment){b, o->count - 10, .lr_scale = 0.75f, .weight_decay = 0.3f};
    for (int s = 0; s < o->segments; s++)
        segments[s] = (struct optim_segment){10 + left * s / o->segments, 10 + left * (s + 1) / o->segments,
                                             .lr_scale = 1 + (float)(s % 5) / 4, .weight_decay = 0.125f * (float)(s % 3)};
    return o->segments ? o->segments : 3;
}

static const char *adamw_missing(const struct backend *be)
{
    ENTRY_MISSING(be, optim, adamw)
    return NULL;
}

static const char *sgd_missing(const struct backend *be)
{
    ENTRY_MISSING(be, optim, sgd)
    return NULL;
}

static void adamw_forward(const struct op_run *r)
{
    const struct optim_case *o = &r->c->desc.optim;
    bool copies = !(r->c->options & OPT_NO_COPIES);
    struct optim_segment segments[MAX_SEGMENTS];
    int count = segments_of(o, segments);
    r->be->optim.adamw(r->be, segments, count, &o->hyper, r->t[P], r->t[G], r->t[M], r->t[V], copies ? r->t[COMPUTE] : NULL,
                       copies ? r->t[EMA] : NULL, o->ema_decay, r->t[SCALARS]);
}

static void sgd_forward(const struct op_run *r)
{
    const struct optim_case *o = &r->c->desc.optim;
    bool copies = !(r->c->options & OPT_NO_COPIES);
    struct optim_segment segments[MAX_SEGMENTS];
    int count = segments_of(o, segments);
    r->be->optim.sgd(r->be, segments, count, &o->hyper, r->t[P], r->t[G], r->t[M], copies ? r->t[COMPUTE] : NULL,
                     copies ? r->t[EMA] : NULL, o->ema_decay, r->t[SCALARS]);
}

const struct op_family adamw_family = {
    .name = "adamw",
    .cases = ADAMW_CASES,
    .case_count = sizeof ADAMW_CASES / sizeof *ADAMW_CASES,
    .specs = update_specs,
    .missing = adamw_missing,
    .prepare = update_prepare,
    .forward = adamw_forward,
};

const struct op_family sgd_family = {
    .name = "sgd",
    .cases = SGD_CASES,
    .case_count = sizeof SGD_CASES / sizeof *SGD_CASES,
    .specs = sgd_specs,
    .missing = sgd_missing,
    .prepare = update_prepare,
    .forward = sgd_forward,
};
