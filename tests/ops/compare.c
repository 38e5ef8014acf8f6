/* How a candidate is judged.
 *
 * Each phase runs three times from the same inputs: the candidate (c), ref in the same dtypes (r), and ref in fp64 on
 * the same values (t, the truth). The backward starts from ref's forward, so errors do not add up. Limits, per element
 * with scale = |t| + rms(t): fp32   |c - t| <= 1e-5 scale: 80 roundings; sums in fp32 of a few thousand terms stay
 * under it, a wrong formula does not. bf16   |c - t| <= 2.5 * 2^-8 scale, and rms(c - t) <= 1.5 rms(r - t): r has one
 * rounding to bf16 at the end, which is the floor; a second rounding on the way makes 1.41. FUSED allows 2 on devices, as p and ds
 * may be rounded before their products; 3 on the CPU. sums of rounded terms (fp32 sums of bf16 values): 2 * 2^-8 scale, and for sums
 * of columns at least rms(terms) sqrt(rows) in place of rms(t): they may be small by chance, their errors not. Whatever
 * an op does not write must keep its bits: other tensors, gaps of views, guard bands. An entry left NULL fails. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "tensors.h"

static const double FP32_LIMIT = 1e-5, SHARP_LIMIT = 1e-3;
static const double BF16_UNIT = 0x1p-8, BF16_LIMIT = 2.5, BF16_RMS_LIMIT = 1.5, FUSED_RMS_LIMIT = 2, FUSED_RMS_LIMIT_LOOSE = 3;
static const double SHARP_GRAD_TIMES = 16; /* of FUSED's */
/* Where ref rounds nothing (copies), a few flips of the last bit are still no error. */
static const double BF16_FLOOR = 0.1;

struct worst {
    double ratio; /* error over limit: > 1 fails */
    char what[160];
};

struct check {
    const struct op_family *family;
    const struct op_case *c, *wide;
    struct backend *ref, *candidate;
    struct compare_result result;
    bool quiet;
};

static void note(struct worst *worst, double ratio, const char *tensor, const char *text)
{
    if (!(ratio > worst->ratio))
        return;
    worst->ratio = ratio;
    snprintf(worst->what, sizeof worst->what, "%s %s", tensor, text);
}

static void note_wrong(struct worst *worst, const char *tensor, const char *what, int64_t i, double got,
                       double expected)
{
    char text[128];
    snprintf(text, sizeof text, "[%lld] %s: %.9g, expected %.9g", (long long)i, what, got, expected);
    note(worst, 1e9, tensor, text);
}

static bool same_bits(const struct tensor_spec *spec, const void *a, const void *b, int64_t i)
{
    if (spec->scalars) {
        double x = tensor_get(spec, a, i), y = tensor_get(spec, b, i);
        return x == y || (isnan(x) && isnan(y));
    }
    size_t bytes = dtype_bytes(spec->dtype);
    return memcmp((const char *)a + (size_t)i * bytes, (const char *)b + (size_t)i * bytes, bytes) == 0;
}

static bool fused(const struct tensor_spec *spec)
{
    return spec->limit == LIMIT_FUSED || spec->limit == LIMIT_SHARP || spec->limit == LIMIT_SHARP_GRAD;
}

/* How many rounding floors the rms of bf16 errors may have. */
static double rms_limit(const struct tensor_spec *spec, const struct backend *candidate)
{
    if (!fused(spec))
        return BF16_RMS_LIMIT;
    return candidate->host_memory || spec->limit == LIMIT_SHARP_GRAD ? FUSED_RMS_LIMIT_LOOSE : FUSED_RMS_LIMIT;
}

static double sharp_grad_times(const struct tensor_spec *spec)
{
    return spec->limit == LIMIT_SHARP_GRAD ? SHARP_GRAD_TIMES : 1;
}

static double element_limit(const struct tensor_spec *spec, bool bf16_case)
{
    if (spec->dtype == DTYPE_BF16)
        return BF16_LIMIT * BF16_UNIT * (fused(spec) ? 2 : 1) * sharp_grad_times(spec);
    if (spec->limit == LIMIT_SHARP || spec->limit == LIMIT_SHARP_GRAD)
        return SHARP_LIMIT;
    return spec->limit == LIMIT_ROUNDED && bf16_case ? 2 * BF16_UNIT : FP32_LIMIT;
}

struct sums {
    double error, floor, truth;
    int64_t count;
};

