/* Weights from elsewhere: safetensors with timm names (timm's own files, or a checkpoint of ours) into a flat buffer by
 * the parameter table. What fine-tuning needs is done and said in a log line: the position table is resized when the
 * grid differs, the head stays as initialised when the class counts differ. Everything else must fit exactly. Per rank.
 */
#ifndef VT_CONVERT_IMPORT_H
#define VT_CONVERT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "convert/timm_config.h"
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

/* What a file's tensors do not say may be said by the caller, who is believed first. */
struct import_hints {
    int heads;               /* 0 = not said */
    const char *config_json; /* a timm-style config.json in place of the one beside the file; NULL = that one */
};

/* The model a file holds, how evaluation feeds it and what its classes are called. */
struct import_description {
    char file[1100]; /* the .safetensors file */
    struct vit_config model;
    struct timm_data data; /* owned; import_description_close */
};

/* Sizes from the tensors. Heads, pool, GELU, eps, mean, std, transform and class names from the first that says each:
 * `hints` (may be NULL), the config.json beside the file, the config in the file's metadata (SAFETENSORS_CONFIG), timm's
 * defaults. Heads have no default: when nobody says them they are those of timm's models of the same width, depth and
 * MLP, if these agree, else VT_E_USAGE, which names the option that settles it. On failure *out is closed. */
VT_MUST_CHECK vt_status import_describe(const char *path, const struct import_hints *hints,
                                        struct import_description *out);
void import_description_close(struct import_description *description);
/* The evaluation transform in our words: what was said, or "centre(0.9)|bicubic" from timm's. */
void import_eval_transform(const struct import_description *description, char *text, size_t bytes);

/* The .safetensors file behind a path as above. */
VT_MUST_CHECK vt_status import_resolve(const char *path, char *file, size_t bytes);

#endif
