#include "gemm_emulated.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gemm.h"
#include "backend/cuda/tuning.h"

enum { LIBRARY_WORKSPACE = 1000, TRIAL_ALIGN = 256 };

struct gemm {
    struct gemm_shape shape;
};

struct emulated_library emulated;
static struct tuning *table;
static enum gemm_epilogue last_run;

/* ---- products ---- */

vt_status gemm_open(struct cuda_backend *cuda, const struct gemm_shape *s, struct gemm **out)
{
    (void)cuda;
    bool refused = (emulated.refuses_bf16_gradients && !s->a_transposed && s->dtype_in == DTYPE_BF16) ||
                   (emulated.refuses_epilogues && s->epilogue != GEMM_PLAIN) ||
                   (emulated.refuses_dgelu_bgrad && s->epilogue == GEMM_DGELU_BGRAD) ||
                   (emulated.refuses_fp32_bias && gemm_has_bias(s->epilogue) && s->dtype_bias == DTYPE_F32 &&
                    s->dtype_out == DTYPE_BF16);
    if (refused)
        return VT_FAIL(VT_E_UNSUPPORTED, "refused");
    if (emulated.full && s->epilogue == GEMM_DGELU_BGRAD)
        return VT_FAIL(VT_E_MEMORY, "full");
    /* What the library's own rules are. */
    VT_CHECK(s->lda >= (s->a_transposed ? s->k : s->m) && s->ldb >= (s->b_transposed ? s->n : s->k) && s->ldd >= s->m);
    VT_CHECK(!gemm_has_aux(s->epilogue) || (s->ld_aux >= s->m && s->ld_aux % 8 == 0));
    VT_CHECK(s->dtype_in == DTYPE_BF16 || s->dtype_out == DTYPE_F32);
    VT_CHECK(s->epilogue != GEMM_DGELU_BGRAD || s->dtype_bias == s->dtype_out);
    *out = malloc(sizeof **out);
    (*out)->shape = *s;
    emulated.sm_target[s->a_transposed ? 0 : s->b_transposed ? 2 : 1] = s->sm_target;
    emulated.opened++;
    emulated.open++;
    return VT_OK;
}

void gemm_close(struct gemm **gemm)
{
    emulated.open -= *gemm != NULL;
    free(*gemm);
    *gemm = NULL;
}

size_t gemm_workspace(const struct gemm *gemm)
{
    return (void)gemm, LIBRARY_WORKSPACE;
}
const struct gemm_shape *gemm_shape_of(const struct gemm *gemm)
{
    return &gemm->shape;
}

static double load(enum dtype dtype, const void *m, int64_t i)
{
    return dtype == DTYPE_BF16 ? (double)bf16_to_float(((const bf16_t *)m)[i]) : (double)((const float *)m)[i];
}

static void store(enum dtype dtype, void *m, int64_t i, double value)
{
    if (dtype == DTYPE_BF16)
        ((bf16_t *)m)[i] = bf16_from_float((float)value);
    else
        ((float *)m)[i] = (float)value;
}

