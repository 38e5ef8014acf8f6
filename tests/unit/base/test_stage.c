#include "test.h"

#include "base/stage.h"

#include <pthread.h>
#include <unistd.h>

static struct stage_view views[STAGE_ROWS];

static void names(void)
{
    for (int s = 0; s < STAGE_COUNT; s++) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(stage_name((enum stage)s));
        for (int t = 0; t < s; t++)
            CU_ASSERT(strcmp(stage_name((enum stage)s), stage_name((enum stage)t)) != 0);
    }
    CU_ASSERT_STRING_EQUAL(stage_name(STAGE_COUNT), "unknown");
}

static void silent_before_the_claim(void)
{
    CU_ASSERT_EQUAL(stage_enter(STAGE_READ), STAGE_IDLE);
    stage_set_step(3);
    CU_ASSERT_EQUAL(stage_snapshot(views, STAGE_ROWS), 0);
    char text[64] = "x";
    stage_describe(text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "");
    stage_unregister();
}

static void follows_a_thread(void)
{
    stage_register("a name that is longer than the row has room for");
    stage_register("main"); /* renames */
    CU_ASSERT_EQUAL(stage_enter(STAGE_FORWARD), STAGE_START);
    stage_set_step(12);
    enum stage left = stage_enter(STAGE_COMM);
    CU_ASSERT_EQUAL(left, STAGE_FORWARD);
    usleep(20000);
    CU_ASSERT_EQUAL_FATAL(stage_snapshot(views, STAGE_ROWS), 1);
    CU_ASSERT_STRING_EQUAL(views[0].thread, "main");
    CU_ASSERT_EQUAL(views[0].stage, STAGE_COMM);
    CU_ASSERT_EQUAL(views[0].step, 12);
    CU_ASSERT(views[0].seconds >= 0.02 && views[0].seconds < 10);
    char text[256], small[12];
    stage_describe(text, sizeof text);
    CU_ASSERT_EQUAL(strncmp(text, "main: comm ", 11), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " s (step 12)"));
    stage_describe(small, sizeof small);
    CU_ASSERT_EQUAL(strlen(small), sizeof small - 1);
    stage_unregister();
    CU_ASSERT_EQUAL(stage_snapshot(views, STAGE_ROWS), 0);
}

static pthread_barrier_t barrier;

static void *worker(void *argument)
{
    stage_register("loader");
    pthread_barrier_wait(&barrier); /* all have claimed */
    pthread_barrier_wait(&barrier); /* and were counted */
    for (int i = 0; i < 2000; i++)
        stage_enter(i % 2 ? STAGE_DECODE : STAGE_READ);
    stage_unregister();
    return argument;
}

/* More threads than rows: the board fills, the rest go without; rows are free again afterwards. */
static void fills_and_frees(void)
{
    enum { THREADS = STAGE_ROWS + 8 };
    static pthread_t threads[THREADS];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], &attributes, worker, NULL), 0);
    pthread_barrier_wait(&barrier);
    CU_ASSERT_EQUAL(stage_snapshot(views, STAGE_ROWS), STAGE_ROWS);
    CU_ASSERT_EQUAL(stage_snapshot(views, 5), 5);
    pthread_barrier_wait(&barrier);
    char text[128];
    for (int i = 0; i < 100; i++)
        stage_describe(text, sizeof text); /* reads while they write: for the thread sanitizer */
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(stage_snapshot(views, STAGE_ROWS), 0);
}

static const struct test_case cases[] = {
    {"names", names},
    {"silent before the claim", silent_before_the_claim},
    {"follows a thread", follows_a_thread},
    {"fills and frees", fills_and_frees},
};
TEST_MAIN("stage", cases)
