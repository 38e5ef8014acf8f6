/* What a stranger's weights are: sizes from the shapes of the tensors, the rest from what describes them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/safetensors.h"
#include "convert/import.h"
#include "convert/timm_config.h"

enum { CONFIG_JSON_BYTES = 16 << 20 };

static vt_status need(const struct safetensors *file, const char *name, int rank, const struct safetensor **out)
{
    *out = safetensors_find(file, name);
    if (!*out)
        return VT_FAIL(VT_E_FORMAT, "%s: no tensor %s; expected a ViT with timm names", file->path, name);
    if ((*out)->rank != rank)
        return VT_FAIL(VT_E_FORMAT, "%s: tensor %s has rank %d; expected %d", file->path, name, (*out)->rank, rank);
    for (int i = 0; i < rank; i++)
        if ((*out)->dim[i] < 1 || (*out)->dim[i] > 1 << 28)
            return VT_FAIL(VT_E_FORMAT, "%s: tensor %s has a side of %lld", file->path, name,
                           (long long)(*out)->dim[i]);
    return VT_OK;
}

static int count_blocks(const struct safetensors *file)
{
    int depth = 0;
    char name[64];
    do
        snprintf(name, sizeof name, "blocks.%d.norm1.weight", depth);
    while (safetensors_find(file, name) && ++depth < 1024);
    return depth;
}

static vt_status guess_sizes(const struct safetensors *file, struct vit_config *c)
{
    const struct safetensor *pos, *patch, *fc1;
    VT_TRY(need(file, "pos_embed", 3, &pos));
    VT_TRY(need(file, "patch_embed.proj.weight", 4, &patch));
    VT_TRY(need(file, "blocks.0.mlp.fc1.weight", 2, &fc1));
    if (patch->dim[2] != patch->dim[3])
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: patches of %lld x %lld; expected squares", file->path,
                       (long long)patch->dim[2], (long long)patch->dim[3]);
    c->cls_token = safetensors_find(file, "cls_token") != NULL;
    const int64_t patches = pos->dim[1] - c->cls_token;
    const int64_t side = (int64_t)llround(sqrt((double)patches));
    if (side < 1 || side * side != patches)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: pos_embed holds %lld patches; expected a square grid", file->path,
                       (long long)patches);
    if (side * patch->dim[2] > 16384)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: images of %lld px; expected at most 16384", file->path,
                       (long long)(side * patch->dim[2]));
    if (patch->dim[1] > (int)(sizeof c->mean / sizeof *c->mean))
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: images of %lld channels; expected at most 4", file->path,
                       (long long)patch->dim[1]);
    c->patch_size = (int)patch->dim[2];
    c->image_size = (int)(side * patch->dim[2]);
    c->channels = (int)patch->dim[1];
    c->width = (int)patch->dim[0];
    c->mlp_width = (int)fc1->dim[0];
    c->depth = count_blocks(file);
    c->qkv_bias = safetensors_find(file, "blocks.0.attn.qkv.bias") != NULL;
    const struct safetensor *head = safetensors_find(file, "head.weight");
    const struct safetensor *pre_logits = safetensors_find(file, "pre_logits.fc.weight");
    c->classes = head && head->rank == 2 && head->dim[0] < 1 << 28 ? (int)head->dim[0] : 1;
    c->pre_logits = pre_logits && pre_logits->rank == 2 && pre_logits->dim[0] < 1 << 28 ? (int)pre_logits->dim[0] : 0;
    return VT_OK;
}

static vt_status apply(const struct json *root, const char *where, struct import_description *out)
{
    VT_TRY(timm_config_read(root, where, &out->model));
    VT_TRY(timm_config_read_data(root, where, out->model.classes, &out->data));
    log_info("import     described by %s", where);
    return VT_OK;
}

static vt_status apply_metadata(const struct safetensors *file, struct import_description *out)
{
    char where[600], *text = NULL;
    struct json *root = NULL;
    vt_status status = VT_OK;
    snprintf(where, sizeof where, "%s: metadata " SAFETENSORS_CONFIG, file->path);
    VT_TRY(safetensors_metadata(file, SAFETENSORS_CONFIG, &text));
    if (!text || !text[0])
        goto out;
    VT_TRY_OUT(json_parse(text, strlen(text), where, &root));
    VT_TRY_OUT(apply(root, where, out));
out:
    json_free(&root);
    free(text);
    return status;
}

static vt_status apply_config_json(const char *said, struct import_description *out)
{
    char folder[1024], path[1100];
    struct json *root = NULL;
    VT_TRY(path_dir(folder, sizeof folder, out->file));
    VT_TRY(said ? path_join(path, sizeof path, "", said) : path_join(path, sizeof path, folder, "config.json"));
    if (!said && !file_exists(path))
        return VT_OK;
    VT_TRY(json_parse_file(path, CONFIG_JSON_BYTES, &root));
    vt_status status = apply(root, path, out);
    json_free(&root);
    return status;
}

/* timm's other plain ViTs, beside the named sizes: widths, depths and MLPs of which timm 1.0 has one head count. */
static const struct {
    int width, depth, mlp_width, heads;
} timm_shapes[] = {
    {256, 10, 1024, 4},  {384, 18, 1536, 6},   {384, 36, 1536, 6},  {512, 12, 2048, 8},
    {640, 12, 2560, 10}, {768, 18, 3072, 12},  {896, 12, 3584, 14}, {896, 18, 2304, 14},
    {832, 21, 2176, 13}, {1152, 27, 4304, 16},
};

