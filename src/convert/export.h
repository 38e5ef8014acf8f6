/* Weights for elsewhere: the safetensors file of a checkpoint as one file that describes itself. */
#ifndef VT_CONVERT_EXPORT_H
#define VT_CONVERT_EXPORT_H

#include "base/status.h"

/* `source` to `target`, the tensors bit for bit, with `config` (the text of a config.json) in the metadata in place of
 * what stands there. The target appears whole or not at all. Takes memory for the whole file. Per rank. */
VT_MUST_CHECK vt_status export_weights(const char *source, const char *config, const char *target);

#endif
