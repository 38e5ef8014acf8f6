/* Finding and loading the plugin: libvitrail_cuda.so beside the program or in ../lib, or the file $VITRAIL_PLUGIN
 * names. */
#ifndef VT_TRAIN_PLUGIN_LOAD_H
#define VT_TRAIN_PLUGIN_LOAD_H

#include "backend/plugin.h"
#include "base/status.h"

/* Whether this machine has an NVIDIA driver at all; loads it. */
bool plugin_driver_present(void);
/* Once per process; the plugin stays loaded. VT_E_UNSUPPORTED with the reason when there is none or it does not fit. */
VT_MUST_CHECK vt_status plugin_load(const struct plugin **out);

#endif
