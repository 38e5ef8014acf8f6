/* The backend: choosing and opening the device, plans. */
#include "backend/cuda/cuda.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cudnn_api.h"
#include "backend/cuda/peak.h"
#include "backend/cuda/tuning.h"
#include "base/log.h"

enum { SM_MIN = 80, MIB = 1 << 20 };

void cuda_bind(const struct cuda_backend *cuda)
{
    static _Thread_local int bound = -1;
    if (bound == cuda->device)
        return;
    if (cudaSetDevice(cuda->device) == cudaSuccess)
        bound = cuda->device;
}

/* ---- plans ---- */

static void destroy_plan(struct op_plan *plan)
{
    free(plan);
}

void cuda_need_workspace(struct cuda_backend *cuda, size_t bytes)
{
    if (bytes > cuda->base.workspace_bytes)
        cuda->base.workspace_bytes = bytes;
}

void cuda_plan_workspace(struct op_plan *plan, size_t workspace_bytes)
{
    if (workspace_bytes > plan->workspace_bytes)
        plan->workspace_bytes = workspace_bytes;
    cuda_need_workspace(cuda_of(plan), plan->workspace_bytes);
}

vt_status cuda_plan_new(struct backend *be, const char *algorithm, size_t bytes, size_t workspace_bytes, void **plan)
{
    struct op_plan *made = calloc(1, bytes);
    if (!made)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for a plan of %zu bytes", bytes);
    made->backend = be;
    made->destroy = destroy_plan;
    snprintf(made->algorithm, sizeof made->algorithm, "%s", algorithm);
    cuda_plan_workspace(made, workspace_bytes);
    *plan = made;
    return VT_OK;
}

vt_status cuda_check_dtype(const char *op, enum dtype dtype)
{
    if (dtype == DTYPE_F32 || dtype == DTYPE_BF16)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "cuda: %s in %s, expected fp32 or bf16", op, dtype_name(dtype));
}

void *cuda_workspace(const struct op_plan *plan)
{
    const struct cuda_backend *cuda = cuda_of(plan);
    VT_CHECKF(cuda->workspace_reserved >= plan->workspace_bytes, "%s enqueued before reserve_workspace",
              plan->algorithm);
    return cuda->workspace;
}

struct CUstream_st *cuda_compute_stream(struct backend *be)
{
    return cuda_stream((struct cuda_backend *)be);
}
int cuda_sm_count(const struct backend *be)
{
    return ((const struct cuda_backend *)be)->multiprocessors;
}

/* ---- choices made by timing ---- */

const char *cuda_tuning_find(const struct cuda_backend *cuda, const char *key)
{
    return tuning_find(cuda->tuning, key);
}
void cuda_tuning_put(struct cuda_backend *cuda, const char *key, const char *value)
{
    tuning_put(cuda->tuning, key, value);
}

/* ---- the device ---- */

vt_status cuda_device_count(int *count)
{
    int found = 0;
    cudaError_t error = cudaGetDeviceCount(&found);
    if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary) {
        (void)cudaGetLastError();
        int driver = 0;
        (void)cudaDriverGetVersion(&driver);
        if (driver == 0)
            return VT_FAIL(VT_E_UNSUPPORTED, "no NVIDIA driver on this machine");
        return VT_FAIL(VT_E_UNSUPPORTED, "the NVIDIA driver supports CUDA %d.%d, this build needs %d.%d", driver / 1000,
                       driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (error == cudaErrorNoDevice || (error == cudaSuccess && found == 0)) {
        (void)cudaGetLastError();
        return VT_FAIL(VT_E_UNSUPPORTED, "no GPU is visible%s",
                       getenv("CUDA_VISIBLE_DEVICES") ? " (CUDA_VISIBLE_DEVICES is set)" : "");
    }
    if (error != cudaSuccess)
        return cuda_fail((int)error, "counting GPUs");
    *count = found;
    return VT_OK;
}

/* FNV-1a of the UUID. */
vt_status cuda_device_id(int index, uint64_t *id)
{
    struct cudaDeviceProp p;
    CUDA_TRY(cudaGetDeviceProperties(&p, index));
    *id = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof p.uuid.bytes; i++)
        *id = (*id ^ (unsigned char)p.uuid.bytes[i]) * 0x100000001b3u;
    return VT_OK;
}

