/* cuBLASLt on the CPU: the calls of gemm.c, by the rules of its header and manual, products in plain loops. What the real one
 * answers with a status is refused the same way where a caller may ask to find out; what can only be a mistake (a wrong size, a
 * misaligned pointer, memory that is not there) aborts. VT_STAND_IN_LT: documented (default: a bias has D's type), fp32-bias (also fp32
 * on bf16), plain (no epilogue). */
#include <cublasLt.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "tensor/dtype.h"

enum { ALGORITHMS = 6, MAGIC = 0x17ea57, WORKSPACE_ALIGN = 256 };
/* Sums in one go; in two halves by each scheme; one that the library itself says is none; one that fails when it is run. */
enum algorithm { WHOLE, BY_WORKSPACE, IN_PLACE, BY_OUTPUT, NOT_SO, FAILS };

struct lt_handle {
    int device;
};
struct lt_desc {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t trans_a, trans_b, bias_type, sm_target;
    uint32_t epilogue;
    void *bias, *aux;
    int64_t aux_ld;
};
struct lt_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};
struct lt_preference {
    uint64_t workspace;
    uint32_t reductions, align[4]; /* A, B, C, D */
};
struct lt_algo { /* in the 64 bytes of cublasLtMatmulAlgo_t */
    uint32_t magic, kind;
    uint64_t problem, workspace;
    uint8_t align[4], align_bias, align_aux;
};
_Static_assert(sizeof(struct lt_algo) <= sizeof(cublasLtMatmulAlgo_t), "it fits");

struct problem { /* one product, all of it by value: a capture keeps it */
    struct lt_desc desc;
    struct lt_layout a, b, d;
    const void *a_data, *b_data;
    const void *c_data;
    void *d_data, *workspace;
    float alpha, beta;
    struct lt_algo algo;
    int64_t m, n, k;
};

