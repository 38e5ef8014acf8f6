#include "backend/cuda/gemm_shape.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum {
    ALIGN_MAX = 16,
    AUX_LD_UNIT = 8,  /* cuBLASLt: the aux matrix's columns lie multiples of 8 elements apart */
    BGRAD_UNIT = 8    /* sums beside a product only where all rows begin on 16 bytes: illegal accesses were reported of others */
};

bool gemm_has_bias(enum gemm_epilogue epilogue)
{
    return epilogue == GEMM_BIAS || epilogue == GEMM_GELU_BIAS || epilogue == GEMM_GELU_AUX_BIAS ||
           epilogue == GEMM_DGELU_BGRAD || epilogue == GEMM_BGRADB;
}

bool gemm_has_aux(enum gemm_epilogue epilogue)
{
    return epilogue == GEMM_GELU_AUX || epilogue == GEMM_GELU_AUX_BIAS || epilogue == GEMM_DGELU ||
           epilogue == GEMM_DGELU_BGRAD;
}

static int64_t matrix_count(int64_t rows, int64_t columns, int64_t ld)
{
    return (columns - 1) * ld + rows;
}

int64_t gemm_a_count(const struct gemm_shape *s)
{
    return s->a_transposed ? matrix_count(s->k, s->m, s->lda) : matrix_count(s->m, s->k, s->lda);
}

int64_t gemm_b_count(const struct gemm_shape *s)
{
    return s->b_transposed ? matrix_count(s->n, s->k, s->ldb) : matrix_count(s->k, s->n, s->ldb);
}

int64_t gemm_d_count(const struct gemm_shape *s)
{
    return matrix_count(s->m, s->n, s->ldd);
}

int gemm_alignment(int64_t ld, enum dtype dtype)
{
    int64_t bytes = ld * (int64_t)dtype_bytes(dtype);
    int align = ALIGN_MAX;
    while (bytes % align != 0)
        align /= 2;
    return align;
}

void gemm_key(const struct gemm_shape *s, char key[GEMM_KEY_BYTES])
{
    static const char *const epilogues[GEMM_EPILOGUE_COUNT] = {
        "plain", "bias", "gelu", "gelu_bias", "gelu_aux", "gelu_aux_bias", "dgelu", "dgelu_bgrad", "bgradb"};
    int used = snprintf(key, GEMM_KEY_BYTES, "gemm/%c%c/%lldx%lldx%lld/ld=%lld,%lld,%lld/%s>%s/%s",
                        s->a_transposed ? 'T' : 'N', s->b_transposed ? 'T' : 'N', (long long)s->m, (long long)s->n,
                        (long long)s->k, (long long)s->lda, (long long)s->ldb, (long long)s->ldd,
                        dtype_name(s->dtype_in), dtype_name(s->dtype_out), epilogues[s->epilogue]);
    if (gemm_has_bias(s->epilogue))
        used += snprintf(key + used, (size_t)(GEMM_KEY_BYTES - used), ":%s", dtype_name(s->dtype_bias));
    if (s->accumulates)
        used += snprintf(key + used, (size_t)(GEMM_KEY_BYTES - used), "/beta");
    if (s->sm_target)
        used += snprintf(key + used, (size_t)(GEMM_KEY_BYTES - used), "/sm%d", s->sm_target);
    VT_CHECK(used < GEMM_KEY_BYTES);
}

const char *linear_route_name(enum linear_route route)
{
    return route == ROUTE_FUSED ? "fused" : route == ROUTE_SPLIT ? "split" : "scratch";
}

bool linear_route_parse(const char *name, enum linear_route *route)
{
    for (int i = ROUTE_FUSED; i <= ROUTE_SCRATCH; i++)
        if (strcmp(name, linear_route_name((enum linear_route)i)) == 0) {
            *route = (enum linear_route)i;
            return true;
        }
    return false;
}

bool linear_is_mixed(const struct linear_desc *desc)
{
    return desc->dtype_out != desc->dtype;
}

/* ---- forward ---- */

static struct gemm_shape forward_shape(const struct linear_desc *d, enum dtype dtype_out, enum gemm_epilogue epilogue,
                                       enum dtype dtype_bias)
{
    return (struct gemm_shape){.m = d->out,
                               .n = d->rows,
                               .k = d->in,
                               .a_transposed = true,
                               .lda = d->in,
                               .ldb = d->x_stride,
                               .ldd = d->out,
                               .ld_aux = gemm_has_aux(epilogue) ? d->out : 0,
                               .dtype_in = d->dtype,
                               .dtype_out = dtype_out,
                               .dtype_bias = dtype_bias,
                               .epilogue = epilogue};
}

/* With a bias: in fp32, as it is kept, and where the library refuses that, rounded to D's type before each product. */
static int add_with_bias(const struct linear_desc *d, enum linear_route route, enum dtype dtype_out,
                         enum gemm_epilogue epilogue, struct linear_candidate *out)
{
    int count = 0;
    out[count++] = (struct linear_candidate){route, forward_shape(d, dtype_out, epilogue, DTYPE_F32)};
    if (gemm_has_bias(epilogue) && dtype_out != DTYPE_F32)
        out[count++] = (struct linear_candidate){route, forward_shape(d, dtype_out, epilogue, dtype_out)};
    return count;
}

