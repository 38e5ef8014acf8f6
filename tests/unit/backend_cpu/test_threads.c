/* Results have the same bits for any number of threads, run after run, and enqueues allocate nothing. */
#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "base/philox.h"
#include "test.h"

/* Every allocation of the process goes through here; only those made while `watching` count. */
static int allocations;
static bool watching;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void *malloc(size_t bytes)
{
    allocations += watching;
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes)
{
    allocations += watching;
    return __libc_calloc(count, bytes);
}
void *aligned_alloc(size_t align, size_t bytes)
{
    allocations += watching;
    return __libc_memalign(align, bytes);
}
#endif

enum { B = 3, N = 37, D = 72, HEADS = 3, F = 200, M = B * N, ARENA = 1 << 20 };

/* A tape of buffers from one fixed-seed filling; everything written is compared. */
struct tape {
    struct backend *be;
    char *memory;
    size_t used;
};

static void *take(struct tape *t, size_t bytes)
{
    void *p = t->memory + t->used;
    t->used += (bytes + 63) / 64 * 64;
    CU_ASSERT_FATAL(t->used <= ARENA);
    return p;
}

static void *take_filled(struct tape *t, int64_t count, enum dtype dtype)
{
    float *p = take(t, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        float value = draw_uniform(5, 9, t->used, (uint32_t)i) - 0.5f;
        if (dtype == DTYPE_BF16)
            ((bf16_t *)(void *)p)[i] = bf16_from_float(value);
        else
            p[i] = value;
    }
    return p;
}

static void run_linear(struct tape *t, enum dtype dtype)
{
    struct nn_ops *nn = &t->be->nn;
    struct linear_desc desc = {.rows = M,
                               .in = D,
                               .out = F,
                               .dtype = dtype,
                               .dtype_out = dtype,
                               .bias = true,
                               .act = ACT_GELU_ERF,
                               .input_act = ACT_GELU_TANH};
    struct op_plan *plan;
    ASSERT_OK(nn->linear_plan(t->be, &desc, &plan));
    ASSERT_OK(t->be->reserve_workspace(t->be));
    void *x = take_filled(t, M * D, dtype), *w = take_filled(t, F * D, dtype), *y = take(t, M * F * 4),
         *pre = take(t, M * F * 4);
    float *b = take_filled(t, F, DTYPE_F32), *dw = take_filled(t, F * D, DTYPE_F32), *db = take_filled(t, F, DTYPE_F32);
    void *dx = take(t, M * D * 4);
    float *dx_sum = take(t, D * 4);
    watching = true;
    nn->linear_forward(plan, &(struct linear_forward_args){.x = x, .w = w, .b = b, .y = y, .pre = pre});
    nn->linear_backward_input(plan, &(struct linear_input_args){.dy = y, .w = w, .input_pre = x, .dx = dx, .dx_sum = dx_sum});
    nn->linear_backward_weight(plan, x, y, dw, db, true);
    watching = false;
    op_plan_close(&plan);
}

static void run_attention(struct tape *t, enum dtype dtype, const struct op_random *random)
{
    struct nn_ops *nn = &t->be->nn;
    struct attention_view view = {N * 3 * D, D / HEADS, 3 * D}, o_view = {N * D, D / HEADS, D};
    struct attention_desc desc = {.batch = B,
                                  .heads = HEADS,
                                  .queries = N,
                                  .keys = N,
                                  .head_dim = D / HEADS,
                                  .dtype = dtype,
                                  .scale = 0.2f,
                                  .q = view,
                                  .k = view,
                                  .v = view,
                                  .o = o_view,
                                  .dropout = 0.2f,
                                  .purpose = 17};
    struct op_plan *plan;
    ASSERT_OK(nn->attention_plan(t->be, &desc, &plan));
    ASSERT_OK(t->be->reserve_workspace(t->be));
    size_t step = D * (dtype == DTYPE_BF16 ? 2 : 4);
    char *qkv = take_filled(t, 3 * M * D, dtype), *dqkv = take(t, 3 * M * D * 4);
    void *o = take(t, M * D * 4), *d_o = take_filled(t, M * D, dtype);
    float *lse = take(t, M * HEADS * 4);
    watching = true;
    nn->attention_forward(plan, qkv, qkv + step, qkv + 2 * step, o, lse, random);
    nn->attention_backward(plan, qkv, qkv + step, qkv + 2 * step, o, lse, d_o, dqkv, dqkv + step, dqkv + 2 * step,
                           NULL, random);
    watching = false;
    op_plan_close(&plan);
}

