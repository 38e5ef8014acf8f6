/* The timm-style config.json beside model.safetensors: with it timm.create_model("local-dir:FOLDER", pretrained=True)
 * builds the model and loads our weights as they are. What timm cannot say (a pre-logits layer) stands under "vitrail".
 */
#ifndef VT_CONVERT_TIMM_CONFIG_H
#define VT_CONVERT_TIMM_CONFIG_H

#include "base/json.h"
#include "base/status.h"
#include "model/vit_config.h"

/* Pretty JSON, malloc'ed (caller frees). interpolation: "bicubic" or "bilinear" and crop_pct (0.875, 1.0): how
 * evaluation prepares an image. */
char *timm_config_to_text(const struct vit_config *config, const char *interpolation, double crop_pct);

/* The other direction, for what tensors cannot tell: sets heads (0 when not said), pool, GELU, eps, mean and std where
 * the JSON has them. path is for messages. */
VT_MUST_CHECK vt_status timm_config_read(const struct json *root, const char *path, struct vit_config *config);
/* The other half of what it says: crop_pct (above 0, at most 1) and the interpolation; what it does not say is left. */
VT_MUST_CHECK vt_status timm_config_read_transform(const struct json *root, const char *path, double *crop_pct,
                                                   bool *bilinear);

#endif
