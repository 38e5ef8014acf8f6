/* A plugin whose GPU is `ref` in strict mode: device memory that the host cannot touch, bf16, and a tuning table. So
 * the way of a GPU run through the trainer is walked without one. VT_FAKE_NO_GPU=RANK: that rank has none.
 * VT_FAKE_GPUS=N of them. VT_FAKE_ABI=other: of another version. Built from the same pure code and host shim as the
 * real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/host_shim.h"
#include "base/log.h"

__attribute__((visibility("default"))) vitrail_plugin_function vitrail_plugin;

static char table[4096] = "vitrail-tuning 1\n";
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
    char line[128];
    snprintf(line, sizeof line, "fake 1 linear/%lldx%lldx%lld 1\n", (long long)desc->rows, (long long)desc->in,
             (long long)desc->out);
    if (!strstr(table, line)) {
        if (strlen(table) + strlen(line) < sizeof table)
            strcat(table, line);
        log_warn("fake: timed %s on rank %d", line, log_rank());
    }
    return plain_linear_plan(be, desc, plan);
}

static vt_status backend_open(const struct backend_desc *desc, struct backend **out)
{
    struct backend_desc strict = *desc;
    strict.strict = true;
    VT_TRY(backend_ref_open(&strict, out));
    struct backend *be = *out;
    be->name = "cuda";
    be->memory_bytes = (size_t)1 << 30;
    snprintf(be->device_name, sizeof be->device_name, "fake GPU %d", desc->device_index);
    plain_linear_plan = be->nn.linear_plan;
    be->nn.linear_plan = linear_plan;
    return VT_OK;
}

static vt_status comm_open(struct comm *world, struct backend *be, struct comm **out)
{
    (void)world, (void)be, (void)out;
    return VT_FAIL(VT_E_UNSUPPORTED, "the fake has no NCCL");
}

static vt_status tuning_import(struct backend *be, const char *text)
{
    (void)be;
    if (strncmp(text, "vitrail-tuning 1\n", 17) != 0)
        return VT_FAIL(VT_E_FORMAT, "tuning table, line 1: expected \"vitrail-tuning 1\"");
    snprintf(table, sizeof table, "%s", text);
    return VT_OK;
}

static vt_status tuning_export(struct backend *be, char **text)
{
    (void)be;
    *text = strdup(table);
    return *text ? VT_OK : VT_FAIL(VT_E_MEMORY, "no memory");
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
                              .tuning_import = tuning_import,
                              .tuning_export = tuning_export};
    return VT_OK;
}
