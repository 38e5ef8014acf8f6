/* test_gradcheck [FILTER]: ref against fourth-order central differences, for every gradient of every small case, in
 * fp64. Objective: sum of dout * out over the outputs that have a gradient, or the family's own. Step h = 2^-10, exact
 * on the values used (multiples of 2^-12); the truncation error is O(h^4) ~ 1e-12 times a fifth derivative, so what
 * limits the agreement is the fp32 storage of statistics and parameter gradients, 6e-8: |g - fd| <= 1e-6 (|fd| +
 * rms(fd)). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "tensors.h"

static const double STEP = 0x1p-10, LIMIT = 1e-6;
enum { MAX_ELEMENTS = 1000 }; /* of a checked input: larger cases are for speed of other backends, not for formulas */

struct check {
    const struct op_family *family;
    const struct op_case *c;
    struct backend *ref;
    const struct tensors *start; /* before forward */
    int passed, failed, gradients;
    double worst;
};

static void must(vt_status status)
{
    VT_CHECKF(status == VT_OK, "%s", status_message());
}

/* The element of the tensor that grad_of or dout_of names. */
static int64_t partner(const struct tensor_spec *spec, int64_t i)
{
    return spec->columns ? i / spec->columns * spec->stride + i % spec->columns : i;
}

static double projected(const struct tensors *t, const struct tensors *start)
{
    double sum = 0;
    for (int k = 0; k < t->count; k++) {
        const struct tensor_spec *dout = &t->specs[k];
        int out = dout->dout_of - 1;
        for (int64_t i = 0; out >= 0 && i < dout->count; i++)
            sum += tensor_get(dout, start->data[k], i) * tensor_get(&t->specs[out], t->data[out], partner(dout, i));
    }
    return sum;
}

/* The objective with element i of tensor k moved by `shift`. */
static double objective_at(struct check *check, int k, int64_t i, double shift)
{
    struct tensors t;
    tensors_clone(&t, check->start);
    tensor_set(&t.specs[k], t.data[k], i, tensor_get(&t.specs[k], t.data[k], i) + shift);
    if (check->family->derive)
        check->family->derive(check->c, t.data);
    must(tensors_run(&t, check->ref, false, check->family, check->c, PHASE_FORWARD, false));
    double value = check->family->objective ? check->family->objective(check->c, t.data) : projected(&t, check->start);
    tensors_close(&t);
    return value;
}

static double difference(struct check *check, int k, int64_t i)
{
    double near = objective_at(check, k, i, STEP) - objective_at(check, k, i, -STEP);
    double far = objective_at(check, k, i, 2 * STEP) - objective_at(check, k, i, -2 * STEP);
    return (8 * near - far) / (12 * STEP);
}

static void report(struct check *check, const char *gradient, double error, int64_t at)
{
    bool ok = error <= LIMIT;
    check->gradients++;
    check->passed += ok;
    check->failed += !ok;
    check->worst = fmax(check->worst, error);
    if (!ok)
        printf("FAILED %s: %s: %s[%lld] off by %.2e of scale (limit %.0e)\n", check->family->name, check->c->name,
               gradient, (long long)at, error, LIMIT);
}

static double gradient_value(const struct tensors *after, const struct tensors *start, int k, int64_t i,
                             bool accumulate)
{
    const struct tensor_spec *spec = &after->specs[k];
    double value = tensor_get(spec, after->data[k], i);
    if (isnan(value) && isnan(tensor_get(spec, start->data[k], i)))
        return 0; /* a gap of a view: not written, so nothing may depend on it */
    return spec->roles & ACCUMULATES && accumulate ? value - tensor_get(spec, start->data[k], i) : value;
}

