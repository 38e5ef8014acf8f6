#include "test.h"

#include <pthread.h>

static vt_status inner(int fail)
{
    return fail ? VT_FAIL(VT_E_FORMAT, "x.tar: bad magic %d", 7) : VT_OK;
}

static vt_status relays(int fail)
{
    VT_TRY(inner(fail));
    return VT_OK;
}

static vt_status cleans_up(int fail, int *cleaned)
{
    vt_status status;
    VT_TRY_OUT(inner(fail));
out:
    *cleaned = 1;
    return status;
}

static void relay(void)
{
    int cleaned = 0;
    ASSERT_OK(relays(0));
    ASSERT_FAILS(relays(1), VT_E_FORMAT, "x.tar: bad magic 7");
    CU_ASSERT_EQUAL(cleans_up(1, &cleaned), VT_E_FORMAT);
    CU_ASSERT_EQUAL(cleaned, 1);
}

static void message_may_quote_itself_and_be_prefixed(void)
{
    CU_ASSERT_EQUAL(VT_FAIL(VT_E_IO, "inner"), VT_E_IO);
    CU_ASSERT_EQUAL(VT_FAIL(VT_E_IO, "outer: %s", status_message()), VT_E_IO);
    CU_ASSERT_STRING_EQUAL(status_message(), "outer: inner");
    CU_ASSERT_EQUAL(status_prefix(VT_E_IO, "rank %d", 3), VT_E_IO);
    CU_ASSERT_STRING_EQUAL(status_message(), "rank 3: outer: inner");
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    status_fail(VT_E_IO, "%s", longer);
    status_prefix(VT_E_IO, "%s", longer);
    CU_ASSERT(strlen(status_message()) < VT_MESSAGE_BYTES);
}

static void one_line(void)
{
    status_fail(VT_E_IO, "%s: bad\tname", "a\nb\x1b[31m");
    CU_ASSERT_STRING_EQUAL(status_message(), "a?b?[31m: bad?name");
    status_prefix(VT_E_IO, "%s", "x\r\xc3\xa9");
    CU_ASSERT_STRING_EQUAL(status_message(), "x?\xc3\xa9: a?b?[31m: bad?name");
}

static void *fail_elsewhere(void *argument)
{
    status_fail(VT_E_IO, "other thread");
    return argument;
}

static void message_is_per_thread(void)
{
    pthread_t thread;
    status_fail(VT_E_IO, "mine");
    pthread_create(&thread, NULL, fail_elsewhere, NULL);
    pthread_join(thread, NULL);
    CU_ASSERT_STRING_EQUAL(status_message(), "mine");
}

static void exit_codes(void)
{
    CU_ASSERT_EQUAL(status_exit_code(VT_OK), 0);
    CU_ASSERT_EQUAL(status_exit_code(VT_E_USAGE), 2);
    CU_ASSERT_EQUAL(status_exit_code(VT_E_STOP), 75);
    CU_ASSERT_EQUAL(status_exit_code(VT_E_NUMERIC), 1);
}

static const struct test_case cases[] = {
    {"relay", relay},           {"quote and prefix", message_may_quote_itself_and_be_prefixed},
    {"one line", one_line},     {"per thread", message_is_per_thread},
    {"exit codes", exit_codes},
};
TEST_MAIN("status", cases)
