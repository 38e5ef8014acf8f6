#include "convert/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "convert/position_resize.h"
#include "tensor/shape.h"

struct import {
    const struct safetensors *file;
    const struct vit_config *config;
    const struct param_table *table;
    float *values;
    struct import_report *report;
};

vt_status import_resolve(const char *path, char *file, size_t bytes)
{
    if (!file_is_dir(path))
        return path_join(file, bytes, "", path);
    char folder[1024];
    char direct[1100];
    VT_TRY(path_join(direct, sizeof direct, path, "model.safetensors"));
    if (file_exists(direct))
        return path_join(file, bytes, "", direct);
    VT_TRY(checkpoint_resolve(path, true, folder, sizeof folder));
    return path_join(file, bytes, folder, "model.safetensors");
}

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Tensors that fine-tuning may leave behind: they stand behind the features the model keeps. */
static bool droppable(const char *name)
{
    return starts_with(name, "pre_logits.") || starts_with(name, "head_dist.");
}

static bool same_shape(const struct safetensor *tensor, const struct param *row)
{
    if (tensor->rank != row->rank)
        return false;
    for (int i = 0; i < row->rank; i++)
        if (tensor->dim[i] != row->dim[i])
            return false;
    return true;
}

static vt_status wrong_shape(const struct import *in, const struct safetensor *tensor, const struct param *row)
{
    char found[SHAPE_TEXT_BYTES], expected[SHAPE_TEXT_BYTES];
    return VT_FAIL(VT_E_FORMAT, "%s: tensor %s is %s; the model expects %s", in->file->path, row->name,
                   shape_text(tensor->dim, tensor->rank, found, sizeof found),
                   shape_text(row->dim, row->rank, expected, sizeof expected));
}

/* The file's tokens must be the same class token (or none) in front of another square grid. */
static vt_status load_position(struct import *in, const struct safetensor *tensor, const struct param *row)
{
    if (same_shape(tensor, row))
        return safetensors_read_f32(in->file, tensor, in->values + row->offset);
    const int prefix = in->config->cls_token, width = in->config->width;
    const int to = in->config->image_size / in->config->patch_size;
    if (tensor->rank != 3 || tensor->dim[0] != 1 || tensor->dim[2] != width || tensor->dim[1] <= prefix ||
        tensor->dim[1] > 1 << 20)
        return wrong_shape(in, tensor, row);
    const int from = (int)lround(sqrt((double)(tensor->dim[1] - prefix)));
    if ((int64_t)from * from != tensor->dim[1] - prefix)
        return wrong_shape(in, tensor, row);
    float *source = malloc((size_t)tensor->count * sizeof *source);
    if (!source)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for its position table", in->file->path);
    vt_status status = safetensors_read_f32(in->file, tensor, source);
    if (status == VT_OK) {
        float *target = in->values + row->offset;
        memcpy(target, source, (size_t)(prefix * width) * sizeof *target);
        position_resize(source + prefix * width, from, to, width, target + prefix * width);
        in->report->resized_from = from;
    }
    free(source);
    return status;
}

/* The head keeps its initial values when the file's has other classes or is absent. */
static bool keeps_new_head(struct import *in)
{
    const struct safetensor *head = safetensors_find(in->file, "head.weight");
    in->report->old_classes = head && head->rank == 2 ? (int)head->dim[0] : 0;
    const struct safetensor *pre_logits = safetensors_find(in->file, "pre_logits.fc.weight");
    bool same_features = !pre_logits == !in->config->pre_logits; /* else it answered to other features */
    return !head || in->report->old_classes != in->config->classes || !same_features;
}

