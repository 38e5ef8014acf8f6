#include <math.h>

#include "tensors.h"

enum { LOGITS, LABEL_ID, LABEL_WEIGHT, ROW_WEIGHT, DLOGITS, ROW_LOSS, SCALARS, COUNT };
static const float GRAD_SCALE = 0.125f;

#define SIZE(b, k, s) .batch = b, .classes = k, .labels = s

static const struct op_case CASES[] = {
    {"softmax", .desc.loss = {SIZE(4, 7, 1)}},
    {"softmax, 2 classes", .desc.loss = {SIZE(4, 2, 1)}},
    {"softmax, smoothing", .desc.loss = {SIZE(4, 7, 1), .smoothing = 0.1f}},
    {"softmax, soft targets", .desc.loss = {SIZE(5, 9, 3), .smoothing = 0.1f}},
    {"softmax, NaN padding", OPT_NAN_PADDING, .desc.loss = {SIZE(6, 8, 2)}},
    {"sigmoid", .desc.loss = {SIZE(4, 7, 1), .kind = LOSS_SIGMOID}},
    {"sigmoid, smoothing, soft", .desc.loss = {SIZE(5, 9, 3), .kind = LOSS_SIGMOID, .smoothing = 0.05f}},
    {"sigmoid, NaN padding", OPT_NAN_PADDING, .desc.loss = {SIZE(6, 8, 2), .kind = LOSS_SIGMOID}},
    {"evaluation", OPT_NO_DLOGITS, .desc.loss = {SIZE(7, 11, 1)}},
    {"row loss not wanted", OPT_NO_ROW_LOSS, .desc.loss = {SIZE(7, 11, 2)}},
    {"softmax, 70 labels of 33", .desc.loss = {SIZE(5, 33, 70), .smoothing = 0.1f}},
    {"sigmoid, 70 labels of 33", .desc.loss = {SIZE(5, 33, 70), .kind = LOSS_SIGMOID, .smoothing = 0.1f}},
    {"softmax 64x1000", .desc.loss = {SIZE(64, 1000, 2), .smoothing = 0.1f}},
    {"softmax 9x21843", .desc.loss = {SIZE(9, 21843, 1)}},
    {"sigmoid 33x1000", .desc.loss = {SIZE(33, 1000, 2), .kind = LOSS_SIGMOID}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.loss.dtype_grad = dtype;
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct loss_desc *d = &c->desc.loss;
    int64_t B = d->batch, K = d->classes, S = d->labels;
    bool grad = !(c->options & OPT_NO_DLOGITS), rows = !(c->options & OPT_NO_ROW_LOSS);
    s[LOGITS] = (struct tensor_spec){"logits", DTYPE_F32, B * K, FWD_IN};
    s[LABEL_ID] = (struct tensor_spec){"label_id", DTYPE_I32, B * S, FWD_IN, FILL_LABEL, .label_classes = (int32_t)K};
    s[LABEL_WEIGHT] = (struct tensor_spec){"label_weight", DTYPE_F32, B * S, FWD_IN, FILL_WEIGHT};
    s[ROW_WEIGHT] = (struct tensor_spec){"row_weight", DTYPE_F32, B, FWD_IN, FILL_ROW_WEIGHT};
    s[DLOGITS] =
        (struct tensor_spec){"dlogits", d->dtype_grad, B * K, grad ? FWD_OUT : 0, .grad_of = grad ? 1 + LOGITS : 0};
    s[ROW_LOSS] = (struct tensor_spec){"row_loss", DTYPE_F32, B, rows ? FWD_OUT : 0};
    s[SCALARS] = (struct tensor_spec){"scalars", DTYPE_U8, 1, FWD_IN | FWD_OUT, FILL_SCALARS, .scalars = true};
    return COUNT;
}

/* Rows 0 and 4 get ties and a certain hit, so that both counters move; padding rows may hold garbage. */
static void prepare(const struct op_case *c, void *const *t)
{
    const struct loss_desc *d = &c->desc.loss;
    float *logits = t[LOGITS], *row_weight = t[ROW_WEIGHT];
    int32_t *id = t[LABEL_ID];
    for (int64_t b = 0; b < d->batch; b += 4) {
        id[b * d->labels] = (int32_t)(d->classes - 1);
        logits[b * d->classes + d->classes - 1] = 3;
        logits[b * d->classes] = b ? 3 : -3; /* row 4: the tie goes to class 0 */
    }
    for (int64_t b = 0; c->options & OPT_NAN_PADDING && b < d->batch; b++)
        for (int64_t k = 0; row_weight[b] == 0 && k < d->classes; k++)
            logits[b * d->classes + k] = NAN;
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, loss_plan)
    ENTRY_MISSING(be, nn, loss_forward_backward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.loss_plan(be, &c->desc.loss, out);
}

static void forward(const struct op_run *r)
{
    struct loss_args args = {
        .logits = r->t[LOGITS],
        .label_id = r->t[LABEL_ID],
        .label_weight = r->t[LABEL_WEIGHT],
        .row_weight = r->t[ROW_WEIGHT],
        .grad_scale = GRAD_SCALE,
        .dlogits = r->c->options & OPT_NO_DLOGITS ? NULL : r->t[DLOGITS],
        .row_loss = r->c->options & OPT_NO_ROW_LOSS ? NULL : r->t[ROW_LOSS],
        .scalars = r->t[SCALARS],
    };
    r->be->nn.loss_forward_backward(r->plan, &args);
}

static double objective(const struct op_case *c, void *const *t)
{
    (void)c;
    return (double)GRAD_SCALE * ((const struct step_scalars *)t[SCALARS])->loss_sum;
}

const struct op_family loss_family = {
    .name = "loss",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .prepare = prepare,
    .forward = forward,
    .objective = objective,
};
