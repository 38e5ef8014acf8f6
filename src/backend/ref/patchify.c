#include "backend/ref/ref.h"

#include "tensor/normal.h"

struct patchify_plan {
    struct op_plan plan;
    struct patchify_desc desc;
};

static vt_status patchify_plan(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->patch > 0 && desc->height > 0 && desc->width > 0);
    VT_CHECK(desc->height % desc->patch == 0 && desc->width % desc->patch == 0);
    VT_CHECK(desc->channels >= 1 && desc->channels <= 4);
    VT_CHECK(desc->erase != ERASE_NOISE || desc->height * desc->width * desc->channels <= UINT32_MAX);
    for (int64_t c = 0; c < desc->channels; c++)
        VT_CHECKF(desc->std[c] > 0, "patchify: std of channel %d is not positive", (int)c);
    VT_TRY(ref_check_dtype("patchify", desc->dtype));
    struct patchify_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

/* One row of the batch with what is asked for it. */
struct row {
    const struct patchify_desc *desc;
    const uint8_t *own, *partner; /* partner NULL = not mixed */
    double lambda;
    bool cut;
    struct pixel_box cutmix, erase;
    uint64_t seed, position;
};

static bool inside(const struct pixel_box *box, int64_t x, int64_t y)
{
    return x >= box->x0 && x < box->x1 && y >= box->y0 && y < box->y1;
}

static struct row row_of(const struct patchify_desc *d, const uint8_t *images, const struct patchify_mix *mix,
                         const struct op_random *random, int64_t b)
{
    const int64_t bytes = d->height * d->width * d->channels;
    struct row row = {.desc = d, .own = images + b * bytes, .lambda = 1};
    if (!mix)
        return row;
    if (mix->lambda || mix->cutmix) {
        int32_t partner = mix->partner[b];
        VT_CHECKF(partner >= 0 && partner < d->batch, "patchify: partner %d of row %d", (int)partner, (int)b);
        row.partner = partner == b ? NULL : images + partner * bytes;
    }
    if (mix->cutmix) {
        row.cutmix = mix->cutmix[b];
        row.cut = row.cutmix.x0 < row.cutmix.x1 && row.cutmix.y0 < row.cutmix.y1;
    }
    if (mix->lambda)
        row.lambda = (double)mix->lambda[b];
    if (mix->erase) {
        row.erase = mix->erase[b];
        row.seed = random ? random->seed : 0;
        row.position = random ? random->position[b] : 0;
    }
    return row;
}

static double value(const struct row *row, int64_t x, int64_t y, int64_t c)
{
    const struct patchify_desc *d = row->desc;
    const int64_t e = (y * d->width + x) * d->channels + c;
    if (inside(&row->erase, x, y)) {
        if (d->erase == ERASE_ZERO)
            return 0;
        uint32_t draw = draw_u32(row->seed, d->erase_purpose, row->position, (uint32_t)e);
        return normal_quantile(((double)(draw >> 8) + 0.5) * 0x1p-24);
    }
    double v = ((double)row->own[e] / 255 - (double)d->mean[c]) / (double)d->std[c];
    if (!row->partner)
        return v;
    double other = ((double)row->partner[e] / 255 - (double)d->mean[c]) / (double)d->std[c];
    if (row->cut)
        return inside(&row->cutmix, x, y) ? other : v;
    return row->lambda == 1 ? v : row->lambda * v + (1 - row->lambda) * other;
}

/* The patch of C*P*P values whose upper left pixel is (left, top). */
static void patch(const struct row *row, int64_t left, int64_t top, void *patches, int64_t at)
{
    const struct patchify_desc *d = row->desc;
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = top; y < top + d->patch; y++)
            for (int64_t x = left; x < left + d->patch; x++)
                ref_store(d->dtype, patches, at++, value(row, x, y, c));
}

static void patchify_forward(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                             const struct op_random *random)
{
    const struct patchify_desc *d = &((struct patchify_plan *)plan)->desc;
    int64_t down = d->height / d->patch, across = d->width / d->patch, size = d->channels * d->patch * d->patch;
    VT_CHECK(!mix || patchify_mix_ok(d, mix, random));
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++) {
        struct row row = row_of(d, images, mix, random, b);
        for (int64_t i = 0; i < down; i++)
            for (int64_t j = 0; j < across; j++)
                patch(&row, j * d->patch, i * d->patch, patches, ((b * down + i) * across + j) * size);
    }
    ref_leave(plan->backend);
}

void ref_patchify_install(struct nn_ops *nn)
{
    nn->patchify_plan = patchify_plan;
    nn->patchify_forward = patchify_forward;
}
