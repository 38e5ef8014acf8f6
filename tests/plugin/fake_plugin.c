/* A plugin whose GPU is `ref` in strict mode behind streams that are threads (async_ops.h): device memory that the host cannot
 * touch, work that runs when the host is elsewhere already, graphs, and a tuning table. So the way of a GPU run through
 * the trainer is walked without one. VT_FAKE_NO_GPU=RANK: that rank has none. VT_FAKE_GPUS=N of them. VT_FAKE_NCCL=1: with
 * NCCL. VT_FAKE_LAUNCH_US=N: what an enqueue costs. VT_FAKE_CAPTURE=no: captures fail. VT_FAKE_LIBRARY=VERSION of the
 * libraries that choices are made for. VT_FAKE_ABI=other: of another version. Built from the same pure code and host
 * shim as the real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "async_device.h"
#include "async_ops.h"
#include "backend/cuda/host_shim.h"
#include "backend/cuda/tuning.h"
#include "base/log.h"
#include "fake_comm.h"

__attribute__((visibility("default"))) vitrail_plugin_function vitrail_plugin;

static struct tuning *table;
static vt_status (*plain_capture_end)(struct backend *be, struct graph **graph);
static void (*plain_close)(struct backend *be);
static vt_status (*plain_linear_plan)(struct backend *be, const struct linear_desc *desc, struct op_plan **plan);

static vt_status device_count(int *count)
{
    const char *none = getenv("VT_FAKE_NO_GPU"), *count_text = getenv("VT_FAKE_GPUS");
    if (none && (strcmp(none, "all") == 0 || atoi(none) == log_rank()))
        return VT_FAIL(VT_E_UNSUPPORTED, "no GPU is visible");
    *count = count_text ? atoi(count_text) : 1;
    return VT_OK;
}

static vt_status device_id(int index, uint64_t *id)
{
    *id = (uint64_t)index + 17;
    return VT_OK;
}

/* "Timing": whoever plans a layer that is not in the table says so and enters it. */
static vt_status linear_plan(struct backend *be, const struct linear_desc *desc, struct op_plan **plan)
{
    char key[128];
    snprintf(key, sizeof key, "linear/%lldx%lldx%lld", (long long)desc->rows, (long long)desc->in, (long long)desc->out);
    if (!tuning_find(table, key)) {
        tuning_put(table, key, "1");
        log_warn("fake: timed %s on rank %d", key, log_rank());
    }
    return plain_linear_plan(be, desc, plan);
}

static vt_status refused_capture_end(struct backend *be, struct graph **graph)
{
    VT_TRY(plain_capture_end(be, graph));
    be->graph_free(be, *graph);
    *graph = NULL;
    return VT_FAIL(VT_E_UNSUPPORTED, "the fake captures nothing");
}

static void close_fake(struct backend *be)
{
    if (getenv("VT_FAKE_COUNT"))
        log_warn("fake: %lld graphs launched", (long long)async_of(be)->launches);
    tuning_kept_save(table);
    tuning_close(&table);
    plain_close(be);
}

/* Someone else has half of it. */
static size_t half_available(struct backend *be) { return be->memory_bytes / 2; }

static vt_status backend_open(const struct backend_desc *desc, struct backend **out)
{
    const char *launch_us = getenv("VT_FAKE_LAUNCH_US"), *capture = getenv("VT_FAKE_CAPTURE");
    const char *library = getenv("VT_FAKE_LIBRARY");
    VT_TRY(tuning_open("fake", library ? library : "1", &table));
    vt_status status = tuning_kept_load(table);
    if (status != VT_OK) {
        tuning_close(&table);
        return status;
    }
    struct backend *be = *out = async_gpu_open();
    be->name = "cuda";
    be->memory_bytes = (size_t)1 << 30;
    be->memory_available = getenv("VT_FAKE_SHARED") ? half_available : NULL;
    snprintf(be->device_name, sizeof be->device_name, "fake GPU %d", desc->device_index);
    async_of(be)->launch_us = launch_us ? atol(launch_us) : 0;
    plain_linear_plan = be->nn.linear_plan;
    be->nn.linear_plan = linear_plan;
    plain_capture_end = be->capture_end;
    if (capture && strcmp(capture, "no") == 0)
        be->capture_end = refused_capture_end;
    plain_close = be->close;
    be->close = close_fake;
    return VT_OK;
}

static vt_status comm_open(struct comm *world, struct backend *be, struct comm **out)
{
    if (!getenv("VT_FAKE_NCCL"))
        return VT_FAIL(VT_E_UNSUPPORTED, "the fake has no NCCL");
    return fake_comm_open(world, be, out);
}

static vt_status import_table(struct backend *be, const void *bytes, size_t size)
{
    char libraries[TUNING_WORD_BYTES];
    (void)be;
    VT_TRY(tuning_import(table, bytes, size));
    if (tuning_outdated(table, libraries))
        log_info("tuning     the choices at hand are of other libraries (%s): timed again", libraries);
    return VT_OK;
}

static vt_status export_table(struct backend *be, uint8_t **bytes, size_t *size)
{
    (void)be;
    return tuning_export(table, bytes, size);
}

static const char *find(struct backend *be, const char *key)
{
    (void)be;
    return tuning_find(table, key);
}

static void put(struct backend *be, const char *key, const char *value)
{
    (void)be;
    tuning_put(table, key, value);
}

vt_status vitrail_plugin(uint32_t abi, const struct host_api *host, struct plugin *plugin)
{
    const char *other = getenv("VT_FAKE_ABI");
    if (abi != VT_PLUGIN_ABI || (other && *other))
        return VT_E_UNSUPPORTED;
    host_shim_set(host);
    *plugin = (struct plugin){.name = "fake",
                              .versions = "fake 1.0",
                              .device_count = device_count,
                              .device_id = device_id,
                              .backend_open = backend_open,
                              .comm_open = comm_open,
                              .tuning_import = import_table,
                              .tuning_export = export_table,
                              .tuning_find = find,
                              .tuning_put = put};
    return VT_OK;
}