/* One element; true when it has a numeric error to count. */
static bool compare_element(const struct tensor_spec *spec, const void *before, const void *r, const void *c, int64_t i,
                            struct worst *worst)
{
    double got = tensor_get(spec, c, i), expected = tensor_get(spec, r, i);
    bool untouched = same_bits(spec, r, before, i) && isnan(expected);
    if (untouched || spec->limit == LIMIT_EXACT) {
        if (!same_bits(spec, r, c, i))
            note_wrong(worst, spec->name, untouched ? "written outside the op's output" : "not exact", i, got,
                       expected);
        return false;
    }
    if (isfinite(got) && isfinite(expected))
        return true;
    if (!(isnan(got) && isnan(expected)) && got != expected)
        note_wrong(worst, spec->name, "not finite", i, got, expected);
    return false;
}

static double rms_of(const struct tensor_spec *spec, const void *data)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < spec->count; i++) {
        double value = tensor_get(spec, data, i);
        sum += isfinite(value) ? value * value : 0;
        count += isfinite(value);
    }
    return spec->scalars || count == 0 ? 0 : sqrt(sum / (double)count); /* scalars: each field by itself */
}

/* What tensor k's errors are measured by, besides its own values. */
static double scale_of(const struct tensors *t, int k)
{
    const struct tensor_spec *spec = &t->specs[k];
    const double rms = rms_of(spec, t->data[k]);
    const int terms = spec->column_sum_of - 1;
    if (spec->limit != LIMIT_ROUNDED || terms < 0)
        return rms;
    return fmax(rms, rms_of(&t->specs[terms], t->data[terms]) * sqrt((double)(t->specs[terms].count / spec->count)));
}

static void compare_output(const struct tensor_spec *spec, const struct tensor_spec *wide, double rms, const void *before,
                           const void *r, const void *t, const void *c, bool bf16_case, const struct backend *candidate,
                           struct worst *worst)
{
    double limit = element_limit(spec, bf16_case);
    struct sums sums = {0};
    for (int64_t i = 0; i < spec->count; i++) {
        if (!compare_element(spec, before, r, c, i, worst))
            continue;
        double truth = tensor_get(wide, t, i), error = fabs(tensor_get(spec, c, i) - truth);
        double floor_error = tensor_get(spec, r, i) - truth, scale = fabs(truth) + rms;
        sums.error += error * error;
        sums.floor += floor_error * floor_error;
        sums.count++;
        char text[128];
        snprintf(text, sizeof text, "[%lld] %.2e of scale (limit %.2e)", (long long)i, error / (scale + 1e-300), limit);
        note(worst, error / (limit * scale + 1e-300), spec->name, text);
    }
    if (spec->dtype != DTYPE_BF16 || sums.count == 0)
        return;
    double floor_rms = fmax(sqrt(sums.floor / (double)sums.count), BF16_FLOOR * BF16_UNIT * rms);
    double times = sqrt(sums.error / (double)sums.count) / (floor_rms + 1e-300);
    double times_limit = rms_limit(spec, candidate) * sharp_grad_times(spec);
    char text[128];
    snprintf(text, sizeof text, "rms %.2f rounding floors (limit %.1f)", times, times_limit);
    note(worst, times / times_limit, spec->name, text);
}

static void compare_phase(const struct tensors *before, const struct tensors *r, const struct tensors *t,
                          const struct tensors *c, enum phase phase, bool bf16_case, const struct backend *candidate,
                          struct worst *worst)
{
    for (int k = 0; k < r->count; k++) {
        const struct tensor_spec *spec = &r->specs[k];
        if (spec->roles & (phase == PHASE_FORWARD ? FWD_OUT : BWD_OUT))
            compare_output(spec, &t->specs[k], scale_of(t, k), before->data[k], r->data[k], t->data[k], c->data[k], bf16_case,
                           candidate, worst);
        else if (memcmp(before->data[k], c->data[k], tensor_bytes(spec)) != 0)
            note(worst, 1e9, spec->name, "was written, but is no output");
    }
    int broken = tensors_guard_broken(c);
    if (broken >= 0)
        note(worst, 1e9, r->specs[broken].name, "was written outside its bounds");
}

