/* patchify, with what mixes and erases. */
#include "op_case.h"

enum { IMAGES, PARTNER, LAMBDA, CUTMIX, ERASE, POSITION, PATCHES, COUNT };

#define RGB .mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}
#define GREY .mean = {0.286f}, .std = {0.353f}
#define NOISE .erase = ERASE_NOISE, .erase_purpose = 77

static const struct op_case CASES[] = {
    {"1 channel", .desc.patchify = {2, 6, 4, 1, 2, .mean = {0.3f}, .std = {0.2f}}},
    {"3 channels, not square", .desc.patchify = {3, 6, 9, 3, 3, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.3f, 0.5f}}},
    {"4 channels", .desc.patchify = {1, 8, 8, 4, 4, .mean = {0, 0, 0, 0.5f}, .std = {1, 1, 1, 0.5f}}},
    {"2x64x64x3 p16", .desc.patchify = {2, 64, 64, 3, 16, RGB}},
    {"3x16x24x3 p8", .desc.patchify = {3, 16, 24, 3, 8, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.3f, 0.5f}}},
    {"2 channels p8", .desc.patchify = {2, 8, 16, 2, 8, .mean = {0.5f, 0.4f}, .std = {0.2f, 0.3f}}},
    {"1x28x42x3 p14", .desc.patchify = {1, 28, 42, 3, 14, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.3f, 0.5f}}},
    {"5x28x28x1 p7", .desc.patchify = {5, 28, 28, 1, 7, GREY}},
    {"mixup 4x16x24x3 p8", .desc.patchify = {4, 16, 24, 3, 8, RGB, .mixup = true}},
    {"mixup 5x6x9x3 p3", .desc.patchify = {5, 6, 9, 3, 3, RGB, .mixup = true}},
    {"mixup, one row", .desc.patchify = {1, 8, 8, 3, 8, RGB, .mixup = true}},
    {"cutmix 7x32x32x3 p16", .desc.patchify = {7, 32, 32, 3, 16, RGB, .cutmix = true}},
    {"cutmix 9x14x21x1 p7", .desc.patchify = {9, 14, 21, 1, 7, GREY, .cutmix = true}},
    {"erase 6x16x8x3 p8, zero", .desc.patchify = {6, 16, 8, 3, 8, RGB, .erase = ERASE_ZERO}},
    {"erase 9x14x14x1 p7, zero", .desc.patchify = {9, 14, 14, 1, 7, GREY, .erase = ERASE_ZERO}},
    {"erase 6x16x24x3 p8, noise", .desc.patchify = {6, 16, 24, 3, 8, RGB, NOISE}},
    {"erase 9x28x28x1 p4, noise", .desc.patchify = {9, 28, 28, 1, 4, GREY, NOISE}},
    {"erase 6x10x15x3 p5, noise", .desc.patchify = {6, 10, 15, 3, 5, RGB, NOISE}},
    {"erase 6x8x16x2 p8, noise", .desc.patchify = {6, 8, 16, 2, 8, .mean = {0.5f, 0.4f}, .std = {0.2f, 0.3f}, NOISE}},
    {"erase 6x8x8x4 p8, noise", .desc.patchify = {6, 8, 8, 4, 8, .mean = {0, 0, 0, 0.5f}, .std = {1, 1, 1, 0.5f}, NOISE}},
    {"mixup or cutmix 9x16x16x3 p8", .desc.patchify = {9, 16, 16, 3, 8, RGB, .mixup = true, .cutmix = true}},
    {"mixup, zero 7x14x28x3 p14", .desc.patchify = {7, 14, 28, 3, 14, RGB, .mixup = true, .erase = ERASE_ZERO}},
    {"cutmix, noise 9x8x8x1 p8", .desc.patchify = {9, 8, 8, 1, 8, GREY, .cutmix = true, NOISE}},
    {"all 14x32x48x3 p16", .desc.patchify = {14, 32, 48, 3, 16, RGB, .mixup = true, .cutmix = true, NOISE}},
    {"all 14x9x9x3 p3", .desc.patchify = {14, 9, 9, 3, 3, RGB, .mixup = true, .cutmix = true, NOISE}},
    {"all 14x28x28x1 p7", .desc.patchify = {14, 28, 28, 1, 7, GREY, .mixup = true, .cutmix = true, NOISE}},
    {"all planned, none given", OPT_NO_MIX,
     .desc.patchify = {4, 16, 16, 3, 8, RGB, .mixup = true, .cutmix = true, NOISE}},
    {"all planned, boxes given", OPT_NO_LAMBDA,
     .desc.patchify = {9, 16, 16, 3, 8, RGB, .mixup = true, .cutmix = true, NOISE}},
    {"all planned, no erase given", OPT_NO_ERASE,
     .desc.patchify = {9, 16, 16, 3, 8, RGB, .mixup = true, .cutmix = true, NOISE}},
    {"nothing to do in the arrays", OPT_NO_LAMBDA | OPT_NO_ERASE,
     .desc.patchify = {4, 6, 6, 3, 3, RGB, .mixup = true, .erase = ERASE_ZERO}},
};

