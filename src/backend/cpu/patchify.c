/* Patchify: parts are rows of patches. A table per channel turns a byte into its normalised value, as T for what is only
 * copied and as fp32 for what is mixed. A patch is made whole, then what its boxes cut out of it is written again. */
#include "backend/cpu/cpu.h"

#include <string.h>

struct patchify_plan {
    struct op_plan plan;
    struct patchify_desc desc;
    int64_t scratch; /* floats a worker */
    float value[4][256];
    bf16_t value_bf16[4][256];
};

struct patchify_job {
    const struct patchify_plan *plan;
    const uint8_t *images;
    const struct patchify_mix *mix;
    void *patches;
    const struct op_random *random;
};

/* What is asked for one row of the batch. */
struct row {
    const uint8_t *own, *partner; /* partner NULL = not mixed */
    float lambda;                 /* 1 = not blended */
    struct pixel_box cutmix, erase;
    struct draw_keep noise;
};

static bool is_empty(const struct pixel_box *box) { return box->x0 >= box->x1 || box->y0 >= box->y1; }

static struct row row_of(const struct patchify_job *job, int64_t b)
{
    const struct patchify_desc *d = &job->plan->desc;
    const struct patchify_mix *mix = job->mix;
    const int64_t bytes = d->height * d->width * d->channels;
    struct row row = {.own = job->images + b * bytes, .lambda = 1};
    if (!mix)
        return row;
    if (mix->erase)
        row.erase = mix->erase[b];
    if (mix->erase && d->erase == ERASE_NOISE)
        row.noise = (struct draw_keep){job->random->seed, job->random->position[b], d->erase_purpose, 0};
    if (!mix->lambda && !mix->cutmix)
        return row;
    int32_t partner = mix->partner[b];
    VT_CHECKF(partner >= 0 && partner < d->batch, "patchify: partner %d of row %d", (int)partner, (int)b);
    if (partner == b)
        return row;
    row.partner = job->images + partner * bytes;
    if (mix->cutmix)
        row.cutmix = mix->cutmix[b];
    if (mix->lambda && is_empty(&row.cutmix))
        row.lambda = mix->lambda[b];
    return row;
}

static int32_t clamp(int32_t at, int32_t first, int32_t count)
{
    return at <= first ? 0 : at - first >= count ? count : at - first;
}

/* The box's part of the patch at (left, top), counted from there. */
static struct pixel_box in_patch(const struct pixel_box *box, int32_t left, int32_t top, int32_t patch)
{
    return (struct pixel_box){clamp(box->x0, left, patch), clamp(box->y0, top, patch), clamp(box->x1, left, patch),
                              clamp(box->y1, top, patch)};
}

static void look_up(const float *value, const uint8_t *pixel, int64_t stride, int64_t count, float *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = value[pixel[i * stride]];
}

static void look_up_bf16(const bf16_t *value, const uint8_t *pixel, int64_t stride, int64_t count, bf16_t *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = value[pixel[i * stride]];
}

/* The pixels of `box` from the picture's pixel at the patch's corner into the patch, in dtype. */
static void copy_pixels(const struct patchify_plan *p, const uint8_t *corner, const struct pixel_box *box, void *patch,
                        enum dtype dtype)
{
    const struct patchify_desc *d = &p->desc;
    const int64_t width = box->x1 - box->x0, channels = d->channels;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = box->y0; y < box->y1; y++) {
            const uint8_t *pixel = corner + (y * d->width + box->x0) * channels + c;
            void *to = at_element(patch, dtype, (c * d->patch + y) * d->patch + box->x0);
            if (dtype == DTYPE_BF16)
                look_up_bf16(p->value_bf16[c], pixel, channels, width, to);
            else
                look_up(p->value[c], pixel, channels, width, to);
        }
}

static void erase_zero(const struct patchify_desc *d, const struct pixel_box *box, void *patch)
{
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = box->y0; y < box->y1; y++)
            memset(at_element(patch, d->dtype, (c * d->patch + y) * d->patch + box->x0), 0,
                   (size_t)((box->x1 - box->x0) * dtype_size(d->dtype)));
}

/* A line of the box is a run of draws. `line` holds P*C of them. */
static void erase_noise(const struct patchify_plan *p, const struct draw_keep *noise, int64_t pixel,
                        const struct pixel_box *box, void *patch, float *line)
{
    const struct patchify_desc *d = &p->desc;
    const int64_t width = box->x1 - box->x0;
    for (int64_t y = box->y0; y < box->y1; y++) {
        uint64_t first = (uint64_t)((pixel + y * d->width + box->x0) * d->channels);
        cpu_of(&p->plan)->kernels->draw_normal(noise, first, width * d->channels, line);
        for (int64_t c = 0; c < d->channels; c++) {
            const int64_t at = (c * d->patch + y) * d->patch + box->x0;
            for (int64_t i = 0; i < width; i++)
                if (d->dtype == DTYPE_BF16)
                    ((bf16_t *)patch)[at + i] = bf16_from_float(line[i * d->channels + c]);
                else
                    ((float *)patch)[at + i] = line[i * d->channels + c];
        }
    }
}

