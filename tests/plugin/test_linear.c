/* linear.c against ref, its products done by an emulation that follows cuBLASLt's rules, its own kernels on the CPU.
 * Each way the library may answer gives each route its turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend_simt.h"
#include "compare.h"
#include "gemm_emulated.h"
#include "tensors.h"

static const struct {
    const char *name;
    struct emulated_library library;
    bool tune;
    const char *route; /* insisted on */
} ANSWERS[] = {
    {"first candidates", {0}, false, ""},
    {"fused is faster", {.prefers_fused = true, .pass_us = 1}, true, ""},
    {"own kernels are faster", {.prefers_fused = false, .pass_us = 1}, true, ""},
    {"sums of their own cost nothing", {.prefers_fused = true}, true, ""},
    {"no fp32 bias on bf16", {.refuses_fp32_bias = true, .prefers_fused = true}, true, ""},
    {"no epilogue at all", {.refuses_epilogues = true, .pass_us = 1}, true, ""},
    {"no bf16 gradients", {.refuses_bf16_gradients = true}, false, ""},
    {"fused fails when run", {.prefers_fused = true, .fails_fused = true}, true, ""},
    {"fused is insisted on", {0}, true, "fused"},
    {"split is insisted on", {.prefers_fused = true}, true, "split"},
    {"scratch is insisted on", {.prefers_fused = true}, true, "scratch"},
};

static vt_status open_candidate(bool tune, struct backend **out)
{
    const struct backend_desc desc = {0};
    VT_TRY(backend_simt_open(&desc, out));
    ((struct cuda_backend *)*out)->tune = tune;
    cuda_linear_install(*out);
    return VT_OK;
}

/* The large cases once; then those whose routes differ. */
static struct compare_result compare(int i, struct backend *ref, struct backend *candidate, bool quiet)
{
    static const char *const all[] = {"linear: ", NULL};
    static const char *const some[] = {"linear: gelu",     "linear: tanh",     "linear: odd",
                                       "linear: logits",   "linear: strided",  "linear: db",
                                       "linear: fc1 tanh", "linear: fc2 tanh", "linear: fc2 of",
                                       "linear: dx",       "linear: cls rows,", "linear: sums",     NULL};
    struct compare_result sum = {0};
    for (const char *const *filter = i == 0 ? all : some; *filter; filter++) {
        struct compare_result result = ops_compare(ref, candidate, *filter, quiet);
        sum.passed += result.passed;
        sum.failed += result.failed + (result.passed == 0);
    }
    return sum;
}

