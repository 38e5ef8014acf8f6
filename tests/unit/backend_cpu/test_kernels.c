/* Accuracy of the elementary functions at every level this machine has, against libm in double. */
#include "backend/cpu/kernels.h"
#include "base/philox.h"
#include "tensor/normal.h"
#include "test.h"

enum { COUNT = 4099 }; /* odd: tails too */

static float inputs[COUNT], outputs[COUNT], others[COUNT];
static const struct cpu_kernels *kernels;

static void each_level(void (*check)(void))
{
    for (int isa = 0; isa <= (int)cpu_isa_machine(); isa++) {
        kernels = cpu_kernels_of((enum cpu_isa)isa);
        CU_ASSERT_PTR_NOT_NULL_FATAL(kernels);
        check();
    }
}

static void spread_inputs(float low, float high)
{
    for (int i = 0; i < COUNT; i++)
        inputs[i] = low + (high - low) * (float)i / (COUNT - 1);
}

static void run_epilogue(enum activation act, bool derivative)
{
    static float ones[COUNT];
    for (int i = 0; i < COUNT; i++)
        ones[i] = 1;
    struct epilogue e = {.c = derivative ? ones : inputs,
                         .c_row = COUNT,
                         .rows = 1,
                         .columns = COUNT,
                         .act = act,
                         .pre = derivative ? inputs : NULL,
                         .pre_row = COUNT,
                         .y = outputs,
                         .y_row = COUNT};
    (derivative ? kernels->epilogue_backward : kernels->epilogue_forward)(&e);
}

static double worst_error(double (*expected)(double))
{
    double worst = 0;
    for (int i = 0; i < COUNT; i++) {
        double error = fabs((double)outputs[i] - expected((double)inputs[i]));
        worst = error > worst || isnan(error) ? error : worst;
    }
    return worst;
}

static double gelu_erf(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}
static double gelu_erf_slope(double x)
{
    return 0.5 * erfc(-x / sqrt(2)) + x * exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846);
}
static double tanh_argument(double x)
{
    return sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
}
static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(tanh_argument(x)));
}

static void check_erf(void)
{
    /* gelu = x (1 + erf(x / sqrt 2)) / 2: at |x| <= 4 an error e of erf shows as at least |x| e / 2 */
    spread_inputs(-4, 4);
    run_epilogue(ACT_GELU_ERF, false);
    double worst = 0;
    for (int i = 0; i < COUNT; i++) {
        double x = (double)inputs[i], implied = fabs(x) < 0.05 ? 0 : 2 * (double)outputs[i] / x - 1;
        double error = fabs(x) < 0.05 ? 0 : fabs(implied - erf(x / sqrt(2)));
        worst = error > worst ? error : worst;
    }
    CU_ASSERT(worst < 1e-6);
    spread_inputs(-30, 30);
    run_epilogue(ACT_GELU_ERF, false);
    CU_ASSERT(worst_error(gelu_erf) < 4e-6);
    run_epilogue(ACT_GELU_ERF, true);
    CU_ASSERT(worst_error(gelu_erf_slope) < 1e-6);
}

static void check_tanh(void)
{
    spread_inputs(-12, 12);
    run_epilogue(ACT_TANH, false);
    CU_ASSERT(worst_error(tanh) < 1e-6);
    run_epilogue(ACT_GELU_TANH, false);
    CU_ASSERT(worst_error(gelu_tanh) < 2e-6);
}

static void check_nan(void)
{
    for (int i = 0; i < COUNT; i++)
        inputs[i] = NAN;
    for (int act = ACT_NONE; act <= ACT_TANH; act++) {
        run_epilogue((enum activation)act, false);
        CU_ASSERT(isnan(outputs[0]) && isnan(outputs[COUNT - 1]));
    }
}

static void check_exp(void)
{
    double worst = 0;
    spread_inputs(-80, 80);
    kernels->row_softmax(inputs, 0, 1, outputs, COUNT);
    for (int i = 0; i < COUNT; i++)
        worst = fmax(worst, fabs((double)outputs[i] / exp((double)inputs[i]) - 1));
    CU_ASSERT(worst < 3e-7);
}

