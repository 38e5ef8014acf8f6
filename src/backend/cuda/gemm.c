#include "backend/cuda/gemm.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REQUESTED = 32,
    TIMED_RUNS = 11,
    TRIAL_ALIGN = 256,
    SETS_MAX = 16,
    ALGO_HEX = 2 * sizeof(cublasLtMatmulAlgo_t)
};

struct gemm {
    struct cuda_backend *cuda;
    struct gemm_shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    size_t workspace_bytes;
};

static cudaDataType_t vendor_type(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static const cublasLtEpilogue_t EPILOGUES[GEMM_EPILOGUE_COUNT] = {
    [GEMM_PLAIN] = CUBLASLT_EPILOGUE_DEFAULT,     [GEMM_BIAS] = CUBLASLT_EPILOGUE_BIAS,
    [GEMM_GELU] = CUBLASLT_EPILOGUE_GELU,         [GEMM_GELU_BIAS] = CUBLASLT_EPILOGUE_GELU_BIAS,
    [GEMM_GELU_AUX] = CUBLASLT_EPILOGUE_GELU_AUX, [GEMM_GELU_AUX_BIAS] = CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
    [GEMM_DGELU] = CUBLASLT_EPILOGUE_DGELU,       [GEMM_DGELU_BGRAD] = CUBLASLT_EPILOGUE_DGELU_BGRAD,
    [GEMM_BGRADB] = CUBLASLT_EPILOGUE_BGRADB,
};

static vt_status lt_fail(cublasStatus_t status, const char *what)
{
    vt_status code = status == CUBLAS_STATUS_ALLOC_FAILED ? VT_E_MEMORY : VT_E_UNSUPPORTED;
    return VT_FAIL(code, "cuda: %s: %s", what, cublasLtGetStatusName(status));
}
#define LT_TRY(call)                                                                                                   \
    do {                                                                                                               \
        cublasStatus_t lt_status_ = (call);                                                                            \
        if (lt_status_ != CUBLAS_STATUS_SUCCESS)                                                                       \
            return lt_fail(lt_status_, #call);                                                                         \
    } while (0)

/* ---- descriptors ---- */

static vt_status set(struct gemm *g, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes)
{
    LT_TRY(cublasLtMatmulDescSetAttribute(g->desc, attribute, value, bytes));
    return VT_OK;
}

static vt_status describe_epilogue(struct gemm *g)
{
    const struct gemm_shape *s = &g->shape;
    /* The library reads the alignment of these pointers when it looks for algorithms; each run sets the real ones. */
    const void *aligned = (const void *)(uintptr_t)GEMM_EPILOGUE_ALIGN;
    int32_t bias_type = (int32_t)vendor_type(s->dtype_bias);
    uint32_t epilogue = EPILOGUES[s->epilogue];
    VT_TRY(set(g, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (gemm_has_bias(s->epilogue)) {
        VT_TRY(set(g, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &aligned, sizeof aligned));
        if (s->dtype_bias != s->dtype_out)
            VT_TRY(set(g, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
    }
    if (gemm_has_aux(s->epilogue)) {
        VT_TRY(set(g, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aligned, sizeof aligned));
        VT_TRY(set(g, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &s->ld_aux, sizeof s->ld_aux));
    }
    return VT_OK;
}

static vt_status describe(struct gemm *g)
{
    const struct gemm_shape *s = &g->shape;
    cudaDataType_t in = vendor_type(s->dtype_in), out = vendor_type(s->dtype_out);
    cublasOperation_t op_a = s->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                      op_b = s->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(cublasLtMatmulDescCreate(&g->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F)); /* fp32 stays fp32: no TF32 */
    VT_TRY(set(g, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    VT_TRY(set(g, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    if (s->sm_target) {
        const int32_t target = s->sm_target;
        VT_TRY(set(g, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, &target, sizeof target));
    }
    LT_TRY(cublasLtMatrixLayoutCreate(&g->a, in, (uint64_t)(s->a_transposed ? s->k : s->m),
                                      (uint64_t)(s->a_transposed ? s->m : s->k), s->lda));
    LT_TRY(cublasLtMatrixLayoutCreate(&g->b, in, (uint64_t)(s->b_transposed ? s->n : s->k),
                                      (uint64_t)(s->b_transposed ? s->k : s->n), s->ldb));
    LT_TRY(cublasLtMatrixLayoutCreate(&g->d, out, (uint64_t)s->m, (uint64_t)s->n, s->ldd));
    return describe_epilogue(g);
}

static vt_status prefer(const struct gemm *g, cublasLtMatmulPreference_t preference)
{
    const struct gemm_shape *s = &g->shape;
    size_t workspace = g->cuda->gemm_workspace_limit;
    /* Split sums are added up in fp32, never in the output's bf16. An fp32 output is as good a place for them as the workspace: weight
     * gradients, with few tiles and long sums, get every scheme. None gives other bits in another run: by the header, INPLACE
     * counts the parts in to add them in sequence, and the other two add in a step of their own. */
    uint32_t reduction = s->dtype_out == DTYPE_F32 ? CUBLASLT_REDUCTION_SCHEME_MASK : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t align_a = (uint32_t)gemm_alignment(s->lda, s->dtype_in),
             align_b = (uint32_t)gemm_alignment(s->ldb, s->dtype_in);
    uint32_t align_d = (uint32_t)gemm_alignment(s->ldd, s->dtype_out);
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align_a, sizeof align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align_b, sizeof align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align_d, sizeof align_d},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align_d, sizeof align_d},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference, wishes[i].attribute, wishes[i].value, wishes[i].bytes));
    return VT_OK;
}

static vt_status ask_heuristic(const struct gemm *g, cublasLtMatmulHeuristicResult_t results[REQUESTED], int *count)
{
    cublasLtMatmulPreference_t preference;
    LT_TRY(cublasLtMatmulPreferenceCreate(&preference));
    vt_status status = prefer(g, preference);
    *count = 0;
    if (status == VT_OK) {
        cublasStatus_t lt = cublasLtMatmulAlgoGetHeuristic(g->cuda->lt, g->desc, g->a, g->b, g->d, g->d, preference,
                                                           REQUESTED, results, count);
        if (lt != CUBLAS_STATUS_SUCCESS || *count == 0) {
            char key[GEMM_KEY_BYTES];
            gemm_key(&g->shape, key);
            status =
                VT_FAIL(VT_E_UNSUPPORTED, "cuda: cuBLASLt has no algorithm for %s: %s", key, cublasLtGetStatusName(lt));
        }
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

/* ---- running ---- */

void gemm_run(struct gemm *g, const struct gemm_operands *o)
{
    const struct gemm_shape *s = &g->shape;
    const float one = 1, beta = o->accumulate ? 1 : 0;
    VT_CHECK(!o->accumulate || !gemm_has_aux(s->epilogue));
    VT_CHECK((uintptr_t)o->a % (uintptr_t)gemm_alignment(s->lda, s->dtype_in) == 0);
    VT_CHECK((uintptr_t)o->b % (uintptr_t)gemm_alignment(s->ldb, s->dtype_in) == 0);
    VT_CHECK((uintptr_t)o->d % (uintptr_t)gemm_alignment(s->ldd, s->dtype_out) == 0);
    VT_CHECK((uintptr_t)o->bias % GEMM_EPILOGUE_ALIGN == 0 && (uintptr_t)o->aux % GEMM_EPILOGUE_ALIGN == 0);
    cublasStatus_t lt = CUBLAS_STATUS_SUCCESS;
    if (gemm_has_bias(s->epilogue))
        lt = cublasLtMatmulDescSetAttribute(g->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->bias, sizeof o->bias);
    if (lt == CUBLAS_STATUS_SUCCESS && gemm_has_aux(s->epilogue))
        lt = cublasLtMatmulDescSetAttribute(g->desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &o->aux, sizeof o->aux);
    if (lt == CUBLAS_STATUS_SUCCESS)
        lt = cublasLtMatmul(g->cuda->lt, g->desc, &one, o->a, g->a, o->b, g->b, &beta, o->d, g->d, o->d, g->d, &g->algo,
                            o->workspace, g->workspace_bytes, cuda_stream(g->cuda));
    if (lt != CUBLAS_STATUS_SUCCESS)
        cuda_note(g->cuda, cudaErrorUnknown, cublasLtGetStatusName(lt));
}

/* ---- trial memory ---- */

enum { PATTERN_WORDS = 1 << 18 };

/* Uniform in [-1, 1): products of zeros would run faster than real ones. */
static void fill_pattern(enum dtype dtype, uint32_t *words)
{
    uint32_t state = 1;
    bf16_t *halves = (bf16_t *)words;
    for (int i = 0; i < (dtype == DTYPE_BF16 ? 2 : 1) * PATTERN_WORDS; i++) {
        state = state * 1664525u + 1013904223u;
        float value = (float)(int32_t)state * 0x1p-31f;
        if (dtype == DTYPE_BF16)
            halves[i] = bf16_from_float(value);
        else
            memcpy(&words[i], &value, sizeof value);
    }
}

static cudaError_t repeat_pattern(struct cuda_backend *cuda, char *memory, size_t bytes, const uint32_t *words)
{
    size_t done = PATTERN_WORDS * sizeof *words < bytes ? PATTERN_WORDS * sizeof *words : bytes;
    cudaError_t error = cudaMemcpyAsync(memory, words, done, cudaMemcpyHostToDevice, cuda_stream(cuda));
    for (size_t part; done < bytes && error == cudaSuccess; done += part) {
        part = done < bytes - done ? done : bytes - done;
        error = cudaMemcpyAsync(memory + done, memory, part, cudaMemcpyDeviceToDevice, cuda_stream(cuda));
    }
    return error == cudaSuccess ? cudaStreamSynchronize(cuda_stream(cuda)) : error;
}

void *cuda_trial_alloc(struct cuda_backend *cuda, enum dtype dtype, int64_t count)
{
    void *memory = NULL;
    size_t bytes = (size_t)count * dtype_bytes(dtype);
    uint32_t *words = malloc(PATTERN_WORDS * sizeof *words);
    if (!words)
        return NULL;
    fill_pattern(dtype, words);
    if (cudaMalloc(&memory, bytes) != cudaSuccess || repeat_pattern(cuda, memory, bytes, words) != cudaSuccess) {
        (void)cudaGetLastError();
        (void)cudaFree(memory);
        memory = NULL;
    }
    free(words);
    return memory;
}

void cuda_trial_free(void *memory)
{
    (void)cudaFree(memory);
}

/* ---- choosing the algorithm ---- */

/* A product on `sets` copies of its matrices in turn, so that none is found in the second-level cache. */
struct trial {
    struct gemm *gemm;
    int64_t a_bytes, b_bytes, d_bytes;
    int sets;
    char *a, *b, *d, *aux, *bias;
};

static void trial_run(void *context, int run)
{
    const struct trial *t = context;
    int64_t set = run % t->sets;
    const struct gemm_operands o = {.a = t->a + set * t->a_bytes,
                                    .b = t->b + set * t->b_bytes,
                                    .d = t->d + set * t->d_bytes,
                                    .bias = t->bias,
                                    .aux = t->aux ? t->aux + set * t->d_bytes : NULL,
                                    .workspace = t->gemm->cuda->workspace,
                                    .accumulate = t->gemm->shape.accumulates};
    gemm_run(t->gemm, &o);
}

static int64_t padded_bytes(int64_t count, enum dtype dtype)
{
    return (count * (int64_t)dtype_bytes(dtype) + TRIAL_ALIGN - 1) / TRIAL_ALIGN * TRIAL_ALIGN;
}

static char *trial_matrix(const struct trial *t, enum dtype dtype, int64_t bytes)
{
    return cuda_trial_alloc(t->gemm->cuda, dtype, t->sets * bytes / (int64_t)dtype_bytes(dtype));
}

static void trial_close(struct trial *t)
{
    cuda_trial_free(t->a);
    cuda_trial_free(t->b);
    cuda_trial_free(t->d);
    cuda_trial_free(t->aux);
    cuda_trial_free(t->bias);
}

/* False: no room. */
static bool trial_open(struct trial *t, struct gemm *g)
{
    const struct gemm_shape *s = &g->shape;
    *t = (struct trial){.gemm = g,
                        .a_bytes = padded_bytes(gemm_a_count(s), s->dtype_in),
                        .b_bytes = padded_bytes(gemm_b_count(s), s->dtype_in),
                        .d_bytes = padded_bytes(gemm_d_count(s), s->dtype_out)};
    int64_t sets = 1 + 2 * (int64_t)g->cuda->l2_bytes / (t->a_bytes + t->b_bytes + t->d_bytes);
    t->sets = sets > SETS_MAX ? SETS_MAX : (int)sets;
    t->a = trial_matrix(t, s->dtype_in, t->a_bytes);
    t->b = trial_matrix(t, s->dtype_in, t->b_bytes);
    t->d = trial_matrix(t, s->dtype_out, t->d_bytes);
    t->aux = gemm_has_aux(s->epilogue) ? trial_matrix(t, s->dtype_out, t->d_bytes) : NULL;
    t->bias = cuda_trial_alloc(g->cuda, s->dtype_bias, s->m > s->n ? s->m : s->n);
    if (t->a && t->b && t->d && t->bias && (t->aux || !gemm_has_aux(s->epilogue)))
        return true;
    trial_close(t);
    return false;
}

static void take(struct gemm *g, const cublasLtMatmulHeuristicResult_t *result)
{
    g->algo = result->algo;
    g->workspace_bytes = result->workspaceSize;
}

/* The fastest of the results, on this device, now. Where there is no room to try, the first. */
static vt_status time_algorithms(struct gemm *g, const char *key, const cublasLtMatmulHeuristicResult_t *results, int count,
                                 double *best_us)
{
    struct trial trial;
    char what[GEMM_KEY_BYTES + 32];
    int best = -1;
    vt_status status = VT_OK;
    cuda_need_workspace(g->cuda, g->cuda->gemm_workspace_limit);
    VT_TRY(g->cuda->base.reserve_workspace(&g->cuda->base));
    *best_us = 0;
    if (!trial_open(&trial, g)) {
        take(g, &results[0]);
        return VT_OK;
    }
    for (int i = 0; i < count; i++) {
        if (results[i].state != CUBLAS_STATUS_SUCCESS)
            continue;
        take(g, &results[i]);
        double us;
        snprintf(what, sizeof what, "%s, algorithm %d", key, i);
        status = cuda_time(g->cuda, what, trial_run, &trial, TIMED_RUNS, &us);
        if (status != VT_OK && status != VT_E_UNSUPPORTED)
            break;
        if (status == VT_OK && (best < 0 || us < *best_us)) {
            best = i;
            *best_us = us;
        }
    }
    trial_close(&trial);
    if (status != VT_OK && status != VT_E_UNSUPPORTED)
        return status;
    if (best < 0)
        return status == VT_OK ? VT_FAIL(VT_E_UNSUPPORTED, "cuda: cuBLASLt has no algorithm in order for %s", key)
                               : status_prefix(status, "none of cuBLASLt's %d algorithms runs; the last", count);
    take(g, &results[best]);
    return VT_OK;
}

/* "HEX,MICROSECONDS": the time is for readers. */
static void write_value(const struct gemm *g, double us, char value[ALGO_HEX + 32])
{
    const unsigned char *bytes = (const unsigned char *)&g->algo;
    for (size_t i = 0; i < sizeof g->algo; i++)
        snprintf(value + 2 * i, 3, "%02x", bytes[i]);
    snprintf(value + ALGO_HEX, 32, ",%.1fus", us);
}

static bool read_value(const char *value, cublasLtMatmulAlgo_t *algo)
{
    unsigned char *bytes = (unsigned char *)algo;
    if (strlen(value) < ALGO_HEX)
        return false;
    for (size_t i = 0; i < sizeof *algo; i++) {
        unsigned byte;
        if (sscanf(value + 2 * i, "%2x", &byte) != 1)
            return false;
        bytes[i] = (unsigned char)byte;
    }
    return true;
}

/* The stored algorithm, if the library still takes it for this product. */
static bool take_stored(struct gemm *g, const char *key)
{
    cublasLtMatmulHeuristicResult_t result;
    cublasLtMatmulAlgo_t algo;
    const char *value = cuda_tuning_find(g->cuda, key);
    if (!value || !read_value(value, &algo))
        return false;
    if (cublasLtMatmulAlgoCheck(g->cuda->lt, g->desc, g->a, g->b, g->d, g->d, &algo, &result) !=
            CUBLAS_STATUS_SUCCESS ||
        result.workspaceSize > g->cuda->gemm_workspace_limit)
        return false;
    g->algo = algo;
    g->workspace_bytes = result.workspaceSize;
    return true;
}

static vt_status choose(struct gemm *g)
{
    cublasLtMatmulHeuristicResult_t results[REQUESTED];
    char key[GEMM_KEY_BYTES], value[ALGO_HEX + 32];
    int count;
    double us = 0;
    gemm_key(&g->shape, key);
    if (take_stored(g, key))
        return VT_OK;
    VT_TRY(ask_heuristic(g, results, &count));
    if (g->cuda->tune)
        VT_TRY(time_algorithms(g, key, results, count, &us));
    else
        take(g, &results[0]);
    write_value(g, us, value);
    cuda_tuning_put(g->cuda, key, value);
    return VT_OK;
}

vt_status gemm_open(struct cuda_backend *cuda, const struct gemm_shape *shape, struct gemm **out)
{
    struct gemm *g = calloc(1, sizeof *g);
    if (!g)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for a product");
    g->cuda = cuda;
    g->shape = *shape;
    vt_status status = describe(g);
    if (status == VT_OK)
        status = choose(g);
    if (status != VT_OK) {
        gemm_close(&g);
        return status;
    }
    *out = g;
    return VT_OK;
}

void gemm_close(struct gemm **gemm)
{
    struct gemm *g = *gemm;
    if (!g)
        return;
    if (g->desc)
        (void)cublasLtMatmulDescDestroy(g->desc);
    if (g->a)
        (void)cublasLtMatrixLayoutDestroy(g->a);
    if (g->b)
        (void)cublasLtMatrixLayoutDestroy(g->b);
    if (g->d)
        (void)cublasLtMatrixLayoutDestroy(g->d);
    free(g);
    *gemm = NULL;
}

size_t gemm_workspace(const struct gemm *gemm)
{
    return gemm->workspace_bytes;
}
const struct gemm_shape *gemm_shape_of(const struct gemm *gemm)
{
    return &gemm->shape;
}
