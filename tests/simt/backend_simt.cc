/* The backend's side of kernels.h: memory, plans, and the table. Everything is synchronous. */
#include "simt.h"

#include "backend/cuda/op.cuh"

#include <sanitizer/asan_interface.h>

extern "C" {
#include "backend/synchronous.h"
#include "backend_simt.h"
#include "simt_linear.h"
}

enum { MULTIPROCESSORS = 3, POISON = 0xFF };

struct simt_backend {
    struct cuda_backend cuda; /* first: op files cast to it */
    struct backend *ref;      /* for what the kernels leave to others */
};

/* ---- memory ---- */

static vt_status memory_alloc(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer)
{
    (void)kind;
    if (posix_memalign(pointer, 256, bytes ? bytes : 1) != 0)
        return VT_FAIL(VT_E_MEMORY, "simt: no memory for %s: %zu bytes", what, bytes);
    memset(*pointer, 0, bytes);
    be->allocated_bytes += bytes;
    return VT_OK;
}

static void memory_release(struct backend *be, enum memory_kind kind, void *pointer)
{
    (void)be, (void)kind;
    free(pointer);
}

static vt_status reserve_workspace(struct backend *be)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    struct backend *ref = ((struct simt_backend *)be)->ref;
    free(cuda->workspace);
    cuda->workspace = NULL;
    if (posix_memalign(&cuda->workspace, 256, be->workspace_bytes ? be->workspace_bytes : 1) != 0)
        return VT_FAIL(VT_E_MEMORY, "simt: no memory for a workspace of %zu bytes", be->workspace_bytes);
    memset(cuda->workspace, POISON, be->workspace_bytes); /* NaN: no op may rely on what it finds */
    cuda->workspace_reserved = be->workspace_bytes;
    return ref->reserve_workspace(ref);
}

static void upload(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes)
{
    (void)be, (void)stream;
    memcpy(device, host, bytes);
}

static void download(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes)
{
    (void)be, (void)stream;
    memcpy(host, device, bytes);
}

static void zero(struct backend *be, enum stream stream, void *device, size_t bytes)
{
    (void)be, (void)stream;
    memset(device, 0, bytes);
}

static vt_status synchronise(struct backend *be)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    if (cuda->error != 0)
        return VT_FAIL(VT_E_IO, "simt: error %d of %s", cuda->error, cuda->error_what);
    return VT_OK;
}

static vt_status event_wait(struct backend *be, struct event *event)
{
    (void)event;
    return synchronise(be);
}

static void close_backend(struct backend *be)
{
    if (!be)
        return;
    struct simt_backend *simt = (struct simt_backend *)be;
    simt->ref->close(simt->ref);
    free(simt->cuda.workspace);
    free(simt);
}

extern "C" void backend_simt_order(int order)
{
    simt::set_order((enum simt::order)order);
}

extern "C" void backend_simt_guard(void *bytes, size_t count, bool closed)
{
    if (closed)
        ASAN_POISON_MEMORY_REGION(bytes, count);
    else
        ASAN_UNPOISON_MEMORY_REGION(bytes, count);
}

/* ---- what op files need (kernels.h) ---- */

extern "C" {
struct backend *simt_ref(struct backend *be)
{
    return ((struct simt_backend *)be)->ref;
}

static void destroy_plan(struct op_plan *plan)
{
    free(plan);
}

vt_status cuda_plan_new(struct backend *be, const char *algorithm, size_t bytes, size_t workspace_bytes, void **plan)
{
    struct op_plan *made = (struct op_plan *)calloc(1, bytes);
    VT_CHECK(made != NULL);
    made->backend = be;
    made->destroy = destroy_plan;
    snprintf(made->algorithm, sizeof made->algorithm, "%s", algorithm);
    cuda_plan_workspace(made, workspace_bytes);
    *plan = made;
    return VT_OK;
}

void cuda_plan_workspace(struct op_plan *plan, size_t workspace_bytes)
{
    if (workspace_bytes > plan->workspace_bytes)
        plan->workspace_bytes = workspace_bytes;
    if (plan->workspace_bytes > plan->backend->workspace_bytes)
        plan->backend->workspace_bytes = plan->workspace_bytes;
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
    (void)be;
    return NULL;
}

int cuda_sm_count(const struct backend *be)
{
    return ((const struct cuda_backend *)be)->multiprocessors;
}

vt_status cuda_check_dtype(const char *op, enum dtype dtype)
{
    if (dtype == DTYPE_F32 || dtype == DTYPE_BF16)
        return VT_OK;
    return VT_FAIL(VT_E_UNSUPPORTED, "simt: %s in %s, expected fp32 or bf16", op, dtype_name(dtype));
}

void cuda_check_launch(struct backend *be, const char *kernel, int error)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    if (error != 0 && cuda->error == 0) {
        cuda->error = error;
        cuda->error_what = kernel;
    }
}
}

static void install(struct backend *be)
{
    be->name = "simt";
    be->host_memory = false;
    be->bf16_native = true;
    be->alloc = memory_alloc;
    be->release = memory_release;
    be->reserve_workspace = reserve_workspace;
    be->upload = upload;
    be->download = download;
    be->zero = zero;
    backend_synchronous_install(be);
    be->event_wait = event_wait; /* with the errors of launches */
    be->synchronise = synchronise;
    be->close = close_backend;
    cuda_add_norm_install(be);
    cuda_patchify_install(be);
    cuda_embed_install(be);
    cuda_pool_install(be);
    cuda_dropout_install(be);
    cuda_activation_install(be);
    cuda_loss_install(be);
    cuda_cast_install(be);
    cuda_optim_install(be);
    simt_linear_install(be);
    simt_attention_install(be);
}

extern "C" vt_status backend_simt_open(const struct backend_desc *desc, struct backend **out)
{
    struct simt_backend *simt = (struct simt_backend *)calloc(1, sizeof *simt);
    VT_CHECK(simt != NULL);
    struct backend *be = &simt->cuda.base;
    vt_status status = backend_ref_open(desc, &simt->ref);
    if (status != VT_OK) {
        free(simt);
        return status;
    }
    simt->cuda.sm = 90;
    simt->cuda.multiprocessors = MULTIPROCESSORS;
    simt->cuda.shared_bytes = 227 * 1024;
    install(be);
    snprintf(be->device_name, sizeof be->device_name, "the CUDA kernels on the CPU; linear: ref's products");
    *out = be;
    return VT_OK;
}