/* Largest |got - expected| / (|expected| + rms(expected)). */
static double worst_error(const double *got, const double *expected, int64_t count, int64_t *at)
{
    double square = 0, worst = 0;
    for (int64_t i = 0; i < count; i++)
        square += expected[i] * expected[i];
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(got[i] - expected[i]) / (fabs(expected[i]) + sqrt(square / (double)count) + 1e-3);
        if (!(error <= worst)) {
            worst = isnan(error) ? INFINITY : error;
            *at = i;
        }
    }
    return worst;
}

static void check_gradient(struct check *check, const struct tensors *after, int k, bool accumulate)
{
    double got[MAX_ELEMENTS], expected[MAX_ELEMENTS];
    const struct tensor_spec *spec = &after->specs[k];
    int input = spec->grad_of - 1;
    int64_t count = spec->count, at = 0;
    VT_CHECK(partner(spec, count - 1) == after->specs[input].count - 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t of = partner(spec, i);
        got[i] = gradient_value(after, check->start, k, i, accumulate);
        expected[i] =
            isnan(tensor_get(&after->specs[input], check->start->data[input], of)) ? 0 : difference(check, input, of);
    }
    double error = worst_error(got, expected, count, &at);
    report(check, after->specs[k].name, error, at);
}

static void check_column_sum(struct check *check, const struct tensors *after, int k, bool accumulate)
{
    double got[MAX_ELEMENTS], expected[MAX_ELEMENTS] = {0};
    int of = after->specs[k].column_sum_of - 1;
    int64_t columns = after->specs[k].count, at = 0;
    for (int64_t i = 0; i < after->specs[of].count; i++)
        expected[i % columns] += tensor_get(&after->specs[of], after->data[of], i);
    for (int64_t i = 0; i < columns; i++)
        got[i] = gradient_value(after, check->start, k, i, accumulate);
    double error = worst_error(got, expected, columns, &at);
    report(check, after->specs[k].name, error, at);
}

static bool small(const struct tensors *t)
{
    for (int k = 0; k < t->count; k++)
        if (t->specs[k].grad_of && t->specs[k].count > MAX_ELEMENTS)
            return false;
    return true;
}

static void check_case(struct check *check, const struct op_case *row, bool accumulate)
{
    struct op_case c = *row;
    struct tensors start, after;
    check->family->set_dtype(&c, DTYPE_F64, DTYPE_F64);
    check->c = &c;
    tensors_init(&start, check->family, &c, accumulate);
    check->start = &start;
    if (small(&start)) {
        tensors_clone(&after, &start);
        must(tensors_run(&after, check->ref, false, check->family, &c, PHASE_FORWARD, accumulate));
        if (check->family->backward)
            must(tensors_run(&after, check->ref, false, check->family, &c, PHASE_BACKWARD, accumulate));
        for (int k = 0; k < after.count; k++) {
            if (after.specs[k].grad_of)
                check_gradient(check, &after, k, accumulate);
            if (after.specs[k].column_sum_of)
                check_column_sum(check, &after, k, accumulate);
        }
        tensors_close(&after);
    }
    tensors_close(&start);
}

int main(int argc, char **argv)
{
    struct check check = {0};
    const struct backend_desc plain = {0};
    must(backend_ref_open(&plain, &check.ref));
    for (int f = 0; f < op_family_count; f++) {
        check.family = op_families[f];
        check.gradients = 0;
        check.worst = 0;
        for (int i = 0; check.family->set_dtype && i < check.family->case_count; i++) {
            char name[160];
            snprintf(name, sizeof name, "%s: %s", check.family->name, check.family->cases[i].name);
            if (argc > 1 && !strstr(name, argv[1]))
                continue;
            check_case(&check, &check.family->cases[i], false);
            check_case(&check, &check.family->cases[i], true);
        }
        if (check.gradients)
            printf("%-10s %3d gradients, worst error %.1e of scale\n", check.family->name, check.gradients,
                   check.worst);
    }
    check.ref->close(check.ref);
    printf("%d passed, %d failed\n", check.passed, check.failed);
    return check.failed != 0 || check.passed == 0;
}
