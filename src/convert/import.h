/* Weights from elsewhere: safetensors with timm names (timm's own files, or a checkpoint of ours) into a flat buffer by
 * the parameter table. What fine-tuning needs is done and said in a log line: the position table is resized when the
 * grid differs, the head stays as initialised when the class counts differ. Everything else must fit exactly. Per rank.
 */
#ifndef VT_CONVERT_IMPORT_H
#define VT_CONVERT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "model/vit_config.h"
#include "tensor/params.h"

/* What became of the file's tensors. */
struct import_report {
    int loaded;       /* rows of the table read from the file */
    int resized_from; /* grid side of the file's position table when it was resized, else 0 */
    bool new_head;    /* the head kept its initial values */
    int old_classes;  /* classes of the file's head; 0 = none */
    int dropped;      /* tensors of the file left out: another pre-logits layer, a distillation head */
};

/* Read weights for `config` into values (host flat buffer of `table`, already initialised: what the file does not
 * decide stays). path: a .safetensors file, a checkpoint folder or a run folder. report may be NULL. The report is
 * logged. VT_E_FORMAT when a parameter is missing, unexpected or of another shape: the message counts them and names
 * the first. */
VT_MUST_CHECK vt_status import_weights(const char *path, const struct vit_config *config,
                                       const struct param_table *table, float *values);
VT_MUST_CHECK vt_status import_weights_report(const char *path, const struct vit_config *config,
                                              const struct param_table *table, float *values,
                                              struct import_report *report);

/* The config of the model a file holds: sizes from its tensors; what tensors cannot tell (heads, pool, GELU, mean and
 * std) from a timm-style config.json beside it, else timm's defaults with heads of 64. */
VT_MUST_CHECK vt_status import_guess_config(const char *path, struct vit_config *config);

/* How evaluation prepares an image, from the same config.json; else timm's defaults for ViTs: 0.9, bicubic. */
VT_MUST_CHECK vt_status import_guess_transform(const char *path, double *crop_pct, bool *bilinear);

/* The .safetensors file behind a path as above. */
VT_MUST_CHECK vt_status import_resolve(const char *path, char *file, size_t bytes);

#endif
