/* The timm-style config.json of a model: beside model.safetensors it lets timm.create_model("local-dir:FOLDER",
 * pretrained=True) build the model and load our weights as they are; the same text stands in the metadata of the weights
 * (SAFETENSORS_CONFIG). What timm cannot say (eps, the evaluation transform as we write it) stands under "vitrail". */
#ifndef VT_CONVERT_TIMM_CONFIG_H
#define VT_CONVERT_TIMM_CONFIG_H

#include <stdbool.h>

#include "base/json.h"
#include "base/status.h"
#include "model/vit_config.h"

/* How evaluation prepares an image and what the classes are called. For writing, everything is borrowed. */
struct timm_data {
    double crop_pct;          /* 0.875, 1.0: in timm's words */
    bool bilinear;            /* else bicubic */
    char eval_transform[160]; /* in ours, "squash|bicubic"; "" = only the two above are said */
    char **class_names;
    int class_count; /* 0 = not said */
};
/* timm's defaults for ViTs: 0.9, bicubic. */
void timm_data_defaults(struct timm_data *data);
/* For what was read. */
void timm_data_close(struct timm_data *data);

/* Pretty JSON, malloc'ed (caller frees). Floats are the shortest decimals that read back equal. Class names of more than
 * 2 MiB in all are left out. */
char *timm_config_to_text(const struct vit_config *config, const struct timm_data *data);
/* Such a text with our transform and class names set in it, for one that was written without; malloc'ed. */
VT_MUST_CHECK vt_status timm_config_complete(const char *text, const char *path, const struct timm_data *data, char **out);

/* The other direction, for what tensors cannot tell: sets heads, pool, GELU, eps, mean and std where the JSON has them,
 * and leaves the rest. path is for messages. VT_E_FORMAT when it describes a model of another width, depth or patch size
 * than `config`, whose sizes are those of the tensors. config->channels must be 1 to 4. */
VT_MUST_CHECK vt_status timm_config_read(const struct json *root, const char *path, struct vit_config *config);
/* The other half: transform and class names, of `classes` at most, replaced in *data where the JSON has them. */
VT_MUST_CHECK vt_status timm_config_read_data(const struct json *root, const char *path, int classes,
                                              struct timm_data *data);

#endif
