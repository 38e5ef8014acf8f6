/* What a run decides by timing, beside the plans' own: kept in the device's table of choices, and so in RUN/tuning.pb and
 * in checkpoints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/tuning_file.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "train/trainer.h"

static const char TUNING_FILE[] = "tuning.pb";

/* The copy in the newest checkpoint, if there is one: the state alone is read, as nothing else is needed of it here. One that is
 * damaged is told of later, when weights are taken from one. */
static void read_checkpoint(const struct trainer *t, uint8_t **bytes, size_t *size, char *path, size_t path_bytes)
{
    struct checkpoint_state state = {0};
    if (checkpoint_resolve(t->folder.checkpoints, false, path, path_bytes) != VT_OK || checkpoint_read_state(path, &state) != VT_OK)
        return;
    *bytes = state.tuning;
    *size = state.tuning_bytes;
    state.tuning = NULL;
    checkpoint_state_close(&state);
}

vt_status trainer_load_tuning(struct trainer *t)
{
    char path[CONFIG_PATH_BYTES + 128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    vt_status status = VT_OK;
    if (!t->device.plugin || !t->folder.dir[0])
        return VT_OK;
    VT_TRY(path_join(path, sizeof path, t->folder.dir, TUNING_FILE));
    if (t->comm->rank == 0 && file_exists(path))
        status = file_read(path, TUNING_FILE_MAX_BYTES, (char **)&bytes, &size);
    else if (t->comm->rank == 0)
        read_checkpoint(t, &bytes, &size, path, sizeof path);
    status = device_tuning_take(&t->device, t->comm, status, bytes, size);
    return status == VT_OK ? VT_OK : status_prefix(status, "%s", path);
}

static vt_status save_tuning(struct trainer *t)
{
    char path[CONFIG_PATH_BYTES + 16];
    uint8_t *bytes;
    size_t size;
    VT_TRY(path_join(path, sizeof path, t->folder.dir, TUNING_FILE));
    VT_TRY(device_tuning_bytes(&t->device, &bytes, &size));
    vt_status status = file_write_atomic(path, bytes, size);
    free(bytes);
    return status;
}

vt_status trainer_share_tuning(struct trainer *t)
{
    if (!t->device.plugin)
        return VT_OK;
    VT_TRY(device_tuning_share(&t->device, t->comm));
    return comm_agree(t->comm, t->comm->rank == 0 && t->folder.dir[0] ? save_tuning(t) : VT_OK);
}

/* A product that runs on every multiprocessor takes about twice as long while a collective holds some of them: its last blocks
 * wait for the others to end. One that leaves them free is slower by their share, always. So it pays where sums take a
 * good part of backward: across hosts, not inside of one. */
void trainer_spare_multiprocessors(struct trainer *t)
{
    const struct comm *comm = t->device_comm;
    int spare = t->config.comm.spare_sms;
    if (spare < 0)
        spare = comm->size > comm->local_size ? comm->multiprocessors : 0;
    t->be->spared_multiprocessors = spare;
    if (spare)
        log_info("comm       backward's products leave %d multiprocessors to NCCL", spare);
}

/* ---- graphs ---- */

enum { KEY_BYTES = 160 };

/* Everything the share of enqueueing depends on, but for device and libraries, which the table adds. */
static void graphs_key(const struct trainer *t, char key[KEY_BYTES])
{
    const struct vit_config *m = &t->data.model;
    snprintf(key, KEY_BYTES, "graphs/%dx%d/D%d.F%d.L%d.A%d/%s/recompute%d/ranks%d", t->micro_rows, vit_tokens(m), m->width,
             m->mlp_width, m->depth, m->heads, dtype_name(t->dtype), (int)t->config.compute.recompute, t->comm->size);
}

static bool stored_on(const char *value) { return strncmp(value, "on", 2) == 0; }

vt_status trainer_open_graphs(struct trainer *t)
{
    char key[KEY_BYTES];
    enum graphs_mode mode = t->config.compute.graphs == CONFIG_GRAPHS_ON ? GRAPHS_ON : GRAPHS_OFF;
    if (t->config.compute.graphs == CONFIG_GRAPHS_AUTO) {
        graphs_key(t, key);
        const char *stored = device_tuning_find(&t->device, key);
        mode = !stored ? GRAPHS_MEASURE : stored_on(stored) ? GRAPHS_ON : GRAPHS_OFF;
    }
    return graphs_open(mode, t->be, t->buckets, &t->graphs);
}

vt_status trainer_decide_graphs(struct trainer *t, double share)
{
    char key[KEY_BYTES], value[32];
    graphs_key(t, key);
    snprintf(value, sizeof value, "%s,%.3f", graphs_worth(share) ? "on" : "off", share);
    if (t->comm->rank == 0) {
        device_tuning_put(&t->device, key, value);
        log_info("graphs     %s: enqueueing takes the host %.0f %% of the device's time", graphs_worth(share) ? "on" : "off",
                 100 * share);
    }
    VT_TRY(trainer_share_tuning(t));
    const char *verdict = device_tuning_find(&t->device, key);
    graphs_decide(t->graphs, verdict && stored_on(verdict));
    return VT_OK;
}