/* Heads by shapes alone, or 0. */
static int heads_of_shape(const struct vit_config *c)
{
    if (c->width == 768 && c->depth == 12 && !c->cls_token)
        return 0; /* vit_base_patch16_gap_224 has 16, the others of its shape 12 */
    for (size_t i = 0; i < sizeof timm_shapes / sizeof *timm_shapes; i++)
        if (timm_shapes[i].width == c->width && timm_shapes[i].depth == c->depth &&
            timm_shapes[i].mlp_width == c->mlp_width)
            return timm_shapes[i].heads;
    return vit_config_named_heads(c->width, c->depth, c->mlp_width);
}

static vt_status settle_heads(const struct import_hints *hints, struct import_description *out)
{
    struct vit_config *c = &out->model;
    if (hints && hints->heads)
        c->heads = hints->heads;
    if (c->heads)
        return VT_OK;
    c->heads = heads_of_shape(c);
    if (!c->heads)
        return VT_FAIL(VT_E_USAGE,
                       "%s: width %d, %d layers, MLP %d: the number of heads cannot be told from shapes; expected "
                       "--heads N, or --config with its config.json",
                       out->file, c->width, c->depth, c->mlp_width);
    log_warn("%s: no config.json beside it and no " SAFETENSORS_CONFIG
             " in its metadata say the number of heads: %d as in timm's models of these sizes", out->file, c->heads);
    return VT_OK;
}

void import_eval_transform(const struct import_description *description, char *text, size_t bytes)
{
    const struct timm_data *data = &description->data;
    if (data->eval_transform[0])
        snprintf(text, bytes, "%s", data->eval_transform);
    else
        snprintf(text, bytes, "centre(%g)|%s", data->crop_pct, data->bilinear ? "bilinear" : "bicubic");
}

void import_description_close(struct import_description *description)
{
    timm_data_close(&description->data);
    *description = (struct import_description){0};
}

vt_status import_describe(const char *path, const struct import_hints *hints, struct import_description *out)
{
    struct safetensors file = {0};
    vt_status status;
    *out = (struct import_description){0};
    vit_config_defaults(&out->model);
    timm_data_defaults(&out->data);
    VT_TRY(import_resolve(path, out->file, sizeof out->file));
    VT_TRY(safetensors_open(out->file, &file));
    VT_TRY_OUT(guess_sizes(&file, &out->model));
    out->model.pool = out->model.cls_token ? POOL_CLS : POOL_MEAN;
    VT_TRY_OUT(apply_metadata(&file, out));
    VT_TRY_OUT(apply_config_json(hints ? hints->config_json : NULL, out));
    VT_TRY_OUT(settle_heads(hints, out));
    status = vit_config_check(&out->model);
    if (status != VT_OK)
        status = status_prefix(status, "%s", out->file);
out:
    safetensors_close(&file);
    if (status != VT_OK)
        import_description_close(out);
    return status;
}