static void one_patch(const struct patchify_plan *p, const struct row *row, int64_t top, int64_t left, void *patch,
                      float *scratch)
{
    const struct patchify_desc *d = &p->desc;
    const int64_t pixel = top * d->width + left, size = d->channels * d->patch * d->patch;
    const int32_t side = (int32_t)d->patch;
    const struct pixel_box whole = {0, 0, side, side};
    if (row->partner && row->lambda != 1) {
        copy_pixels(p, row->own + pixel * d->channels, &whole, scratch, DTYPE_F32);
        copy_pixels(p, row->partner + pixel * d->channels, &whole, scratch + size, DTYPE_F32);
        cpu_of(&p->plan)->kernels->blend(scratch, scratch + size, row->lambda, patch, d->dtype, size);
    } else
        copy_pixels(p, row->own + pixel * d->channels, &whole, patch, d->dtype);
    struct pixel_box box = in_patch(&row->cutmix, (int32_t)left, (int32_t)top, side);
    if (row->partner && !is_empty(&box))
        copy_pixels(p, row->partner + pixel * d->channels, &box, patch, d->dtype);
    box = in_patch(&row->erase, (int32_t)left, (int32_t)top, side);
    if (is_empty(&box))
        return;
    if (d->erase == ERASE_ZERO)
        erase_zero(d, &box, patch);
    else
        erase_noise(p, &row->noise, pixel, &box, patch, scratch);
}

static void patchify_rows(void *context, int part, int parts, int worker)
{
    const struct patchify_job *job = context;
    const struct patchify_plan *p = job->plan;
    const struct patchify_desc *d = &p->desc;
    float *scratch = p->scratch ? (float *)cpu_workspace(&p->plan) + worker * p->scratch : NULL;
    int64_t down = d->height / d->patch, across = d->width / d->patch, size = d->channels * d->patch * d->patch;
    struct cpu_range own = cpu_share(d->batch * down, 1, part, parts);
    for (int64_t line = own.begin; line < own.end; line++) {
        struct row row = row_of(job, line / down);
        for (int64_t j = 0; j < across; j++)
            one_patch(p, &row, line % down * d->patch, j * d->patch,
                      at_element(job->patches, d->dtype, (line * across + j) * size), scratch);
    }
}

static void patchify_forward(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                             const struct op_random *random)
{
    struct patchify_job job = {(const struct patchify_plan *)plan, images, mix, patches, random};
    VT_CHECK(!mix || patchify_mix_ok(&job.plan->desc, mix, random));
    int64_t lines = job.plan->desc.batch * (job.plan->desc.height / job.plan->desc.patch);
    cpu_parallel(plan->backend, cpu_parts(plan->backend, lines), patchify_rows, &job);
}

static vt_status patchify_plan(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->patch > 0 && desc->height > 0 && desc->width > 0);
    VT_CHECK(desc->height <= INT32_MAX && desc->width <= INT32_MAX);
    VT_CHECK(desc->height % desc->patch == 0 && desc->width % desc->patch == 0);
    VT_CHECK(desc->channels >= 1 && desc->channels <= 4);
    VT_CHECK(desc->erase != ERASE_NOISE || desc->height * desc->width * desc->channels <= UINT32_MAX);
    VT_TRY(cpu_check_dtype("patchify", desc->dtype));
    /* Two patches to blend, or a line of noise. */
    int64_t scratch = desc->mixup ? 2 * desc->channels * desc->patch * desc->patch : 0;
    if (desc->erase == ERASE_NOISE && !desc->mixup)
        scratch = desc->channels * desc->patch;
    scratch = round_up(scratch, 16);
    struct patchify_plan *made;
    VT_TRY(cpu_plan_new(be, "table", sizeof *made, be->threads * scratch * 4, (void **)&made));
    made->desc = *desc;
    made->scratch = scratch;
    for (int64_t c = 0; c < desc->channels; c++) {
        VT_CHECKF(desc->std[c] > 0, "patchify: std of channel %d is not positive", (int)c);
        for (int i = 0; i < 256; i++) {
            made->value[c][i] = (float)((i / 255.0 - (double)desc->mean[c]) / (double)desc->std[c]);
            made->value_bf16[c][i] = bf16_from_float(made->value[c][i]);
        }
    }
    *plan = &made->plan;
    return VT_OK;
}

void cpu_patchify_install(struct nn_ops *nn)
{
    nn->patchify_plan = patchify_plan;
    nn->patchify_forward = patchify_forward;
}