static void run_add_norm(struct tape *t, enum dtype dtype, const struct op_random *random)
{
    struct nn_ops *nn = &t->be->nn;
    struct add_norm_desc desc = {.batch = B,
                                 .tokens = N,
                                 .width = D,
                                 .dtype = dtype,
                                 .dtype_stream = DTYPE_F32,
                                 .eps = 1e-6f,
                                 .has_delta = true,
                                 .layer_scale = true,
                                 .dropout = 0.1f,
                                 .dropout_purpose = 18,
                                 .drop_path = 0.3f,
                                 .drop_path_purpose = 21};
    struct op_plan *plan;
    ASSERT_OK(nn->add_norm_plan(t->be, &desc, &plan));
    ASSERT_OK(t->be->reserve_workspace(t->be));
    struct add_norm_forward_args f = {.x = take_filled(t, M * D, DTYPE_F32),
                                      .delta = take_filled(t, M * D, dtype),
                                      .ls = take_filled(t, D, DTYPE_F32),
                                      .weight = take_filled(t, D, DTYPE_F32),
                                      .bias = take_filled(t, D, DTYPE_F32),
                                      .x_out = take(t, M * D * 4),
                                      .y = take(t, M * D * 4),
                                      .stats = take(t, M * 8)};
    struct add_norm_backward_args g = {.dy = take_filled(t, M * D, dtype),
                                       .x_out = f.x_out,
                                       .stats = f.stats,
                                       .ls = f.ls,
                                       .weight = f.weight,
                                       .delta = f.delta,
                                       .dx_in = take_filled(t, M * D, DTYPE_F32),
                                       .dx = take(t, M * D * 4),
                                       .ddelta = take(t, M * D * 4),
                                       .dweight = take(t, D * 4),
                                       .dbias = take(t, D * 4),
                                       .dls = take(t, D * 4),
                                       .ddelta_sum = take(t, D * 4)};
    watching = true;
    nn->add_norm_forward(plan, &f, random);
    nn->add_norm_backward(plan, &g, random);
    watching = false;
    op_plan_close(&plan);
}

static void run_embed(struct tape *t, enum dtype dtype, const struct op_random *random)
{
    struct nn_ops *nn = &t->be->nn;
    struct embed_desc desc = {.batch = B,
                              .patches = N - 1,
                              .width = D,
                              .cls_token = true,
                              .dtype = dtype,
                              .dtype_stream = DTYPE_F32,
                              .dropout = 0.1f,
                              .purpose = 16};
    struct op_plan *plan;
    ASSERT_OK(nn->embed_plan(t->be, &desc, &plan));
    ASSERT_OK(t->be->reserve_workspace(t->be));
    void *patches = take_filled(t, M * D, dtype), *x = take(t, M * D * 4), *dpatches = take(t, M * D * 4);
    float *cls = take_filled(t, D, DTYPE_F32), *pos = take_filled(t, N * D, DTYPE_F32),
          *sum = take_filled(t, D, DTYPE_F32);
    watching = true;
    nn->embed_forward(plan, patches, cls, pos, x, random);
    nn->embed_backward(plan, x, dpatches, cls, pos, sum, true, random);
    watching = false;
    op_plan_close(&plan);
}

static void run_patchify(struct tape *t, enum dtype dtype, const struct op_random *random)
{
    enum { SIDE = 48, PATCH = 12, C = 3, BYTES = B * SIDE * SIDE * C };
    static const int32_t partner[B] = {1, 0, 1};
    static const float lambda[B] = {0.3f, 1, 0.7f};
    static const struct pixel_box cutmix[B] = {{0, 0, 0, 0}, {3, 4, 40, 31}}, erase[B] = {{1, 2, 30, 47}, {0, 0, 48, 9}};
    const struct patchify_desc desc = {.batch = B, .height = SIDE, .width = SIDE, .channels = C, .patch = PATCH,
                                       .dtype = dtype, .std = {1, 1, 1}, .mixup = true, .cutmix = true,
                                       .erase = ERASE_NOISE, .erase_purpose = 9};
    const struct patchify_mix mix = {partner, lambda, cutmix, erase};
    struct op_plan *plan;
    ASSERT_OK(t->be->nn.patchify_plan(t->be, &desc, &plan));
    ASSERT_OK(t->be->reserve_workspace(t->be));
    uint8_t *images = take(t, BYTES);
    for (int i = 0; i < BYTES; i++)
        images[i] = (uint8_t)draw_u32(5, 9, 0, (uint32_t)i);
    void *patches = take(t, BYTES * 4);
    watching = true;
    t->be->nn.patchify_forward(plan, images, &mix, patches, random);
    watching = false;
    op_plan_close(&plan);
}