static void check_draws(void)
{
    struct draw_keep draw = {.seed = 0x123456789abcdefu, .position = 0xfedcba987654321u, .purpose = 77, .rate = 0.3f};
    for (uint64_t first = 0; first < 9; first++) {
        kernels->draw_keep(&draw, first, 301, others);
        for (uint32_t e = 0; e < 301; e++) {
            bool dropped = draw_uniform(draw.seed, draw.purpose, draw.position, (uint32_t)first + e) < draw.rate;
            if (others[e] != (dropped ? 0.0f : 1.0f / (1.0f - 0.3f))) {
                CU_FAIL("a draw differs from base/philox");
                return;
            }
        }
    }
}

static void check_normal(void)
{
    struct draw_keep draw = {.seed = 0x123456789abcdefu, .position = 0xfedcba987654321u, .purpose = 77};
    double worst = 0, sum = 0, squares = 0;
    for (uint64_t first = 0; first < 9; first++) {
        kernels->draw_normal(&draw, first, COUNT, others);
        for (uint32_t e = 0; e < COUNT; e++) {
            double k = (double)(draw_u32(draw.seed, draw.purpose, draw.position, (uint32_t)first + e) >> 8);
            worst = fmax(worst, fabs((double)others[e] / normal_quantile((k + 0.5) * 0x1p-24) - 1));
            sum += (double)others[e];
            squares += (double)others[e] * (double)others[e];
        }
    }
    CU_ASSERT(worst < 1e-6);
    CU_ASSERT(fabs(sum) < 9 * 4 * sqrt(COUNT) && fabs(squares / (9 * COUNT) - 1) < 0.1);
}

static void check_cast(void)
{
    static bf16_t rounded[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) { /* every kind of float, NaN and denormals among them */
        uint32_t word = i * 1048583u;
        memcpy(&inputs[i], &word, sizeof word);
    }
    kernels->cast(inputs, DTYPE_F32, rounded, DTYPE_BF16, COUNT);
    for (int i = 0; i < COUNT; i++)
        if (rounded[i] != bf16_from_float(inputs[i])) {
            CU_FAIL("a cast differs from bf16_from_float");
            return;
        }
    kernels->cast(rounded, DTYPE_BF16, outputs, DTYPE_F32, COUNT);
    for (int i = 0; i < COUNT; i++) {
        float expected = bf16_to_float(rounded[i]);
        CU_ASSERT_FATAL(memcmp(&outputs[i], &expected, sizeof expected) == 0);
    }
}

/* What activate makes of the saved input has the bits that the epilogue gave, whole vectors and tails. */
static void check_again(void)
{
    static char pre[4 * COUNT], y[4 * COUNT], again[4 * COUNT];
    spread_inputs(-9, 9);
    for (int act = ACT_GELU_ERF; act <= ACT_TANH; act++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            enum dtype dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;
            size_t bytes = COUNT * (bf16 ? sizeof(bf16_t) : sizeof(float));
            struct epilogue e = {.c = inputs,
                                 .c_row = COUNT,
                                 .rows = 1,
                                 .columns = COUNT,
                                 .act = (enum activation)act,
                                 .bias = inputs,
                                 .pre = pre,
                                 .pre_row = COUNT,
                                 .y = y,
                                 .y_row = COUNT,
                                 .dtype = dtype,
                                 .dtype_out = dtype};
            kernels->epilogue_forward(&e);
            kernels->activate((enum activation)act, pre, again, dtype, COUNT);
            CU_ASSERT(memcmp(y, again, bytes) == 0);
            kernels->activate((enum activation)act, pre, pre, dtype, COUNT); /* in place */
            CU_ASSERT(memcmp(y, pre, bytes) == 0);
        }
}

static void erf_is_accurate(void)
{
    each_level(check_erf);
}
static void tanh_is_accurate(void)
{
    each_level(check_tanh);
}
static void nan_passes_through(void)
{
    each_level(check_nan);
}
static void exp_is_accurate(void)
{
    each_level(check_exp);
}
static void draws_are_philox(void)
{
    each_level(check_draws);
}
static void noise_is_normal(void)
{
    each_level(check_normal);
}
static void casts_round_to_even(void)
{
    each_level(check_cast);
}

static void activations_repeat(void)
{
    each_level(check_again);
}

static const struct test_case cases[] = {
    {"erf is accurate", erf_is_accurate},       {"tanh is accurate", tanh_is_accurate},
    {"NaN passes through", nan_passes_through}, {"exp is accurate", exp_is_accurate},
    {"draws are Philox", draws_are_philox},     {"casts round to even", casts_round_to_even},
    {"activations repeat", activations_repeat}, {"noise is normal", noise_is_normal},
};
TEST_MAIN("kernels", cases)