static vt_status load_rows(struct import *in)
{
    const char *first_missing = NULL;
    int missing = 0;
    for (int i = 0; i < in->table->count; i++) {
        const struct param *row = &in->table->rows[i];
        const struct safetensor *tensor = safetensors_find(in->file, row->name);
        if (in->report->new_head && starts_with(row->name, "head."))
            continue;
        if (!tensor && in->report->new_head && starts_with(row->name, "pre_logits."))
            continue; /* a new layer in front of a new head */
        if (!tensor) {
            first_missing = missing++ ? first_missing : row->name;
            continue;
        }
        if (strcmp(row->name, "pos_embed") == 0)
            VT_TRY(load_position(in, tensor, row));
        else if (!same_shape(tensor, row))
            return wrong_shape(in, tensor, row);
        else
            VT_TRY(safetensors_read_f32(in->file, tensor, in->values + row->offset));
        in->report->loaded++;
    }
    if (missing)
        return VT_FAIL(VT_E_FORMAT, "%s: %d of the model's %d parameters are missing, the first is %s", in->file->path,
                       missing, in->table->count, first_missing);
    return VT_OK;
}

/* From the model's rows, of which there are few: the file may be full of strange tensors. */
static bool *mark_expected(const struct import *in)
{
    bool *expected = calloc((size_t)in->file->count + 1, sizeof *expected);
    for (int i = 0; expected && i < in->table->count; i++) {
        const struct safetensor *tensor = safetensors_find(in->file, in->table->rows[i].name);
        if (tensor)
            expected[tensor - in->file->tensors] = true;
    }
    return expected;
}

static vt_status check_unexpected(struct import *in)
{
    const char *first = NULL;
    int unexpected = 0;
    bool *expected = mark_expected(in);
    if (!expected)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for a table of %d tensors", in->file->path, in->file->count);
    for (int i = 0; i < in->file->count; i++) {
        const char *name = in->file->tensors[i].name;
        if (expected[i])
            continue;
        if (droppable(name))
            in->report->dropped++;
        else
            first = unexpected++ ? first : name;
    }
    free(expected);
    if (unexpected && (strcmp(first, "fc_norm.weight") == 0 || strcmp(first, "fc_norm.bias") == 0))
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: %s: a norm behind the pooling is not supported", in->file->path, first);
    if (unexpected)
        return VT_FAIL(VT_E_FORMAT, "%s: %d tensors have no place in the model, the first is %s", in->file->path,
                       unexpected, first);
    return VT_OK;
}

static void log_report(const struct import *in)
{
    const struct import_report *r = in->report;
    const char *path = in->file->path;
    log_info("import     %s: %d of %d parameters", path, r->loaded, in->table->count);
    if (r->resized_from)
        log_info("import     position table resized from %dx%d to %dx%d patches", r->resized_from, r->resized_from,
                 in->config->image_size / in->config->patch_size, in->config->image_size / in->config->patch_size);
    if (r->new_head && r->old_classes && r->old_classes != in->config->classes)
        log_info("import     head re-initialised: the file has %d classes, the model %d", r->old_classes,
                 in->config->classes);
    else if (r->new_head)
        log_info("import     head re-initialised: the file's %s",
                 r->old_classes ? "has another pre-logits layer" : "is missing");
    if (r->dropped)
        log_info("import     %d tensors behind the features left out (pre_logits, head_dist)", r->dropped);
}

vt_status import_weights_report(const char *path, const struct vit_config *config, const struct param_table *table,
                                float *values, struct import_report *report)
{
    struct safetensors file = {0};
    struct import_report unused;
    struct import in = {&file, config, table, values, report ? report : &unused};
    char name[1100];
    vt_status status = VT_OK;
    *in.report = (struct import_report){0};
    VT_TRY(import_resolve(path, name, sizeof name));
    VT_TRY(safetensors_open(name, &file));
    in.report->new_head = keeps_new_head(&in);
    VT_TRY_OUT(check_unexpected(&in));
    VT_TRY_OUT(load_rows(&in));
    log_report(&in);
out:
    safetensors_close(&file);
    return status;
}

vt_status import_weights(const char *path, const struct vit_config *config, const struct param_table *table,
                         float *values)
{
    return import_weights_report(path, config, table, values, NULL);
}