static void set_dtype(struct op_case *c, enum dtype dtype, enum dtype dtype_stream)
{
    (void)dtype_stream;
    c->desc.patchify.dtype = dtype;
}

static int specs(const struct op_case *c, struct tensor_spec *s)
{
    const struct patchify_desc *d = &c->desc.patchify;
    int64_t count = d->batch * d->height * d->width * d->channels;
    s[IMAGES] = (struct tensor_spec){"images", DTYPE_U8, count, FWD_IN, FILL_PIXEL};
    s[PARTNER] = (struct tensor_spec){"partner", DTYPE_I32, d->batch, FWD_IN};
    s[LAMBDA] = (struct tensor_spec){"lambda", DTYPE_F32, d->batch, FWD_IN, FILL_WEIGHT};
    s[CUTMIX] = (struct tensor_spec){"cutmix", DTYPE_I32, 4 * d->batch, FWD_IN};
    s[ERASE] = (struct tensor_spec){"erase", DTYPE_I32, 4 * d->batch, FWD_IN};
    s[POSITION] = (struct tensor_spec){"position", DTYPE_I64, d->batch, FWD_IN, FILL_POSITION};
    s[PATCHES] = (struct tensor_spec){"patches", d->dtype, count, FWD_OUT};
    return COUNT;
}

/* Boxes of every kind, by number. */
static struct pixel_box box_of(const struct patchify_desc *d, int64_t number)
{
    const int32_t w = (int32_t)d->width, h = (int32_t)d->height, far = INT32_MAX;
    const struct pixel_box boxes[] = {
        {1, 1, w - 1, h - 1},     {0, 0, w, h},       {0, 0, 0, 0},      {w / 2, h / 3, w / 2 + 1, h / 3 + 1},
        {-3, -5, w / 2 + 1, 3},   {w / 3, 2, far, far}, {3, 3, 2, 5},    {w, 0, w + 4, h}, /* not empty, but outside */
        {-far - 1, h / 2, far, h},
    };
    return boxes[number % (int64_t)(sizeof boxes / sizeof *boxes)];
}

/* Partners in pairs, the last of an odd batch alone; past 12 rows they are not mutual. Every third lambda is 1. Rows that
 * take CutMix keep theirs. */
static void prepare(const struct op_case *c, void *const *t)
{
    const struct patchify_desc *d = &c->desc.patchify;
    for (int64_t b = 0; b < d->batch; b++) {
        int64_t pair = d->batch > 12 ? (b + 5) % d->batch : b ^ 1;
        ((int32_t *)t[PARTNER])[b] = (int32_t)(pair < d->batch ? pair : b);
        if (b % 3 == 2)
            ((float *)t[LAMBDA])[b] = 1;
        ((struct pixel_box *)t[CUTMIX])[b] = box_of(d, d->mixup ? 2 + b / 2 * (b % 2) : b);
        ((struct pixel_box *)t[ERASE])[b] = box_of(d, b + 1);
    }
}

static const char *missing(const struct backend *be)
{
    ENTRY_MISSING(be, nn, patchify_plan)
    ENTRY_MISSING(be, nn, patchify_forward)
    return NULL;
}

static vt_status plan(struct backend *be, const struct op_case *c, struct op_plan **out)
{
    return be->nn.patchify_plan(be, &c->desc.patchify, out);
}

static void forward(const struct op_run *r)
{
    const struct patchify_desc *d = &r->c->desc.patchify;
    const int options = r->c->options;
    const bool erase = d->erase != ERASE_NONE && !(options & OPT_NO_ERASE);
    const struct op_random random = {81, r->t[POSITION]};
    const struct patchify_mix mix = {.partner = d->mixup || d->cutmix ? r->t[PARTNER] : NULL,
                                     .lambda = d->mixup && !(options & OPT_NO_LAMBDA) ? r->t[LAMBDA] : NULL,
                                     .cutmix = d->cutmix ? r->t[CUTMIX] : NULL,
                                     .erase = erase ? r->t[ERASE] : NULL};
    const bool any = (d->mixup || d->cutmix || d->erase != ERASE_NONE) && !(options & OPT_NO_MIX);
    r->be->nn.patchify_forward(r->plan, r->t[IMAGES], any ? &mix : NULL, r->t[PATCHES],
                               any && erase && d->erase == ERASE_NOISE ? &random : NULL);
}

const struct op_family patchify_family = {
    .name = "patchify",
    .cases = CASES,
    .case_count = sizeof CASES / sizeof *CASES,
    .set_dtype = set_dtype,
    .specs = specs,
    .missing = missing,
    .plan = plan,
    .prepare = prepare,
    .forward = forward,
};