static double gelu(double x)
{
    return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static double gelu_slope(double x)
{
    double c = sqrt(2 / acos(-1)), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

static double finish(const struct gemm_shape *s, const struct gemm_operands *o, int64_t row, int64_t column, double sum)
{
    int64_t aux = row + column * s->ld_aux;
    if (gemm_has_bias(s->epilogue) && s->epilogue != GEMM_BGRADB && s->epilogue != GEMM_DGELU_BGRAD)
        sum += load(s->dtype_bias, o->bias, row);
    switch (s->epilogue) {
    case GEMM_GELU_AUX:
    case GEMM_GELU_AUX_BIAS:
        store(s->dtype_out, o->aux, aux, sum);
        return gelu(sum);
    case GEMM_GELU:
    case GEMM_GELU_BIAS:
        return gelu(sum);
    case GEMM_DGELU:
    case GEMM_DGELU_BGRAD:
        return sum * gelu_slope(load(s->dtype_out, o->aux, aux));
    default:
        return sum;
    }
}

static void check_alignment(const void *pointer, int64_t ld, enum dtype dtype)
{
    VT_CHECK((uintptr_t)pointer % (uintptr_t)gemm_alignment(ld, dtype) == 0);
}

/* Element (i, l) of an operand at i * row + l * column; gathered with l running fastest. */
static double *gather(enum dtype dtype, const void *m, int64_t rows, int64_t k, int64_t row, int64_t column)
{
    double *all = malloc((size_t)(rows * k) * sizeof *all);
    VT_CHECK(all != NULL);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t l = 0; l < k; l++)
            all[i * k + l] = load(dtype, m, i * row + l * column);
    return all;
}

static double dot(const double *a, const double *b, int64_t k)
{
    double sum[4] = {0};
    int64_t l = 0;
    for (; l + 4 <= k; l += 4)
        for (int t = 0; t < 4; t++)
            sum[t] += a[l + t] * b[l + t];
    for (; l < k; l++)
        sum[0] += a[l] * b[l];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

void gemm_run(struct gemm *g, const struct gemm_operands *o)
{
    const struct gemm_shape *s = &g->shape;
    check_alignment(o->a, s->lda, s->dtype_in);
    check_alignment(o->b, s->ldb, s->dtype_in);
    check_alignment(o->d, s->ldd, s->dtype_out);
    VT_CHECK(!o->accumulate || !gemm_has_aux(s->epilogue));
    last_run = s->epilogue;
    double *a = gather(s->dtype_in, o->a, s->m, s->k, s->a_transposed ? s->lda : 1, s->a_transposed ? 1 : s->lda);
    double *b = gather(s->dtype_in, o->b, s->n, s->k, s->b_transposed ? 1 : s->ldb, s->b_transposed ? s->ldb : 1);
    double *d_sums = calloc((size_t)s->m, sizeof *d_sums);
    VT_CHECK(d_sums != NULL);
    for (int64_t j = 0; j < s->n; j++) {
        double row_sum = 0;
        for (int64_t i = 0; i < s->m; i++) {
            int64_t at = i + j * s->ldd;
            double value = finish(s, o, i, j, dot(a + i * s->k, b + j * s->k, s->k));
            d_sums[i] += value;
            store(s->dtype_out, o->d, at, o->accumulate ? value + load(s->dtype_out, o->d, at) : value);
        }
        for (int64_t l = 0; s->epilogue == GEMM_BGRADB && l < s->k; l++)
            row_sum += b[j * s->k + l];
        if (s->epilogue == GEMM_BGRADB)
            store(s->dtype_bias, o->bias, j, row_sum);
    }
    for (int64_t i = 0; s->epilogue == GEMM_DGELU_BGRAD && i < s->m; i++)
        store(s->dtype_bias, o->bias, i, d_sums[i]);
    free(a);
    free(b);
    free(d_sums);
    VT_CHECK((uintptr_t)o->bias % 16 == 0 && (uintptr_t)o->aux % 16 == 0);
    memset(o->workspace, 0xFF, LIBRARY_WORKSPACE); /* at the end too: nothing of ours may lie there meanwhile */
}

/* ---- what else linear.c has of the backend ---- */

void cuda_need_workspace(struct cuda_backend *cuda, size_t bytes)
{
    if (bytes > cuda->base.workspace_bytes)
        cuda->base.workspace_bytes = bytes;
}

void cuda_note(struct cuda_backend *cuda, int error, const char *what)
{
    cuda_check_launch(&cuda->base, what, error);
}

void cuda_copy_rows(struct cuda_backend *cuda, void *to, size_t to_stride, const void *from, size_t from_stride,
                    size_t row_bytes, int64_t rows)
{
    (void)cuda;
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)to + (size_t)r * to_stride, (const char *)from + (size_t)r * from_stride, row_bytes);
}

static struct tuning *the_table(void)
{
    if (!table)
        VT_CHECK(tuning_open("emulated", "1", &table) == VT_OK);
    return table;
}

void emulated_forget(void)
{
    tuning_close(&table);
}
const char *cuda_tuning_find(const struct cuda_backend *cuda, const char *key)
{
    return (void)cuda, tuning_find(the_table(), key);
}
void cuda_tuning_put(struct cuda_backend *cuda, const char *key, const char *value)
{
    (void)cuda, tuning_put(the_table(), key, value);
}

/* One run, and the time the test wants: that of the epilogue seen. */
vt_status cuda_time(struct cuda_backend *cuda, const char *what, void (*enqueue)(void *context, int run), void *context,
                    int runs, double *us)
{
    (void)cuda, (void)runs;
    enqueue(context, 0);
    emulated.timed++;
    bool fused = last_run != GEMM_PLAIN && last_run != GEMM_BIAS;
    *us = (fused == emulated.prefers_fused ? 1 : 2) + (strstr(what, ", apart") ? emulated.pass_us : 0);
    if (emulated.lost)
        return VT_FAIL(VT_E_IO, "%s: lost", what);
    return fused && emulated.fails_fused ? VT_FAIL(VT_E_UNSUPPORTED, "%s: fails", what) : VT_OK;
}

void *cuda_trial_alloc(struct cuda_backend *cuda, enum dtype dtype, int64_t count)
{
    (void)cuda;
    size_t bytes = ((size_t)count * dtype_bytes(dtype) + TRIAL_ALIGN - 1) / TRIAL_ALIGN * TRIAL_ALIGN;
    void *memory = aligned_alloc(TRIAL_ALIGN, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

void cuda_trial_free(void *memory)
{
    free(memory);
}