size_t cublasLtGetVersion(void) { return 130100; }
const char *cublasLtGetStatusName(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_EXECUTION_FAILED";
}
const char *cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    struct lt_handle *made = calloc(1, sizeof *made);
    made->device = stand_in_device("cublasLtCreate");
    *handle = (cublasLtHandle_t)(void *)made;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- descriptors ---- */
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale)
{
    struct lt_desc *made = calloc(1, sizeof *made);
    *made = (struct lt_desc){.compute = compute, .scale = scale, .epilogue = CUBLASLT_EPILOGUE_DEFAULT, .bias_type = -1};
    *desc = (cublasLtMatmulDesc_t)(void *)made;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

static void take(void *to, size_t wanted, const void *from, size_t bytes, int attribute)
{
    if (bytes != wanted)
        stand_in_broken("attribute %d has %zu bytes, not %zu", attribute, wanted, bytes);
    memcpy(to, from, bytes);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t bytes)
{
    struct lt_desc *d = (struct lt_desc *)(void *)desc;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: take(&d->trans_a, sizeof(int32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: take(&d->trans_b, sizeof(int32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: take(&d->epilogue, sizeof(uint32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: take(&d->bias, sizeof(void *), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: take(&d->bias_type, sizeof(int32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: take(&d->aux, sizeof(void *), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: take(&d->aux_ld, sizeof(int64_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: take(&d->sm_target, sizeof(int32_t), value, bytes, attribute); break;
    default: stand_in_broken("attribute %d of a product is not played here", (int)attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld)
{
    struct lt_layout *made = calloc(1, sizeof *made);
    *made = (struct lt_layout){type, rows, columns, ld};
    *layout = (cublasLtMatrixLayout_t)(void *)made;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

/* The header's defaults. */
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    struct lt_preference *made = calloc(1, sizeof *made);
    *made = (struct lt_preference){0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    *preference = (cublasLtMatmulPreference_t)(void *)made;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    struct lt_preference *p = (struct lt_preference *)(void *)preference;
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: take(&p->workspace, sizeof(uint64_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: take(&p->reductions, sizeof(uint32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: take(&p->align[0], sizeof(uint32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: take(&p->align[1], sizeof(uint32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: take(&p->align[2], sizeof(uint32_t), value, bytes, attribute); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: take(&p->align[3], sizeof(uint32_t), value, bytes, attribute); break;
    default: stand_in_broken("preference %d is not played here", (int)attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- what is supported ---- */
static bool is_gradient(uint32_t e) { return e == CUBLASLT_EPILOGUE_BGRADB || e == CUBLASLT_EPILOGUE_DGELU_BGRAD; } /* of the bias */
static bool has_bias(uint32_t e) { return (e & CUBLASLT_EPILOGUE_BIAS) || is_gradient(e); }
static bool has_aux(uint32_t e) { return e & 128; }

static size_t type_bytes(cudaDataType_t type) { return type == CUDA_R_16BF ? 2 : 4; }

static cudaDataType_t bias_type_of(const struct problem *p)
{
    return p->desc.bias_type < 0 ? p->d.type : (cudaDataType_t)p->desc.bias_type;
}

static void check_shape(struct problem *p, const struct lt_layout *c)
{
    const struct lt_layout *a = &p->a, *b = &p->b, *d = &p->d;
    bool ta = p->desc.trans_a == CUBLAS_OP_T, tb = p->desc.trans_b == CUBLAS_OP_T;
    p->m = (int64_t)(ta ? a->columns : a->rows);
    p->k = (int64_t)(ta ? a->rows : a->columns);
    p->n = (int64_t)(tb ? b->rows : b->columns);
    if ((int64_t)(tb ? b->columns : b->rows) != p->k || (int64_t)d->rows != p->m || (int64_t)d->columns != p->n || p->m < 1 ||
        p->n < 1 || p->k < 1)
        stand_in_broken("matrices that do not fit: A %lux%lu, B %lux%lu, D %lux%lu", a->rows, a->columns, b->rows, b->columns, d->rows,
                        d->columns);
    if (a->ld < (int64_t)a->rows || b->ld < (int64_t)b->rows || d->ld < (int64_t)d->rows)
        stand_in_broken("columns that overlap");
    if (memcmp(c, d, sizeof *c) != 0)
        stand_in_broken("C and D are one matrix, and have two layouts");
    if (p->desc.compute != CUBLAS_COMPUTE_32F || p->desc.scale != CUDA_R_32F)
        stand_in_broken("fp32 is to stay fp32: no other way to compute is wanted");
    if (has_aux(p->desc.epilogue) && (p->desc.aux_ld < p->m || p->desc.aux_ld % 8 != 0))
        stand_in_broken("an aux matrix with columns %ld apart", (long)p->desc.aux_ld);
}

/* The manual's table of types for COMPUTE_32F, and what epilogues there are. */
static bool supported(const struct problem *p)
{
    const char *mood = getenv("VT_STAND_IN_LT");
    const uint32_t e = p->desc.epilogue;
    bool lenient = mood && strcmp(mood, "fp32-bias") == 0, plain = mood && strcmp(mood, "plain") == 0;
    cudaDataType_t in = p->a.type, out = p->d.type;
    if (p->b.type != in || (in != CUDA_R_16BF && in != CUDA_R_32F) || (out != CUDA_R_32F && out != in))
        return false;
    if (plain && e != CUBLASLT_EPILOGUE_DEFAULT)
        return false;
    if (has_bias(e) && bias_type_of(p) != out && !(lenient && bias_type_of(p) == CUDA_R_32F && !is_gradient(e)))
        return false;
    return !has_aux(e) || out == CUDA_R_16BF;
}

static uint64_t hash(uint64_t h, uint64_t value) { return (h ^ value) * 0x9E3779B97F4A7C15u ^ h >> 29; }

static uint64_t name_of(const struct problem *p)
{
    const struct lt_layout *all[] = {&p->a, &p->b, &p->d};
    uint64_t h = hash(hash(p->desc.epilogue, (uint64_t)p->desc.trans_a * 3 + (uint64_t)p->desc.trans_b), (uint64_t)bias_type_of(p));
    for (int i = 0; i < 3; i++)
        h = hash(hash(hash(hash(h, all[i]->rows), all[i]->columns), (uint64_t)all[i]->ld), all[i]->type);
    return hash(h, (uint64_t)p->desc.aux_ld);
}

static uint64_t scratch_of(enum algorithm kind, const struct problem *p)
{
    uint64_t elements = (uint64_t)(p->m * p->n);
    return kind == BY_WORKSPACE ? 2 * elements * sizeof(float) : kind == BY_OUTPUT ? 2 * elements * type_bytes(p->d.type) : 0;
}

static bool offered(enum algorithm kind, const struct problem *p, const struct lt_preference *preference)
{
    static const uint32_t scheme[ALGORITHMS] = {[BY_WORKSPACE] = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
                                                [IN_PLACE] = CUBLASLT_REDUCTION_SCHEME_INPLACE,
                                                [BY_OUTPUT] = CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE};
    if (scheme[kind] && !(preference->reductions & scheme[kind]))
        return false;
    return scratch_of(kind, p) <= preference->workspace && (!scheme[kind] || p->k > 1);
}

static uint8_t align_of(const void *pointer)
{
    uintptr_t at = (uintptr_t)pointer;
    for (unsigned align = 128; align > 1; align /= 2)
        if (at % align == 0)
            return (uint8_t)align;
    return 1;
}

static struct problem describe(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                               cublasLtMatrixLayout_t d)
{
    struct problem p = {.desc = *(struct lt_desc *)(void *)desc, .a = *(struct lt_layout *)(void *)a,
                        .b = *(struct lt_layout *)(void *)b, .d = *(struct lt_layout *)(void *)d};
    check_shape(&p, (struct lt_layout *)(void *)c);
    return p;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int *count)
{
    const struct lt_preference *wish = (struct lt_preference *)(void *)preference;
    struct problem p = describe(desc, a, b, c, d);
    (void)handle;
    *count = 0;
    if (!supported(&p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if ((has_bias(p.desc.epilogue) && !p.desc.bias) || (has_aux(p.desc.epilogue) && !p.desc.aux))
        stand_in_broken("algorithms are asked for before the epilogue's pointers are set");
    for (int kind = 0; kind < ALGORITHMS && *count < requested; kind++) {
        if (!offered((enum algorithm)kind, &p, wish))
            continue;
        struct lt_algo algo = {MAGIC, (uint32_t)kind, name_of(&p), scratch_of((enum algorithm)kind, &p), {0}, align_of(p.desc.bias),
                               align_of(p.desc.aux)};
        for (int i = 0; i < 4; i++)
            algo.align[i] = (uint8_t)(wish->align[i] > 128 ? 128 : wish->align[i]);
        cublasLtMatmulHeuristicResult_t *result = &results[(*count)++];
        memset(result, 0, sizeof *result);
        memcpy(&result->algo, &algo, sizeof algo);
        result->workspaceSize = algo.workspace;
        result->state = kind == NOT_SO ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
    struct problem p = describe(desc, a, b, c, d);
    struct lt_algo known;
    (void)handle;
    memcpy(&known, algo, sizeof known);
    if (known.magic != MAGIC || known.problem != name_of(&p) || !supported(&p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(result, 0, sizeof *result);
    result->algo = *algo;
    result->workspaceSize = known.workspace;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- products ---- */
static double load(cudaDataType_t type, const void *m, int64_t i)
{
    return type == CUDA_R_16BF ? (double)bf16_to_float(((const bf16_t *)m)[i]) : (double)((const float *)m)[i];
}

static void store(cudaDataType_t type, void *m, int64_t i, double value)
{
    if (type == CUDA_R_16BF)
        ((bf16_t *)m)[i] = bf16_from_float((float)value);
    else
        ((float *)m)[i] = (float)value;
}

static double rounded(cudaDataType_t type, double value)
{
    return type == CUDA_R_16BF ? (double)bf16_to_float(bf16_from_float((float)value)) : (double)(float)value;
}

static double gelu(double x) { return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))); }

static double gelu_slope(double x)
{
    double c = sqrt(2 / acos(-1)), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

static double finish(const struct problem *p, int64_t row, int64_t column, double sum)
{
    const uint32_t e = p->desc.epilogue;
    const int64_t aux = row + column * p->desc.aux_ld;
    if ((e & ~16u) == CUBLASLT_EPILOGUE_DGELU)
        return sum * gelu_slope(load(p->d.type, p->desc.aux, aux));
    if (e & CUBLASLT_EPILOGUE_BIAS)
        sum += load(bias_type_of(p), p->desc.bias, row);
    if (has_aux(e))
        store(p->d.type, p->desc.aux, aux, sum);
    return e & CUBLASLT_EPILOGUE_GELU ? gelu(sum) : sum;
}

/* Rows of op(A), or columns of op(B), one after another. */
static double *gather(const struct lt_layout *l, const void *data, bool across, int64_t count, int64_t k)
{
    double *all = malloc((size_t)(count * k) * sizeof *all);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < k; j++)
            all[i * k + j] = load(l->type, data, across ? i + j * l->ld : i * l->ld + j);
    return all;
}

static double dot(const double *a, const double *b, int64_t from, int64_t to)
{
    double sum[4] = {0};
    int64_t l = from;
    for (; l + 4 <= to; l += 4)
        for (int t = 0; t < 4; t++)
            sum[t] += a[l + t] * b[l + t];
    for (; l < to; l++)
        sum[0] += a[l] * b[l];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* What the algorithm makes of a sum: halves are rounded where they lie meanwhile. */
static double sum_of(const struct problem *p, const double *a, const double *b)
{
    const int64_t half = p->k / 2;
    if (p->algo.kind == WHOLE)
        return dot(a, b, 0, p->k);
    cudaDataType_t at = p->algo.kind == BY_WORKSPACE ? CUDA_R_32F : p->d.type;
    return rounded(at, dot(a, b, 0, half)) + rounded(at, dot(a, b, half, p->k));
}

/* Too large for a CPU: for programs that ask for its time. */
static bool is_huge(const struct problem *p) { return (double)p->m * (double)p->n * (double)p->k > 1e10; }

static void multiply(void *context)
{
    const struct problem *p = context;
    if (is_huge(p))
        return;
    double *a = gather(&p->a, p->a_data, p->desc.trans_a == CUBLAS_OP_N, p->m, p->k);
    double *b = gather(&p->b, p->b_data, p->desc.trans_b == CUBLAS_OP_T, p->n, p->k);
    double *rows = calloc((size_t)p->m, sizeof *rows);
    if (p->algo.workspace)
        memset(p->workspace, 0xff, p->algo.workspace);
    for (int64_t j = 0; j < p->n; j++) {
        double column = 0;
        for (int64_t i = 0; i < p->m; i++) {
            int64_t at = i + j * p->d.ld;
            double value = (double)p->alpha * sum_of(p, a + i * p->k, b + j * p->k);
            if (p->beta != 0)
                value += (double)p->beta * load(p->d.type, p->c_data, at);
            value = finish(p, i, j, value);
            rows[i] += value;
            store(p->d.type, p->d_data, at, value);
        }
        for (int64_t l = 0; l < p->k; l++)
            column += b[j * p->k + l];
        if (p->desc.epilogue == CUBLASLT_EPILOGUE_BGRADB)
            store(bias_type_of(p), p->desc.bias, j, column);
    }
    for (int64_t i = 0; p->desc.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD && i < p->m; i++)
        store(bias_type_of(p), p->desc.bias, i, rows[i]);
    free(rows);
    free(a);
    free(b);
}

static size_t extent(const struct lt_layout *l) { return ((size_t)(l->columns - 1) * (size_t)l->ld + l->rows) * type_bytes(l->type); }

static void check_operand(const char *name, const void *data, size_t bytes, unsigned align)
{
    if ((uintptr_t)data % align != 0)
        stand_in_broken("%s at %p: the algorithm was asked for with %u-byte alignment", name, data, align);
    if (!stand_in_is_device(data, bytes))
        stand_in_broken("%s at %p, %zu bytes, is not in one allocation of the device", name, data, bytes);
}

static void check_apart(const char *name, const void *data, size_t bytes, const struct problem *p)
{
    const char *x = data, *d = p->d_data;
    if (x < d + extent(&p->d) && d < x + bytes)
        stand_in_broken("%s lies in D", name);
}

static void check_operands(const struct problem *p, size_t workspace_bytes)
{
    const struct lt_algo *algo = &p->algo;
    size_t bias = (size_t)(p->desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? p->n : p->m) * type_bytes(bias_type_of(p));
    size_t aux = ((size_t)(p->n - 1) * (size_t)p->desc.aux_ld + (size_t)p->m) * type_bytes(p->d.type);
    check_operand("A", p->a_data, extent(&p->a), algo->align[0]);
    check_operand("B", p->b_data, extent(&p->b), algo->align[1]);
    check_operand("D", p->d_data, extent(&p->d), algo->align[3]);
    check_apart("A", p->a_data, extent(&p->a), p);
    check_apart("B", p->b_data, extent(&p->b), p);
    if (has_bias(p->desc.epilogue)) {
        check_operand("the bias", p->desc.bias, bias, algo->align_bias);
        check_apart("the bias", p->desc.bias, bias, p);
    }
    if (has_aux(p->desc.epilogue)) {
        check_operand("aux", p->desc.aux, aux, algo->align_aux);
        check_apart("aux", p->desc.aux, aux, p);
    }
    if (algo->workspace > workspace_bytes)
        stand_in_broken("%zu bytes of workspace for an algorithm that wants %lu", workspace_bytes, algo->workspace);
    if (algo->workspace) {
        check_operand("the workspace", p->workspace, workspace_bytes, 16);
        if ((uintptr_t)p->workspace % WORKSPACE_ALIGN != 0)
            stand_in_broken("a workspace at %p", p->workspace);
        check_apart("the workspace", p->workspace, workspace_bytes, p);
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t al,
                              const void *b, cublasLtMatrixLayout_t bl, const void *beta, const void *c, cublasLtMatrixLayout_t cl, void *d,
                              cublasLtMatrixLayout_t dl, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    struct problem p = describe(desc, al, bl, cl, dl);
    if (((struct lt_handle *)(void *)handle)->device != stand_in_device("cublasLtMatmul"))
        stand_in_broken("cublasLtMatmul on another device than its handle's");
    memcpy(&p.algo, algo, sizeof p.algo);
    if (p.algo.magic != MAGIC || p.algo.problem != name_of(&p))
        stand_in_broken("an algorithm of another product");
    p.a_data = a, p.b_data = b, p.c_data = c, p.d_data = d, p.workspace = workspace;
    p.alpha = *(const float *)alpha, p.beta = *(const float *)beta;
    if (c != d)
        stand_in_broken("C is not D");
    check_operands(&p, workspace_bytes);
    if (p.algo.kind == NOT_SO || p.algo.kind == FAILS)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    stand_in_enqueue(stream, "product", multiply, &p, sizeof p, 3 + (double)(hash(p.algo.problem, p.algo.kind) % 16));
    return CUBLAS_STATUS_SUCCESS;
}
