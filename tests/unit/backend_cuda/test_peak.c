#include "backend/cuda/peak.h"
#include "test.h"

/* Names as nvidia-smi prints them. */
static void known_gpus(void)
{
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA H100 80GB HBM3"), 989.4e12, 1e9);
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA H100 PCIe"), 756e12, 1e9);
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA GH200 480GB"), 989.4e12, 1e9);
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA A100-SXM4-80GB"), 312e12, 1e9);
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA GB200"), 2500e12, 1e9);
    CU_ASSERT_DOUBLE_EQUAL(cuda_peak_flops("NVIDIA B200"), 2250e12, 1e9);
    CU_ASSERT_EQUAL(cuda_peak_flops("NVIDIA T1000"), 0);
}

static const struct test_case cases[] = {{"GPUs of the table", known_gpus}};
TEST_MAIN("peak", cases)