/* The library's GELU is the tanh form in fast arithmetic: good for bf16 results, not for fp32 ones. */
static bool gelu_fuses(const struct linear_desc *d, bool pre)
{
    return d->act == ACT_GELU_TANH && d->dtype == DTYPE_BF16 && d->dtype_out == DTYPE_BF16 &&
           (!pre || d->out % AUX_LD_UNIT == 0);
}

int linear_forward_candidates(const struct linear_desc *d, bool pre, struct linear_candidate out[LINEAR_CANDIDATES])
{
    const enum gemm_epilogue bias = d->bias ? GEMM_BIAS : GEMM_PLAIN;
    int count = 0;
    if (d->act == ACT_NONE)
        count += add_with_bias(d, ROUTE_FUSED, d->dtype_out, bias, out);
    else {
        enum gemm_epilogue gelu = pre       ? (d->bias ? GEMM_GELU_AUX_BIAS : GEMM_GELU_AUX)
                                  : d->bias ? GEMM_GELU_BIAS
                                            : GEMM_GELU;
        if (gelu_fuses(d, pre))
            count += add_with_bias(d, ROUTE_FUSED, d->dtype_out, gelu, out);
        count += add_with_bias(d, ROUTE_SPLIT, pre ? d->dtype : d->dtype_out, bias, out + count);
    }
    if (d->bias)
        out[count++] = (struct linear_candidate){ROUTE_SCRATCH, forward_shape(d, DTYPE_F32, GEMM_PLAIN, DTYPE_F32)};
    VT_CHECK(count <= LINEAR_CANDIDATES);
    return count;
}

/* ---- backward ---- */

/* The library's slope is that of its GELU: good for bf16. Its sums come in D's type, which must be T. */
static bool dgelu_fuses(const struct linear_desc *d, bool sum)
{
    return d->input_act == ACT_GELU_TANH && d->dtype == DTYPE_BF16 && d->in % AUX_LD_UNIT == 0 &&
           (!sum || (d->out % BGRAD_UNIT == 0 && d->x_stride % BGRAD_UNIT == 0 && !linear_is_mixed(d)));
}

int linear_input_candidates(const struct linear_desc *d, bool sum, struct linear_candidate out[LINEAR_CANDIDATES])
{
    struct gemm_shape shape = {.m = d->in,
                               .n = d->rows,
                               .k = d->out,
                               .lda = d->in,
                               .ldb = d->out,
                               .ldd = d->x_stride,
                               .dtype_in = d->dtype,
                               .dtype_out = d->dtype,
                               .dtype_bias = DTYPE_F32};
    int count = 0;
    if (sum && d->input_act == ACT_NONE)
        return 0;
    if (dgelu_fuses(d, sum)) {
        out[count] = (struct linear_candidate){ROUTE_FUSED, shape};
        out[count].shape.epilogue = sum ? GEMM_DGELU_BGRAD : GEMM_DGELU;
        out[count].shape.dtype_bias = sum ? shape.dtype_out : shape.dtype_bias;
        out[count++].shape.ld_aux = d->in;
    }
    out[count++] = (struct linear_candidate){d->input_act == ACT_NONE ? ROUTE_FUSED : ROUTE_SPLIT, shape};
    if (d->dtype == DTYPE_BF16) {
        out[count] = (struct linear_candidate){ROUTE_SCRATCH, shape};
        out[count].shape.dtype_in = out[count].shape.dtype_out = DTYPE_F32;
        out[count++].shape.ldd = d->in;
    }
    return count;
}

int linear_weight_candidates(const struct linear_desc *d, bool db, struct linear_candidate out[LINEAR_CANDIDATES])
{
    bool widened = linear_is_mixed(d);
    struct gemm_shape shape = {.m = d->in,
                               .n = d->out,
                               .k = d->rows,
                               .b_transposed = true,
                               .lda = widened ? d->in : d->x_stride,
                               .ldb = d->out,
                               .ldd = d->in,
                               .dtype_in = d->dtype_out,
                               .dtype_out = DTYPE_F32,
                               .dtype_bias = DTYPE_F32,
                               .accumulates = true};
    int count = 0;
    bool whole = d->in % BGRAD_UNIT == 0 && d->out % BGRAD_UNIT == 0 && shape.lda % BGRAD_UNIT == 0;
    if (db && shape.dtype_in == DTYPE_BF16 && whole) {
        out[count] = (struct linear_candidate){ROUTE_FUSED, shape};
        out[count++].shape.epilogue = GEMM_BGRADB;
    }
    out[count++] = (struct linear_candidate){db ? ROUTE_SPLIT : ROUTE_FUSED, shape};
    if (shape.dtype_in == DTYPE_BF16) {
        out[count] = (struct linear_candidate){ROUTE_SCRATCH, shape};
        out[count].shape.dtype_in = DTYPE_F32;
        out[count++].shape.lda = d->in;
    }
    return count;
}
