/* A thin layer over CUnit: a table of tests, and an exit code (CUnit's own runner has none). */
#ifndef VT_TEST_H
#define VT_TEST_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

struct test_case {
    const char *name;
    void (*run)(void);
};

#define ASSERT_OK(call)                                                                                                \
    do {                                                                                                               \
        vt_status test_status_ = (call);                                                                               \
        if (test_status_ != VT_OK)                                                                                     \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, status_message());                           \
        CU_ASSERT_EQUAL_FATAL(test_status_, VT_OK);                                                                    \
    } while (0)

/* The call fails with this code and its message contains this text. */
#define ASSERT_FAILS(call, code, text)                                                                                 \
    do {                                                                                                               \
        vt_status test_status_ = (call);                                                                               \
        CU_ASSERT_EQUAL(test_status_, (code));                                                                         \
        if (!strstr(status_message(), (text)))                                                                         \
            fprintf(stderr, "%s:%d: message is \"%s\", expected \"%s\" in it\n", __FILE__, __LINE__,                   \
                    status_message(), (text));                                                                         \
        CU_ASSERT_PTR_NOT_NULL(strstr(status_message(), (text)));                                                      \
    } while (0)

static inline int run_tests(const char *suite_name, const struct test_case *cases, int count)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (int i = 0; i < count; i++)
        CU_add_test(suite, cases[i].name, cases[i].run);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() == 0;
    CU_cleanup_registry();
    return failed;
}

#define TEST_MAIN(suite_name, cases)                                                                                   \
    int main(void) { return run_tests(suite_name, cases, (int)(sizeof(cases) / sizeof *(cases))); }

#endif
