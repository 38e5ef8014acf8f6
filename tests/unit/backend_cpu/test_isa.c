/* The level in use: the machine's, or a lower one on request, never a higher or unknown one. */
#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "test.h"

static void the_machines_level_is_the_default(void)
{
    enum cpu_isa isa = CPU_ISA_COUNT;
    unsetenv("VT_CPU_ISA");
    ASSERT_OK(cpu_isa_select(&isa));
    CU_ASSERT_EQUAL(isa, cpu_isa_machine());
    setenv("VT_CPU_ISA", "", 1);
    ASSERT_OK(cpu_isa_select(&isa));
    CU_ASSERT_EQUAL(isa, cpu_isa_machine());
}

static void lower_levels_are_granted_higher_refused(void)
{
    for (int i = 0; i < CPU_ISA_COUNT; i++) {
        enum cpu_isa isa = CPU_ISA_COUNT;
        setenv("VT_CPU_ISA", cpu_isa_name((enum cpu_isa)i), 1);
        if ((enum cpu_isa)i <= cpu_isa_machine()) {
            ASSERT_OK(cpu_isa_select(&isa));
            CU_ASSERT_EQUAL(isa, (enum cpu_isa)i);
        } else
            ASSERT_FAILS(cpu_isa_select(&isa), VT_E_UNSUPPORTED, "this machine has");
    }
    enum cpu_isa isa;
    setenv("VT_CPU_ISA", "sse9", 1);
    ASSERT_FAILS(cpu_isa_select(&isa), VT_E_USAGE, "expected base, avx2, avx512 or avx512_bf16");
}

static void a_backend_names_its_level_and_threads(void)
{
    struct backend_desc desc = {.threads = 3};
    struct backend *be = NULL;
    setenv("VT_CPU_ISA", "base", 1);
    ASSERT_OK(backend_cpu_open(&desc, &be));
    CU_ASSERT_PTR_NOT_NULL(strstr(be->device_name, "(base"));
    CU_ASSERT_PTR_NOT_NULL(strstr(be->device_name, "3 threads"));
    CU_ASSERT_FALSE(be->bf16_native);
    CU_ASSERT_EQUAL(be->threads, 3);
    CU_ASSERT_PTR_NULL(ops_missing(be));
    be->close(be);
    unsetenv("VT_CPU_ISA");
    ASSERT_OK(backend_cpu_open(&desc, &be));
    CU_ASSERT_EQUAL(be->bf16_native, cpu_isa_machine() == CPU_AVX512_BF16);
    be->close(be);
}

static void bad_wishes_are_refused(void)
{
    struct backend_desc desc = {.threads = -1};
    struct backend *be = NULL;
    unsetenv("VT_CPU_ISA");
    ASSERT_FAILS(backend_cpu_open(&desc, &be), VT_E_USAGE, "-1 threads");
    desc.threads = 1;
    setenv("VT_CPU_LINEAR", "mkl", 1);
    ASSERT_FAILS(backend_cpu_open(&desc, &be), VT_E_USAGE, "expected own or onednn");
    unsetenv("VT_CPU_LINEAR");
    struct op_plan *plan;
    ASSERT_OK(backend_cpu_open(&desc, &be));
    struct dropout_desc dropout = {.batch = 1, .row_elements = 8, .dtype = DTYPE_F64};
    ASSERT_FAILS(be->nn.dropout_plan(be, &dropout, &plan), VT_E_UNSUPPORTED, "dropout in");
    be->close(be);
}

static const struct test_case cases[] = {
    {"the machine's level is the default", the_machines_level_is_the_default},
    {"lower levels are granted, higher refused", lower_levels_are_granted_higher_refused},
    {"a backend names its level and threads", a_backend_names_its_level_and_threads},
    {"bad wishes are refused", bad_wishes_are_refused},
};
TEST_MAIN("isa", cases)
