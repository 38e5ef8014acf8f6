/* The config of a stranger's weights, from the shapes of its tensors and the config.json beside it. */
#include <math.h>
#include <stdio.h>
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

/* The config.json beside a weights file; *root stays NULL when there is none. */
static vt_status open_config_json(const char *file, char *path, size_t bytes, struct json **root)
{
    char folder[1024];
    VT_TRY(path_dir(folder, sizeof folder, file));
    VT_TRY(path_join(path, bytes, folder, "config.json"));
    return file_exists(path) ? json_parse_file(path, CONFIG_JSON_BYTES, root) : VT_OK;
}

static vt_status read_config_json(const char *file, struct vit_config *c)
{
    char path[1100];
    struct json *root = NULL;
    c->heads = 0;
    VT_TRY(open_config_json(file, path, sizeof path, &root));
    vt_status status = root ? timm_config_read(root, path, c) : VT_OK;
    json_free(&root);
    return status;
}

vt_status import_guess_transform(const char *path, double *crop_pct, bool *bilinear)
{
    char name[1100], json_path[1100];
    struct json *root = NULL;
    *crop_pct = 0.9;
    *bilinear = false;
    VT_TRY(import_resolve(path, name, sizeof name));
    VT_TRY(open_config_json(name, json_path, sizeof json_path, &root));
    vt_status status = root ? timm_config_read_transform(root, json_path, crop_pct, bilinear) : VT_OK;
    json_free(&root);
    return status;
}

vt_status import_guess_config(const char *path, struct vit_config *config)
{
    struct safetensors file = {0};
    char name[1100];
    vt_status status = VT_OK;
    vit_config_defaults(config);
    VT_TRY(import_resolve(path, name, sizeof name));
    VT_TRY(safetensors_open(name, &file));
    VT_TRY_OUT(guess_sizes(&file, config));
    if (!config->cls_token)
        config->pool = POOL_MEAN;
    if (config->channels <= 4)
        VT_TRY_OUT(read_config_json(name, config));
    if (config->heads == 0) {
        config->heads = config->width / 64 > 0 ? config->width / 64 : 1;
        log_warn("%s: number of heads not said beside it (config.json); guessed %d (width / 64)", name, config->heads);
    }
    status = vit_config_check(config);
    if (status != VT_OK)
        status = status_prefix(status, "%s", name);
out:
    safetensors_close(&file);
    return status;
}