static void run_loss_and_update(struct tape *t)
{
    enum { CLASSES = 101, SIZE = 70001 };
    struct backend *be = t->be;
    struct loss_desc desc = {.batch = B, .classes = CLASSES, .labels = 1, .smoothing = 0.1f, .dtype_grad = DTYPE_F32};
    struct op_plan *plan;
    ASSERT_OK(be->nn.loss_plan(be, &desc, &plan));
    ASSERT_OK(be->reserve_workspace(be));
    static const int32_t ids[B] = {5, 100, 0};
    static const float ones[B] = {1, 1, 1};
    struct step_scalars *scalars = take(t, sizeof *scalars);
    struct loss_args args = {.logits = take_filled(t, B * CLASSES, DTYPE_F32),
                             .label_id = ids,
                             .label_weight = ones,
                             .row_weight = ones,
                             .grad_scale = 0.5f,
                             .dlogits = take(t, B * CLASSES * 4),
                             .row_loss = take(t, B * 4),
                             .scalars = scalars};
    float *p = take_filled(t, SIZE, DTYPE_F32);
    double *partial = take(t, 16);
    float *m = take(t, 4), *v = take(t, 4); /* updates of one element: the ranges are cut, not the values */
    struct optim_segment segment = {0, 1, 1, 0.1f};
    struct optim_hyper hyper = {.lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .step = 1};
    watching = true;
    be->nn.loss_forward_backward(plan, &args);
    be->optim.sumsq_chunks(be, p, SIZE, partial);
    be->optim.norm_finish(be, partial, 2, 1, scalars);
    be->optim.adamw(be, &segment, 1, &hyper, p, p + 1, m, v, NULL, NULL, 0, scalars);
    watching = false;
    op_plan_close(&plan);
}

/* The tape of all ops; freed by the caller. */
static char *run_all(int threads, enum dtype dtype)
{
    static const uint64_t positions[B] = {3, 1000000007, 42};
    const struct op_random random = {11, positions};
    struct backend_desc desc = {.threads = threads};
    struct tape tape = {.memory = calloc(1, 8 * ARENA)};
    void (*const ops[])(struct tape *, enum dtype, const struct op_random *) = {run_attention, run_add_norm, run_embed,
                                                                                       run_patchify};
    ASSERT_OK(backend_cpu_open(&desc, &tape.be));
    char *memory = tape.memory;
    run_linear(&tape, dtype);
    for (int i = 0; i < 4; i++) {
        tape.memory = memory + (i + 1) * (size_t)ARENA;
        tape.used = 0;
        ops[i](&tape, dtype, &random);
    }
    tape.memory = memory + 5 * (size_t)ARENA;
    tape.used = 0;
    run_loss_and_update(&tape);
    tape.be->close(tape.be);
    return memory;
}

static void same_bits_for_any_thread_count(void)
{
    static const int counts[] = {1, 2, 3, 7};
    for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        char *one = run_all(1, (enum dtype)dtype);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            char *many = run_all(counts[i], (enum dtype)dtype);
            CU_ASSERT(memcmp(one, many, 8 * (size_t)ARENA) == 0);
            free(many);
        }
        free(one);
    }
}

static void enqueues_do_not_allocate(void)
{
    free(run_all(1, DTYPE_F32)); /* a team of more is made by OpenMP, on its own account, at its first use */
    allocations = 0;
    free(run_all(1, DTYPE_F32));
    free(run_all(1, DTYPE_BF16));
    CU_ASSERT_EQUAL(allocations, 0);
}

static void every_level_agrees_with_itself(void)
{
    for (int isa = 0; isa <= (int)cpu_isa_machine(); isa++) {
        setenv("VT_CPU_ISA", cpu_isa_name((enum cpu_isa)isa), 1);
        char *one = run_all(1, DTYPE_BF16), *two = run_all(2, DTYPE_BF16);
        CU_ASSERT(memcmp(one, two, 8 * (size_t)ARENA) == 0);
        free(one);
        free(two);
    }
    unsetenv("VT_CPU_ISA");
}

static const struct test_case cases[] = {
    {"same bits for any thread count", same_bits_for_any_thread_count},
    {"enqueues do not allocate", enqueues_do_not_allocate},
    {"every level agrees with itself", every_level_agrees_with_itself},
};
TEST_MAIN("threads", cases)
