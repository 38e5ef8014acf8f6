/* Pixels to tokens: u8 images -> normalised patches -> projection -> class token and positions. */
#include "model/replica.h"

#include <string.h>

#include "base/philox.h"

static int64_t patch_elements(const struct vit_config *c)
{
    return (int64_t)c->channels * c->patch_size * c->patch_size;
}

vt_status patch_embed_plan(struct vit *vit)
{
    const struct vit_desc *d = &vit->desc;
    const struct vit_config *c = &d->config;
    struct backend *be = vit->be;
    struct patch_embed *e = &vit->embed;

    e->cls_token = c->cls_token ? vit_row(vit, "cls_token", c->width) : -1;
    e->pos_embed = vit_row(vit, "pos_embed", (int64_t)vit_tokens(c) * c->width);
    e->proj_rows = vit_linear_rows(vit, "patch_embed.proj", c->width, patch_elements(c), true);

    struct patchify_desc patchify = {.batch = d->batch,
                                     .height = c->image_size,
                                     .width = c->image_size,
                                     .channels = c->channels,
                                     .patch = c->patch_size,
                                     .dtype = d->dtype};
    memcpy(patchify.mean, c->mean, sizeof patchify.mean);
    memcpy(patchify.std, c->std, sizeof patchify.std);
    VT_TRY(be->nn.patchify_plan(be, &patchify, &e->patchify));

    const struct linear_desc proj = {.rows = d->batch * vit_patches(c),
                                     .in = patch_elements(c),
                                     .out = c->width,
                                     .dtype = d->dtype,
                                     .dtype_out = d->dtype,
                                     .bias = true,
                                     .forward_only = !d->training};
    VT_TRY(be->nn.linear_plan(be, &proj, &e->proj));

    const struct embed_desc embed = {.batch = d->batch,
                                     .patches = vit_patches(c),
                                     .width = c->width,
                                     .cls_token = c->cls_token,
                                     .dtype = d->dtype,
                                     .dtype_stream = d->dtype_stream,
                                     .dropout = d->training ? c->pos_dropout : 0,
                                     .purpose = DRAW_POS_DROPOUT};
    return be->nn.embed_plan(be, &embed, &e->embed);
}

void patch_embed_close(struct vit *vit)
{
    op_plan_close(&vit->embed.patchify);
    op_plan_close(&vit->embed.proj);
    op_plan_close(&vit->embed.embed);
}

void patch_embed_forward(const struct vit *vit, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct patch_embed *e = &vit->embed;
    const struct activations *a = &vit->acts;

    nn->patchify_forward(e->patchify, pass->batch->images, NULL, a->patches, NULL); /* mixup, CutMix, erasing: not yet */
    linear_of(vit, pass, e->proj, e->proj_rows, a->patches, a->delta, NULL);
    nn->embed_forward(e->embed, a->delta, master_of(vit, pass, e->cls_token), master_of(vit, pass, e->pos_embed),
                      a->blocks[0].x1, &pass->random);
}

void patch_embed_backward(const struct vit *vit, const struct pass *pass)
{
    const struct nn_ops *nn = &vit->be->nn;
    const struct patch_embed *e = &vit->embed;
    const struct activations *a = &vit->acts;
    const struct grads *g = &pass->grads;

    nn->embed_backward(e->embed, a->dx, a->delta, grad_of(g, e->cls_token), grad_of(g, e->pos_embed),
                       grad_of(g, e->proj_rows.bias), g->accumulate, &pass->random);
    nn->linear_backward_weight(e->proj, a->patches, a->delta, grad_of(g, e->proj_rows.weight), NULL, g->accumulate);
    grads_final(g, 0);
}
