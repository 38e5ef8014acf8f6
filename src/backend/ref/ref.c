#include "backend/ref/ref.h"

#include <stdio.h>

static void destroy_plan(struct op_plan *plan)
{
    free(plan);
}

vt_status ref_plan_new(struct backend *be, const char *algorithm, size_t bytes, int64_t doubles, void **plan)
{
    struct op_plan *made = calloc(1, bytes);
    if (!made)
        return VT_FAIL(VT_E_MEMORY, "ref: no memory for a plan of %zu bytes", bytes);
    made->backend = be;
    made->destroy = destroy_plan;
    made->workspace_bytes = (size_t)doubles * sizeof(double);
    snprintf(made->algorithm, sizeof made->algorithm, "%s", algorithm);
    if (made->workspace_bytes > be->workspace_bytes)
        be->workspace_bytes = made->workspace_bytes;
    *plan = made;
    return VT_OK;
}

vt_status ref_check_dtype(const char *op, enum dtype dtype)
{
    if (dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F64)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "ref: %s in %s, expected fp32 or bf16", op, dtype_name(dtype));
}

double *ref_workspace(const struct op_plan *plan)
{
    struct ref_backend *ref = (struct ref_backend *)plan->backend;
    VT_CHECKF(ref->workspace != NULL, "an op was enqueued before reserve_workspace");
    return ref->workspace;
}

static void close_backend(struct backend *be)
{
    if (!be)
        return;
    ref_memory_close((struct ref_backend *)be);
    free(be);
}

vt_status backend_ref_open(const struct backend_desc *desc, struct backend **out)
{
    struct ref_backend *ref = calloc(1, sizeof *ref);
    if (!ref)
        return VT_FAIL(VT_E_MEMORY, "ref: no memory for the backend");
    ref->strict = desc->strict;
    struct backend *be = &ref->base;
    be->name = "ref";
    snprintf(be->device_name, sizeof be->device_name, "plain loops%s", desc->strict ? ", strict" : "");
    be->threads = 1;
    be->host_memory = !desc->strict;
    be->poison = desc->strict;
    be->close = close_backend;
    ref_memory_install(ref);
    ref_linear_install(&be->nn);
    ref_activation_install(&be->nn);
    ref_attention_install(&be->nn);
    ref_add_norm_install(&be->nn);
    ref_patchify_install(&be->nn);
    ref_embed_install(&be->nn);
    ref_pool_install(&be->nn);
    ref_dropout_install(&be->nn);
    ref_loss_install(&be->nn);
    ref_convert_install(&be->nn);
    ref_optim_install(&be->optim);
    *out = be;
    return VT_OK;
}