static vt_status read_properties(struct cuda_backend *cuda)
{
    struct cudaDeviceProp p;
    CUDA_TRY(cudaGetDeviceProperties(&p, cuda->device));
    cuda->sm = p.major * 10 + p.minor;
    cuda->multiprocessors = p.multiProcessorCount;
    cuda->l2_bytes = (size_t)p.l2CacheSize;
    cuda->base.memory_bytes = p.totalGlobalMem;
    cuda->base.peak_flops = cuda_peak_flops(p.name);
    cuda->shared_bytes = p.sharedMemPerBlockOptin;
    cuda->gemm_workspace_limit = (size_t)(cuda->sm >= 90 ? 64 : 32) * MIB;
    snprintf(cuda->base.device_name, sizeof cuda->base.device_name, "%.80s (sm_%d, %.0f GiB)", p.name, cuda->sm,
             (double)p.totalGlobalMem / (1024.0 * MIB));
    if (cuda->sm < SM_MIN)
        return VT_FAIL(VT_E_UNSUPPORTED, "%s: bf16 matrix units need sm_%d or newer", cuda->base.device_name, SM_MIN);
    char device[160], libraries[80];
    const bool cudnn = cudnn_load() == VT_OK;
    if (!cudnn)
        log_info("attention  by own kernels alone: %s", status_message());
    snprintf(device, sizeof device, "%.120s/sm_%d/%d", p.name, cuda->sm, cuda->multiprocessors);
    snprintf(libraries, sizeof libraries, "cublaslt-%zu,cudnn-%zu", cublasLtGetVersion(), cudnn ? cudnn_version() : 0);
    VT_TRY(tuning_open(device, libraries, &cuda->tuning));
    return cuda->tune ? tuning_kept_load(cuda->tuning) : VT_OK;
}

static vt_status open_streams(struct cuda_backend *cuda)
{
    int low, high;
    CUDA_TRY(cudaDeviceGetStreamPriorityRange(&low, &high));
    for (int i = 0; i < STREAM_COUNT; i++)
        CUDA_TRY(cudaStreamCreateWithPriority(&cuda->streams[i], cudaStreamNonBlocking, i == STREAM_COMM ? high : low));
    return VT_OK;
}

static void close_backend(struct backend *be)
{
    if (!be)
        return;
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    cuda_bind(cuda);
    cuda_attention_close(cuda);
    if (cuda->lt)
        (void)cublasLtDestroy(cuda->lt);
    cuda_memory_close(cuda);
    for (int i = 0; i < STREAM_COUNT; i++)
        if (cuda->streams[i])
            (void)cudaStreamDestroy(cuda->streams[i]);
    if (cuda->tune)
        tuning_kept_save(cuda->tuning);
    tuning_close(&cuda->tuning);
    free(cuda);
}

static vt_status open_device(struct cuda_backend *cuda)
{
    VT_TRY(read_properties(cuda));
    CUDA_TRY(cudaSetDevice(cuda->device));
    VT_TRY(open_streams(cuda));
    cublasStatus_t lt = cublasLtCreate(&cuda->lt);
    if (lt != CUBLAS_STATUS_SUCCESS)
        return VT_FAIL(VT_E_UNSUPPORTED, "cuda: cublasLtCreate on %s: %s", cuda->base.device_name,
                       cublasLtGetStatusString(lt));
    return VT_OK;
}

/* Timing is on, unless VT_CUDA_TUNE=off: then the first candidate is taken, to tell a wrong choice from a wrong kernel, and
 * VT_CUDA_TUNE_FILE has no say. */
static vt_status select_tuning(struct cuda_backend *cuda)
{
    const char *wish = getenv("VT_CUDA_TUNE");
    if (wish && *wish && strcmp(wish, "on") != 0 && strcmp(wish, "off") != 0)
        return VT_FAIL(VT_E_USAGE, "VT_CUDA_TUNE=%s: expected on or off", wish);
    cuda->tune = !wish || strcmp(wish, "off") != 0;
    return VT_OK;
}

static void install(struct backend *be)
{
    be->name = "cuda";
    be->host_memory = false;
    be->bf16_native = true;
    be->stream_preferred = DTYPE_BF16;
    be->close = close_backend;
    cuda_memory_install(be);
    cuda_graph_install(be);
    cuda_linear_install(be);
    cuda_attention_install(be);
    cuda_add_norm_install(be);
    cuda_patchify_install(be);
    cuda_embed_install(be);
    cuda_pool_install(be);
    cuda_dropout_install(be);
    cuda_activation_install(be);
    cuda_loss_install(be);
    cuda_cast_install(be);
    cuda_optim_install(be);
}

vt_status backend_cuda_open(const struct backend_desc *desc, struct backend **out)
{
    int count;
    VT_TRY(cuda_device_count(&count));
    if (desc->device_index < 0 || desc->device_index >= count)
        return VT_FAIL(VT_E_USAGE, "cuda: GPU %d of %d, expected 0 to %d", desc->device_index, count, count - 1);
    struct cuda_backend *cuda = calloc(1, sizeof *cuda);
    if (!cuda)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for the backend");
    cuda->device = desc->device_index;
    install(&cuda->base);
    vt_status status = select_tuning(cuda);
    if (status == VT_OK)
        status = open_device(cuda);
    if (status != VT_OK) {
        close_backend(&cuda->base);
        return status;
    }
    *out = &cuda->base;
    return VT_OK;
}