/* Run the phase on all three from the state in r, which ends as ref leaves it. */
static vt_status run_phase(struct check *k, struct tensors *r, enum phase phase, bool accumulate, bool bf16_case,
                           struct worst *worst)
{
    struct tensors before = {0}, c = {0}, t = {0};
    vt_status status;
    tensors_clone(&before, r);
    tensors_clone(&c, r);
    tensors_convert(&t, k->family, k->wide, r);
    VT_TRY_OUT(tensors_run(r, k->ref, false, k->family, k->c, phase, accumulate));
    VT_TRY_OUT(tensors_run(&t, k->ref, false, k->family, k->wide, phase, accumulate));
    VT_TRY_OUT(tensors_run(&c, k->candidate, true, k->family, k->c, phase, accumulate));
    compare_phase(&before, r, &t, &c, phase, bf16_case, k->candidate, worst);
out:
    tensors_close(&before);
    tensors_close(&c);
    tensors_close(&t);
    return status;
}

static bool accumulates(const struct tensors *t)
{
    for (int k = 0; k < t->count; k++)
        if (t->specs[k].roles & ACCUMULATES)
            return true;
    return false;
}

static vt_status run_case(struct check *k, bool bf16_case, struct worst *worst)
{
    vt_status status = VT_OK;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        struct tensors r = {0};
        tensors_init(&r, k->family, k->c, accumulate);
        bool again = accumulates(&r);
        VT_TRY_OUT(run_phase(k, &r, PHASE_FORWARD, accumulate, bf16_case, worst));
        if (k->family->backward)
            VT_TRY_OUT(run_phase(k, &r, PHASE_BACKWARD, accumulate, bf16_case, worst));
    out:
        tensors_close(&r);
        if (status != VT_OK || !again)
            break;
    }
    return status;
}

static void check_case(struct check *k, const struct op_case *row, enum dtype dtype, enum dtype dtype_stream)
{
    struct op_case c = *row, wide = *row;
    char label[32] = "";
    struct worst worst = {0};
    if (k->family->set_dtype) {
        k->family->set_dtype(&c, dtype, dtype_stream);
        k->family->set_dtype(&wide, DTYPE_F64, DTYPE_F64);
        snprintf(label, sizeof label, k->family->has_stream ? "%s/%s" : "%s", dtype_name(dtype),
                 dtype_name(dtype_stream));
    }
    k->c = &c;
    k->wide = &wide;
    const char *missing = k->family->missing(k->candidate);
    vt_status status = VT_OK;
    if (missing) {
        note(&worst, 1e9, missing, "is NULL");
    } else {
        status = run_case(k, dtype == DTYPE_BF16, &worst);
        if (status != VT_OK)
            note(&worst, 1e9, "error:", status_message());
    }
    bool ok = worst.ratio <= 1, refused = status == VT_E_UNSUPPORTED;
    k->result.passed += ok;
    k->result.refused += refused;
    k->result.failed += !ok && !refused;
    if (k->quiet)
        return;
    printf("%-6s %-13s %-28s %-10s %5.2f  %s\n", ok ? "ok" : refused ? "refused" : "FAILED", k->family->name, row->name, label,
           fmin(worst.ratio, 99), worst.what);
    fflush(stdout);
}

/* The filter stands in the name, from the beginning of a word: "norm:" is not add_norm. */
static bool is_named(const char *name, const char *filter)
{
    for (const char *at = name; (at = strstr(at, filter)) != NULL; at++)
        if (at == name || !(isalnum((unsigned char)at[-1]) || at[-1] == '_'))
            return true;
    return false;
}

static void check_family(struct check *k, const char *filter)
{
    static const enum dtype COMBINATIONS[][2] = {
        {DTYPE_F32, DTYPE_F32}, {DTYPE_BF16, DTYPE_F32}, {DTYPE_BF16, DTYPE_BF16}};
    for (int i = 0; i < k->family->case_count; i++) {
        const struct op_case *row = &k->family->cases[i];
        char name[160];
        snprintf(name, sizeof name, "%s: %s", k->family->name, row->name);
        if (filter && !is_named(name, filter))
            continue;
        int combinations = !k->family->set_dtype ? 1 : k->family->has_stream ? 3 : 2;
        for (int d = 0; d < combinations; d++)
            check_case(k, row, COMBINATIONS[d][0], COMBINATIONS[d][1]);
    }
}

struct compare_result ops_compare(struct backend *ref, struct backend *candidate, const char *filter, bool quiet)
{
    struct check k = {.ref = ref, .candidate = candidate, .quiet = quiet};
    for (int i = 0; i < op_family_count; i++) {
        k.family = op_families[i];
        check_family(&k, filter);
    }
    return k.result;
}
