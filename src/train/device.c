#include "train/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/plugin.h"
#include "base/log.h"
#include "train/plugin_load.h"

/* Whether this rank can have a GPU, and which. Cheap where there is no driver: the plugin (with cuBLASLt behind it) is
 * not loaded then, unless it was named or asked for. */
static vt_status probe(const struct comm *comm, bool thorough, const struct plugin **plugin, int *index)
{
    int count;
    const char *named = getenv("VITRAIL_PLUGIN");
    if (!thorough && !(named && *named) && !plugin_driver_present())
        return VT_FAIL(VT_E_UNSUPPORTED, "no NVIDIA driver on this machine");
    VT_TRY(plugin_load(plugin));
    VT_TRY((*plugin)->device_count(&count));
    /* One visible GPU: the launcher gave each rank its own (or a test lets them share it). */
    *index = count == 1 ? 0 : comm->local_rank;
    if (*index >= count)
        return VT_FAIL(VT_E_USAGE, "host %s has %d GPUs for %d ranks: start one rank per GPU", comm->host, count,
                       comm->local_size);
    return VT_OK;
}

/* Collective. VT_OK with *use = false: the CPU, for a reason in device->reason. */
static vt_status agree_on_gpu(const struct device_desc *desc, struct comm *comm, struct device *device, bool *use)
{
    bool wanted = desc->wanted == CONFIG_DEVICE_CUDA;
    vt_status status = probe(comm, wanted, &device->plugin, &device->index);
    bool found = status == VT_OK;
    int32_t with_gpu = found;
    if (!found)
        snprintf(device->reason, sizeof device->reason, "%s", status_message());
    VT_TRY(comm->all_reduce(comm, &with_gpu, 1, DTYPE_I32, REDUCE_SUM));
    *use = with_gpu == comm->size;
    if (!found && wanted)
        status = VT_FAIL(status, "compute.device=cuda: %s", device->reason);
    else if (!found && with_gpu > 0)
        status = VT_FAIL(status, "%d of %d ranks have a GPU, this one has not: %s; compute.device=cpu would use none",
                         (int)with_gpu, comm->size, device->reason);
    else
        status = VT_OK;
    VT_TRY(comm_agree(comm, status));
    if (*use)
        device->reason[0] = '\0';
    else
        device->plugin = NULL;
    return VT_OK;
}

static vt_status open_backend(const struct device_desc *desc, const struct comm *comm, struct device *device)
{
    struct backend_desc backend = {.threads = desc->threads ? desc->threads : comm->cpus,
                                   .device_index = device->index};
    if (device->plugin)
        return device->plugin->backend_open(&backend, &device->be);
    return desc->wanted == CONFIG_DEVICE_REF ? backend_ref_open(&backend, &device->be)
                                             : backend_cpu_open(&backend, &device->be);
}

vt_status device_open(const struct device_desc *desc, struct comm *comm, struct device *out)
{
    *out = (struct device){0};
    bool use = false;
    if (desc->wanted == CONFIG_DEVICE_AUTO || desc->wanted == CONFIG_DEVICE_CUDA)
        VT_TRY(agree_on_gpu(desc, comm, out, &use));
    vt_status status = comm_agree(comm, open_backend(desc, comm, out));
    if (status != VT_OK)
        device_close(out);
    return status;
}

void device_close(struct device *device)
{
    if (device->be)
        device->be->close(device->be);
    *device = (struct device){0};
}

vt_status device_check_distinct(const struct device *device, struct comm *comm)
{
    uint64_t *ids = calloc((size_t)comm->size, sizeof *ids);
    vt_status status = ids ? device->plugin->device_id(device->index, &ids[comm->rank])
                           : VT_FAIL(VT_E_MEMORY, "no memory for GPU ids");
    status = comm_agree(comm, status);
    if (status == VT_OK)
        status = comm->all_reduce(comm, ids, comm->size, DTYPE_I64, REDUCE_SUM);
    for (int a = 0; a < comm->size && status == VT_OK; a++)
        for (int b = a + 1; b < comm->size && status == VT_OK; b++)
            if (ids[a] == ids[b])
                status = VT_FAIL(VT_E_USAGE, "ranks %d and %d have the same GPU: start one rank per GPU", a, b);
    free(ids);
    return status;
}

void device_describe(char *text, int bytes)
{
    const struct plugin *plugin;
    int count;
    char found[160] = "";
    vt_status status = plugin_load(&plugin);
    if (status == VT_OK && plugin->describe)
        plugin->describe(found, sizeof found);
    if (status == VT_OK)
        status = plugin->device_count(&count);
    if (status == VT_OK)
        snprintf(text, (size_t)bytes, "%d visible; %s%s%s", count, plugin->versions, found[0] ? ", " : "", found);
    else
        snprintf(text, (size_t)bytes, "none: %.200s", status_message());
}

/* ---- tuning ---- */

/* Collective: rank 0's bytes for all; *bytes is malloc'ed on every rank. `status` is rank 0's so far. */
static vt_status spread(struct comm *comm, vt_status status, uint8_t **bytes, size_t *size)
{
    VT_TRY(comm_agree(comm, status));
    int64_t shared = comm->rank == 0 && *bytes ? (int64_t)*size : 0;
    VT_TRY(comm->broadcast(comm, &shared, sizeof shared, 0));
    *size = (size_t)shared;
    if (shared == 0)
        return VT_OK;
    if (comm->rank != 0)
        *bytes = malloc(*size);
    VT_TRY(comm_agree(
        comm, *bytes ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory for a tuning table of %lld bytes", (long long)shared)));
    return comm->broadcast(comm, *bytes, shared, 0);
}

vt_status device_tuning_take(struct device *device, struct comm *comm, vt_status status, uint8_t *bytes, size_t size)
{
    status = spread(comm, status, &bytes, &size);
    if (status == VT_OK)
        status = comm_agree(comm, size ? device->plugin->tuning_import(device->be, bytes, size) : VT_OK);
    free(bytes);
    return status;
}

vt_status device_tuning_share(struct device *device, struct comm *comm)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (!device->plugin || comm->size == 1)
        return VT_OK;
    vt_status status = comm->rank == 0 ? device_tuning_bytes(device, &bytes, &size) : VT_OK;
    return device_tuning_take(device, comm, status, bytes, size);
}

vt_status device_tuning_bytes(const struct device *device, uint8_t **bytes, size_t *size)
{
    *bytes = NULL;
    *size = 0;
    return device->plugin ? device->plugin->tuning_export(device->be, bytes, size) : VT_OK;
}

void device_tuning_put(struct device *device, const char *key, const char *value)
{
    if (device->plugin)
        device->plugin->tuning_put(device->be, key, value);
}

const char *device_tuning_find(const struct device *device, const char *key)
{
    return device->plugin ? device->plugin->tuning_find(device->be, key) : NULL;
}
