/* Values of a config that are each in range and yet hardly meant together, or on this machine. */
#ifndef VT_TRAIN_DOUBTS_H
#define VT_TRAIN_DOUBTS_H

#include "base/status.h"
#include "config/run_config.h"

struct resolved;

/* One warning each, by rank 0; VT_E_USAGE for what can only be a slip. Per rank: `cpus` are this rank's (cpus_usable). */
VT_MUST_CHECK vt_status doubts_raise(const struct run_config *config, const struct resolved *resolved, int cpus);

#endif
