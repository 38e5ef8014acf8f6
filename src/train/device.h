/* Which device a job computes on, chosen by all ranks together, and the plugin that brings GPUs. */
#ifndef VT_TRAIN_DEVICE_H
#define VT_TRAIN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/comm.h"
#include "config/run_config.h"

struct plugin;

struct device_desc {
    enum config_device wanted; /* AUTO: GPUs where every rank has one, else the CPU */
    int threads;               /* CPU threads of this rank; 0 = its share of the host's cores */
};

struct device {
    struct backend *be;
    const struct plugin *plugin; /* NULL: not a GPU */
    int index;                   /* of the GPU among those this rank sees */
    char reason[256];            /* why AUTO took no GPU; "" otherwise */
};

/* Collective; all ranks agree on success. Errors, each naming a rank: CUDA is wanted and there is no plugin, driver or
 * GPU; some ranks have a GPU and others none (AUTO); a host has more ranks than GPUs. */
VT_MUST_CHECK vt_status device_open(const struct device_desc *desc, struct comm *comm, struct device *out);
void device_close(struct device *device);

/* Collective: a GPU each, or an error that names two ranks that share one. NCCL cannot sum between those. */
VT_MUST_CHECK vt_status device_check_distinct(const struct device *device, struct comm *comm);

/* Per rank: one line on what there is for GPU work, for the preflight: versions and GPUs, or why there is none. */
void device_describe(char *text, int bytes);

/* The table of choices made by timing. Collective, with a plugin. Take: the bytes that rank 0 has (malloc'ed, taken; NULL: none) go
 * into every rank's table; `status` is rank 0's in getting them, and every rank's verdict. Share: rank 0's table goes to
 * the others, so that all run the same algorithms. */
VT_MUST_CHECK vt_status device_tuning_take(struct device *device, struct comm *comm, vt_status status, uint8_t *bytes, size_t size);
VT_MUST_CHECK vt_status device_tuning_share(struct device *device, struct comm *comm);
/* Per rank: the table as in tuning.pb; malloc'ed, NULL without a plugin. */
VT_MUST_CHECK vt_status device_tuning_bytes(const struct device *device, uint8_t **bytes, size_t *size);
/* Per rank: store a choice; the stored one, NULL when there is none. Keys and values without blanks. */
void device_tuning_put(struct device *device, const char *key, const char *value);
const char *device_tuning_find(const struct device *device, const char *key);

#endif
