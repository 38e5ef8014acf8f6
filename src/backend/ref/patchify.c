#include "backend/ref/ref.h"

struct patchify_plan {
    struct op_plan plan;
    struct patchify_desc desc;
};

static vt_status patchify_plan(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->patch > 0 && desc->height > 0 && desc->width > 0);
    VT_CHECK(desc->height % desc->patch == 0 && desc->width % desc->patch == 0);
    VT_CHECK(desc->channels >= 1 && desc->channels <= 4);
    for (int64_t c = 0; c < desc->channels; c++)
        VT_CHECKF(desc->std[c] > 0, "patchify: std of channel %d is not positive", (int)c);
    VT_TRY(ref_check_dtype("patchify", desc->dtype));
    struct patchify_plan *made;
    VT_TRY(ref_plan_new(be, "loops", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

/* One patch of C*P*P values from the pixel at its upper left corner. */
static void patch(const struct patchify_desc *d, const uint8_t *corner, void *patches, int64_t at)
{
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t row = 0; row < d->patch; row++)
            for (int64_t column = 0; column < d->patch; column++) {
                double pixel = (double)corner[(row * d->width + column) * d->channels + c];
                ref_store(d->dtype, patches, at++, (pixel / 255 - (double)d->mean[c]) / (double)d->std[c]);
            }
}

static void patchify_forward(struct op_plan *plan, const uint8_t *images, void *patches)
{
    const struct patchify_desc *d = &((struct patchify_plan *)plan)->desc;
    int64_t down = d->height / d->patch, across = d->width / d->patch, size = d->channels * d->patch * d->patch;
    ref_enter(plan->backend);
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t i = 0; i < down; i++)
            for (int64_t j = 0; j < across; j++) {
                int64_t pixel = (b * d->height + i * d->patch) * d->width + j * d->patch;
                patch(d, images + pixel * d->channels, patches, ((b * down + i) * across + j) * size);
            }
    ref_leave(plan->backend);
}

void ref_patchify_install(struct nn_ops *nn)
{
    nn->patchify_plan = patchify_plan;
    nn->patchify_forward = patchify_forward;
}
