#include "backend/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

static void destroy_plan(struct op_plan *plan)
{
    free(plan);
}

vt_status cpu_plan_new(struct backend *be, const char *algorithm, size_t bytes, int64_t workspace_bytes, void **plan)
{
    struct op_plan *made = calloc(1, bytes);
    if (!made)
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for a plan of %zu bytes", bytes);
    made->backend = be;
    made->destroy = destroy_plan;
    made->workspace_bytes = (size_t)workspace_bytes;
    snprintf(made->algorithm, sizeof made->algorithm, "%s", algorithm);
    if (made->workspace_bytes > be->workspace_bytes)
        be->workspace_bytes = made->workspace_bytes;
    *plan = made;
    return VT_OK;
}

vt_status cpu_check_dtype(const char *op, enum dtype dtype)
{
    if (dtype == DTYPE_F32 || dtype == DTYPE_BF16)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "cpu: %s in %s, expected fp32 or bf16", op, dtype_name(dtype));
}

char *cpu_workspace(const struct op_plan *plan)
{
    const struct cpu_backend *cpu = cpu_of(plan);
    VT_CHECKF(cpu->workspace_reserved >= plan->workspace_bytes, "%s enqueued before reserve_workspace",
              plan->algorithm);
    return cpu->workspace;
}

void cpu_parallel(const struct backend *be, int64_t parts, cpu_task *task, void *context)
{
    cpu_team_run(((const struct cpu_backend *)be)->team, (int)parts, task, context);
}

int64_t cpu_parts(const struct backend *be, int64_t units)
{
    enum { PARTS_PER_THREAD = 4 };
    if (be->threads == 1 || units <= 1)
        return 1;
    if (units <= be->threads)
        return units;
    return least(units / be->threads, PARTS_PER_THREAD) * be->threads;
}

static void close_backend(struct backend *be)
{
    if (!be)
        return;
    cpu_team_close(&((struct cpu_backend *)be)->team);
    cpu_memory_close((struct cpu_backend *)be);
    free(be);
}

/* The cores this process may use, or fewer where the user said so (OMP_NUM_THREADS). */
static int usable_threads(void)
{
    int cores = omp_get_num_procs(), wish = omp_get_max_threads();
    return wish < cores ? wish : cores;
}

/* AMX tiles are oneDNN's; elsewhere our kernels are as fast on a ViT's shapes and finish their tiles while hot. */
static vt_status select_linear(struct cpu_backend *cpu)
{
    const char *wish = getenv("VT_CPU_LINEAR");
    cpu->onednn = cpu->amx;
    if (wish && *wish) {
        if (strcmp(wish, "own") != 0 && strcmp(wish, "onednn") != 0)
            return VT_FAIL(VT_E_USAGE, "VT_CPU_LINEAR=%s: expected own or onednn", wish);
        cpu->onednn = strcmp(wish, "onednn") == 0;
    }
    return VT_OK;
}

vt_status backend_cpu_open(const struct backend_desc *desc, struct backend **out)
{
    enum cpu_isa isa;
    VT_TRY(cpu_isa_select(&isa));
    if (desc->threads < 0)
        return VT_FAIL(VT_E_USAGE, "cpu: %d threads, expected a positive number or 0 for all", desc->threads);
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for the backend");
    cpu->isa = isa;
    cpu->kernels = cpu_kernels_of(isa);
    cpu->amx = isa == CPU_AVX512_BF16 && cpu_has_amx_bf16();
    struct backend *be = &cpu->base;
    be->name = "cpu";
    be->threads = desc->threads ? desc->threads : usable_threads();
    vt_status status = select_linear(cpu);
    if (status == VT_OK)
        status = cpu_team_open(be->threads, &cpu->team);
    if (status != VT_OK) {
        free(cpu);
        return status;
    }
    char model[64];
    cpu_model_name(model, sizeof model);
    snprintf(be->device_name, sizeof be->device_name, "%s (%s%s), %d thread%s", model, cpu_isa_name(isa),
             cpu->amx ? ", amx" : "", be->threads, be->threads == 1 ? "" : "s");
    be->host_memory = true;
    be->bf16_native = isa == CPU_AVX512_BF16;
    be->close = close_backend;
    cpu_memory_install(cpu);
    cpu_linear_install(&be->nn);
    cpu_attention_install(&be->nn);
    cpu_add_norm_install(&be->nn);
    cpu_patchify_install(&be->nn);
    cpu_image_install(&be->nn);
    cpu_elementwise_install(&be->nn);
    cpu_loss_install(&be->nn);
    cpu_optim_install(&be->optim);
    *out = be;
    return VT_OK;
}