static int run_answer(int i, struct backend *ref)
{
    struct backend *candidate;
    emulated = ANSWERS[i].library;
    emulated_forget();
    setenv("VT_CUDA_LINEAR", ANSWERS[i].route, 1);
    if (open_candidate(ANSWERS[i].tune, &candidate) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    struct compare_result result = compare(i, ref, candidate, true);
    printf("%-30s %d passed, %d failed; %d products, %d timed\n", ANSWERS[i].name, result.passed, result.failed,
           emulated.opened, emulated.timed);
    if (result.failed) /* again, with the reasons */
        (void)compare(i, ref, candidate, false);
    candidate->close(candidate);
    unsetenv("VT_CUDA_LINEAR");
    bool choice = ANSWERS[i].tune && !ANSWERS[i].route[0];
    bool clean = emulated.open == 0 && ((emulated.timed > 0) == choice || ANSWERS[i].route[0]);
    if (!clean)
        printf("  %d products were never closed, or timing was not as expected\n", emulated.open);
    return result.failed != 0 || !clean;
}

/* A second plan of the same layer takes the stored choice: nothing is timed again, the other choice is not opened. */
static int run_stored(struct backend *ref)
{
    struct linear_desc desc = {.rows = 32,
                               .in = 16,
                               .out = 24,
                               .dtype = DTYPE_BF16,
                               .dtype_out = DTYPE_BF16,
                               .bias = true,
                               .act = ACT_GELU_TANH};
    struct backend *candidate;
    struct op_plan *first = NULL, *second = NULL;
    (void)ref;
    emulated = (struct emulated_library){.prefers_fused = true};
    emulated_forget();
    if (open_candidate(true, &candidate) != VT_OK || candidate->nn.linear_plan(candidate, &desc, &first) != VT_OK)
        return 1;
    int timed = emulated.timed;
    emulated.prefers_fused = false;
    bool good = candidate->nn.linear_plan(candidate, &desc, &second) == VT_OK && timed > 0 && emulated.timed == timed;
    good = good && second && strcmp(first->algorithm, second->algorithm) == 0;
    printf("%-30s %s: %s\n", "stored choice", good ? "ok" : "WRONG", second ? second->algorithm : status_message());
    op_plan_close(&first);
    op_plan_close(&second);
    candidate->close(candidate);
    return !good || emulated.open != 0;
}

/* Beside collectives: backward's products leave multiprocessors free, forward's do not, and what is chosen for all is not
 * taken for fewer. */
static int run_spared(void)
{
    const struct linear_desc desc = {.rows = 32, .in = 16, .out = 24, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16, .bias = true};
    struct backend *candidate;
    struct op_plan *all = NULL, *fewer = NULL;
    emulated = (struct emulated_library){0};
    emulated_forget();
    if (open_candidate(true, &candidate) != VT_OK || candidate->nn.linear_plan(candidate, &desc, &all) != VT_OK)
        return 1;
    int multiprocessors = ((struct cuda_backend *)candidate)->multiprocessors, timed = emulated.timed;
    bool good = multiprocessors > 1 && timed > 0 && !emulated.sm_target[1] && !emulated.sm_target[2];
    candidate->spared_multiprocessors = 1;
    good = candidate->nn.linear_plan(candidate, &desc, &fewer) == VT_OK && good;
    good = good && emulated.timed > timed && emulated.sm_target[0] == 0 &&
           emulated.sm_target[1] == multiprocessors - 1 && emulated.sm_target[2] == multiprocessors - 1;
    printf("%-30s %s: %d of %d\n", "spared multiprocessors", good ? "ok" : "WRONG", emulated.sm_target[2], multiprocessors);
    op_plan_close(&all);
    op_plan_close(&fewer);
    candidate->close(candidate);
    return !good || emulated.open != 0;
}

static bool plans_as(struct backend *candidate, const struct linear_desc *desc, const char *algorithm)
{
    struct op_plan *plan = NULL;
    bool good = candidate->nn.linear_plan(candidate, desc, &plan) == VT_OK && strcmp(plan->algorithm, algorithm) == 0;
    if (!good)
        printf("  %s, expected %s\n", plan ? plan->algorithm : status_message(), algorithm);
    op_plan_close(&plan);
    return good;
}

static bool refuses(struct backend *candidate, const struct linear_desc *desc, vt_status code, const char *words)
{
    struct op_plan *plan = NULL;
    vt_status status = candidate->nn.linear_plan(candidate, desc, &plan);
    bool good = status == code && strstr(status_message(), words);
    if (!good)
        printf("  %s, expected %s\n", status == VT_OK ? "a plan" : status_message(), words);
    op_plan_close(&plan);
    return good;
}

/* Whoever insists on a route gets it, whatever is faster or stored, or an error. */
static int run_insisted(void)
{
    const struct linear_desc desc = {.rows = 32, .in = 16, .out = 24, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16, .bias = true,
                                     .act = ACT_GELU_TANH, .input_act = ACT_GELU_TANH};
    struct backend *candidate;
    emulated = (struct emulated_library){.prefers_fused = true};
    emulated_forget();
    if (open_candidate(true, &candidate) != VT_OK)
        return 1;
    bool good = plans_as(candidate, &desc, "cuBLASLt fused/fused/fused");
    setenv("VT_CUDA_LINEAR", "split", 1);
    good = plans_as(candidate, &desc, "cuBLASLt split/split/split") && good;
    setenv("VT_CUDA_LINEAR", "scratch", 1);
    good = plans_as(candidate, &desc, "cuBLASLt scratch/scratch/scratch") && good;
    setenv("VT_CUDA_LINEAR", "fused", 1);
    emulated.refuses_epilogues = true;
    good = refuses(candidate, &desc, VT_E_UNSUPPORTED, "refused") && good;
    setenv("VT_CUDA_LINEAR", "fast", 1);
    good = refuses(candidate, &desc, VT_E_USAGE, "VT_CUDA_LINEAR=fast: expected fused, split or scratch") && good;
    unsetenv("VT_CUDA_LINEAR");
    emulated.refuses_epilogues = false;
    good = plans_as(candidate, &desc, "cuBLASLt fused/fused/fused") && good; /* what was stored before */
    emulated_forget();
    emulated.lost = true;
    good = refuses(candidate, &desc, VT_E_IO, "linear/forward/32x16x24/") && emulated.timed > 0 && good;
    printf("%-30s %s\n", "insisted on", good ? "ok" : "WRONG");
    candidate->close(candidate);
    return !good || emulated.open != 0;
}

/* Sums in passing where they cost less than half of a pass of their own; what was found holds for the next plan. */
static int run_sums(void)
{
    static const struct {
        enum activation act;
        enum dtype dtype;
        struct emulated_library library;
        const char *algorithm;
    } SUMS[] = {
        {ACT_GELU_TANH, DTYPE_BF16, {.prefers_fused = true, .pass_us = 1}, "cuBLASLt fused/fused+sum/fused"},
        {ACT_GELU_TANH, DTYPE_BF16, {.prefers_fused = true}, "cuBLASLt fused/fused/fused"},
        {ACT_GELU_TANH, DTYPE_BF16, {.pass_us = 1}, "cuBLASLt fused/split+sum/split"},
        {ACT_GELU_TANH, DTYPE_BF16, {.prefers_fused = true, .refuses_dgelu_bgrad = true, .pass_us = 1}, "cuBLASLt fused/fused/fused"},
        {ACT_GELU_TANH, DTYPE_BF16, {.prefers_fused = true, .refuses_dgelu_bgrad = true, .pass_us = 4}, "cuBLASLt fused/split+sum/fused"},
        {ACT_GELU_ERF, DTYPE_BF16, {.prefers_fused = true, .pass_us = 1}, "cuBLASLt fused/split+sum/fused"},
        {ACT_GELU_TANH, DTYPE_F32, {.prefers_fused = true, .pass_us = 1}, "cuBLASLt fused/split+sum/split"},
        {ACT_NONE, DTYPE_BF16, {.prefers_fused = true, .pass_us = 1}, "cuBLASLt fused/fused/fused"},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof SUMS / sizeof *SUMS; i++) {
        const struct linear_desc desc = {.rows = 32, .in = 16, .out = 24, .dtype = SUMS[i].dtype, .dtype_out = SUMS[i].dtype,
                                         .bias = true, .input_act = SUMS[i].act, .dx_sum = true};
        struct backend *candidate;
        emulated = SUMS[i].library;
        emulated_forget();
        if (open_candidate(true, &candidate) != VT_OK)
            return 1;
        good = plans_as(candidate, &desc, SUMS[i].algorithm) && good;
        int timed = emulated.timed;
        emulated.pass_us = emulated.prefers_fused ? 0 : 9;
        good = plans_as(candidate, &desc, SUMS[i].algorithm) && emulated.timed == timed && emulated.open == 0 && good;
        candidate->close(candidate);
    }
    printf("%-30s %s\n", "sums in passing", good ? "ok" : "WRONG");
    return !good;
}

/* No memory for the product with sums: an error, not a plan that says it has them. */
static int run_full(void)
{
    const struct linear_desc desc = {.rows = 32, .in = 16, .out = 24, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16,
                                     .input_act = ACT_GELU_TANH, .dx_sum = true};
    struct backend *candidate;
    emulated = (struct emulated_library){.prefers_fused = true, .full = true};
    emulated_forget();
    if (open_candidate(true, &candidate) != VT_OK)
        return 1;
    bool good = refuses(candidate, &desc, VT_E_MEMORY, "full") && emulated.open == 0;
    printf("%-30s %s\n", "full", good ? "ok" : "WRONG");
    candidate->close(candidate);
    return !good;
}

/* A bias that begins in the middle of a parameter need not be aligned as the library wants it. */
static int run_shifted_bias(void)
{
    enum { ROWS = 3, IN = 8, OUT = 16, SHIFT = 1 };
    static _Alignas(64) bf16_t x[ROWS * IN], w[OUT * IN], y[2][ROWS * OUT], rounded[2][2 * OUT];
    static _Alignas(64) float b[2][2 * OUT];
    const struct linear_desc desc = {.rows = ROWS, .in = IN, .out = OUT, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16, .bias = true};
    bool good = true;
    for (int i = 0; i < ROWS * IN; i++)
        x[i] = bf16_from_float((float)(i % 5 - 2));
    for (int i = 0; i < OUT * IN; i++)
        w[i] = bf16_from_float((float)(i % 7 - 3));
    for (int i = 0; i < OUT; i++)
        for (int shifted = 0; shifted < 2; shifted++) {
            b[shifted][i + shifted * SHIFT] = (float)i / 3;
            rounded[shifted][i + shifted * SHIFT] = bf16_from_float((float)i / 3);
        }
    for (int refuses = 0; refuses < 2; refuses++) { /* fp32 is read, and bf16 */
        struct backend *candidate;
        struct op_plan *plan = NULL;
        emulated = (struct emulated_library){.refuses_fp32_bias = refuses};
        emulated_forget();
        if (open_candidate(false, &candidate) != VT_OK || candidate->nn.linear_plan(candidate, &desc, &plan) != VT_OK ||
            candidate->reserve_workspace(candidate) != VT_OK)
            return 1;
        for (int shifted = 0; shifted < 2; shifted++)
            candidate->nn.linear_forward(plan, &(struct linear_forward_args){.x = x,
                                                                             .w = w,
                                                                             .b = b[shifted] + shifted * SHIFT,
                                                                             .b_rounded = rounded[shifted] + shifted * SHIFT,
                                                                             .y = y[shifted]});
        good = memcmp(y[0], y[1], sizeof y[0]) == 0 && good;
        op_plan_close(&plan);
        candidate->close(candidate);
    }
    good = good && y[0][0] != y[0][1];
    printf("%-30s %s\n", "shifted bias", good ? "ok" : "WRONG");
    return !good;
}

/* Evaluation opens and times nothing but forward. */
static int run_forward_only(void)
{
    const struct linear_desc desc = {.rows = 32, .in = 16, .out = 24, .dtype = DTYPE_BF16, .dtype_out = DTYPE_BF16, .bias = true,
                                     .act = ACT_GELU_TANH, .input_act = ACT_GELU_TANH, .dx_sum = true, .forward_only = true};
    struct backend *candidate;
    emulated = (struct emulated_library){.prefers_fused = true};
    emulated_forget();
    if (open_candidate(true, &candidate) != VT_OK)
        return 1;
    bool good = plans_as(candidate, &desc, "cuBLASLt fused") && emulated.timed == 2 && emulated.opened == 2 && emulated.open == 0;
    printf("%-30s %s: %d products, %d timed\n", "forward only", good ? "ok" : "WRONG", emulated.opened, emulated.timed);
    candidate->close(candidate);
    return !good;
}

int main(void)
{
    const struct backend_desc plain = {0};
    struct backend *ref;
    int failures = 0;
    tensors_guard_hook = backend_simt_guard;
    if (backend_ref_open(&plain, &ref) != VT_OK)
        return 1;
    for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++)
        failures += run_answer((int)i, ref);
    failures += run_stored(ref);
    failures += run_spared();
    failures += run_insisted();
    failures += run_sums();
    failures += run_full();
    failures += run_forward_only();
    failures += run_shifted_bias();
    emulated_forget();
    ref->close(ref);
    return failures != 0;
}
