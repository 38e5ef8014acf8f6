/* Memory of ref, its strict mode, arenas and the refusal of empty entries. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"

static struct backend *open_ref(bool strict)
{
    const struct backend_desc desc = {.strict = strict};
    struct backend *be = NULL;
    ASSERT_OK(backend_ref_open(&desc, &be));
    return be;
}

static float *device_floats(struct backend *be, int64_t count)
{
    void *pointer = NULL;
    ASSERT_OK(be->alloc(be, MEMORY_DEVICE, (size_t)count * sizeof(float), "test", &pointer));
    return pointer;
}

static void test_alloc_is_zeroed_aligned_counted(void)
{
    for (int strict = 0; strict < 2; strict++) {
        struct backend *be = open_ref(strict);
        float *a = device_floats(be, 1000), got[1000];
        void *host = NULL;
        ASSERT_OK(be->alloc(be, MEMORY_HOST, 100, "host", &host));
        CU_ASSERT_EQUAL((uintptr_t)a % 64, 0);
        CU_ASSERT_EQUAL((uintptr_t)host % 64, 0);
        CU_ASSERT_EQUAL(be->allocated_bytes, 4000);
        CU_ASSERT_EQUAL(be->host_memory, !strict);
        be->download(be, STREAM_COPY, got, a, sizeof got);
        for (int i = 0; i < 1000; i++)
            CU_ASSERT_EQUAL(got[i], 0);
        be->release(be, MEMORY_DEVICE, a);
        be->release(be, MEMORY_HOST, host);
        be->release(be, MEMORY_DEVICE, NULL);
        CU_ASSERT_EQUAL(be->allocated_bytes, 0);
        be->close(be);
    }
}

static void test_out_of_memory_names_the_purpose(void)
{
    struct backend *be = open_ref(true);
    void *pointer = NULL;
    ASSERT_FAILS(be->alloc(be, MEMORY_DEVICE, (size_t)1 << 60, "activations", &pointer), VT_E_MEMORY, "activations");
    be->close(be);
}

/* The signal that ends a child which runs `touch`, or 0. */
static int child_signal(void (*touch)(struct backend *, float *), struct backend *be, float *memory)
{
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        touch(be, memory);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void peek(struct backend *be, float *memory)
{
    (void)be;
    *(volatile float *)memory = 1;
}

static void copy_past_the_end(struct backend *be, float *memory)
{
    static float zeros[64];
    be->upload(be, STREAM_COMPUTE, memory + 16, zeros, 16 * sizeof(float) + 1);
}

static void use_through_ops(struct backend *be, float *memory)
{
    float host[16] = {1};
    be->upload(be, STREAM_COMPUTE, memory, host, sizeof host);
    be->nn.reduce_add(be, memory + 16, memory, 16);
    be->download(be, STREAM_COMPUTE, host, memory + 16, sizeof host);
    if (host[0] != 1)
        abort();
}

static void test_strict_kills_host_peeks(void)
{
    struct backend *strict = open_ref(true), *plain = open_ref(false);
    float *guarded = device_floats(strict, 32), *open = device_floats(plain, 32);
    CU_ASSERT_NOT_EQUAL(child_signal(peek, strict, guarded), 0);
    CU_ASSERT_NOT_EQUAL(child_signal(copy_past_the_end, strict, guarded), 0);
    CU_ASSERT_EQUAL(child_signal(use_through_ops, strict, guarded), 0);
    CU_ASSERT_EQUAL(child_signal(peek, plain, open), 0);
    strict->release(strict, MEMORY_DEVICE, guarded);
    plain->release(plain, MEMORY_DEVICE, open);
    strict->close(strict);
    plain->close(plain);
}

struct copier {
    struct backend *be;
    float *device;
    int wrong;
};

static void *copy_many(void *context)
{
    struct copier *c = context;
    for (int i = 0; i < 2000; i++) {
        float out[16] = {(float)i}, in[16] = {0};
        c->be->upload(c->be, STREAM_COMM, c->device, out, sizeof out);
        c->be->download(c->be, STREAM_COMM, in, c->device, sizeof in);
        c->wrong += in[0] != (float)i;
    }
    return NULL;
}

/* `comm` copies on its own thread while ops run: one's end must not seal the other's memory. */
static void test_strict_with_two_threads(void)
{
    struct backend *be = open_ref(true);
    struct copier copier = {.be = be, .device = device_floats(be, 16)};
    float *a = device_floats(be, 1024), *b = device_floats(be, 1024);
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, copy_many, &copier), 0);
    for (int i = 0; i < 2000; i++)
        be->nn.reduce_add(be, a, b, 1024);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(copier.wrong, 0);
    be->close(be); /* frees what was not released */
}

static void test_arena(void)
{
    for (int strict = 0; strict < 2; strict++) {
        struct backend *be = open_ref(strict);
        struct device_arena arena = {0};
        size_t a = device_arena_reserve(&arena, 10), b = device_arena_reserve(&arena, 64),
               c = device_arena_reserve(&arena, 4);
        CU_ASSERT_EQUAL(a, 0);
        CU_ASSERT_EQUAL(b, 64);
        CU_ASSERT_EQUAL(c, 128);
        ASSERT_OK(device_arena_commit(&arena, be, "arena"));
        CU_ASSERT_EQUAL(be->allocated_bytes, 192);
        CU_ASSERT_EQUAL((char *)device_arena_at(&arena, c) - (char *)device_arena_at(&arena, a), 128);
        float value = 5;
        be->download(be, STREAM_COMPUTE, &value, device_arena_at(&arena, c), sizeof value);
        CU_ASSERT(strict ? isnan(value) : value == 0);
        device_arena_close(&arena, be);
        device_arena_close(&arena, be);
        CU_ASSERT_EQUAL(be->allocated_bytes, 0);

        struct device_arena empty = {0};
        ASSERT_OK(device_arena_commit(&empty, be, "nothing"));
        device_arena_close(&empty, be);
        be->close(be);
    }
}

static void test_missing_entries_are_named(void)
{
    struct backend *be = open_ref(false);
    CU_ASSERT_PTR_NULL(ops_missing(be));
    CU_ASSERT_PTR_NULL(be->conv.conv_plan);
    be->optim.sgd = NULL;
    CU_ASSERT_STRING_EQUAL(ops_missing(be), "optim.sgd");
    be->nn.cast = NULL;
    CU_ASSERT_STRING_EQUAL(ops_missing(be), "nn.cast");
    be->close(be);
}

static void test_plans_refuse_dtypes(void)
{
    struct backend *be = open_ref(false);
    struct op_plan *plan = NULL;
    const struct linear_desc desc = {.rows = 1, .in = 1, .out = 1, .dtype = DTYPE_F16, .dtype_out = DTYPE_F16};
    ASSERT_FAILS(be->nn.linear_plan(be, &desc, &plan), VT_E_UNSUPPORTED, "linear in fp16");
    op_plan_close(&plan);
    op_plan_close(NULL);
    be->close(be);
}

static const struct test_case cases[] = {
    {"alloc: zeroed, aligned, counted", test_alloc_is_zeroed_aligned_counted},
    {"out of memory names the purpose", test_out_of_memory_names_the_purpose},
    {"strict mode kills host peeks", test_strict_kills_host_peeks},
    {"strict mode with two threads", test_strict_with_two_threads},
    {"arena", test_arena},
    {"missing entries are named", test_missing_entries_are_named},
    {"plans refuse dtypes", test_plans_refuse_dtypes},
};
TEST_MAIN("backend/ref memory", cases)
