/* Inside of backend/cuda: C and CUDA C++ alike, and without the vendor's headers (a .c or .cu file includes those
 * itself). Everything is enqueued: on streams[STREAM_COMPUTE] unless said otherwise. An enqueue cannot fail at its
 * caller; the first error is kept and reported by the next synchronising call. No result depends on timing: no float
 * atomics, sums have a fixed order, algorithms are fixed by the tuning table. */
#ifndef VT_BACKEND_CUDA_CUDA_H
#define VT_BACKEND_CUDA_CUDA_H

#ifdef __cplusplus
#define _Noreturn __attribute__((noreturn)) /* base/check.h is C */
extern "C" {
#endif

#include "backend/backend.h"
#include "backend/cuda/kernels.h"
#include "base/check.h"

struct CUstream_st;     /* cudaStream_t points to it */
struct cublasLtContext; /* cublasLtHandle_t likewise */
struct tuning;
struct attention_kept;
struct cuda_block; /* memory.c */
struct comm;

struct cuda_backend {
    struct backend base; /* first: backends are cast */
    int device;
    int sm; /* compute capability: 90 = sm_90 */
    int multiprocessors;
    size_t l2_bytes;
    size_t shared_bytes; /* per block, opted in */
    struct CUstream_st *streams[STREAM_COUNT];
    void *workspace; /* of the compute stream; 256-byte aligned */
    size_t workspace_reserved;
    size_t gemm_workspace_limit; /* what a cuBLASLt algorithm may ask for */
    struct cublasLtContext *lt;
    void *cudnn; /* attention's handle, made when first asked for */
    struct attention_kept *attention; /* attention.c: what its open plans share */
    char attention_error[256];        /* why the last enqueue by cuDNN was refused */
    struct tuning *tuning;
    struct cuda_block *blocks;
    bool tune; /* time candidates where the tuning table has no entry; else take the first */
    int error; /* first cudaError_t of an enqueue, or 0; written once, any thread */
    const char *error_what;
    bool capturing; /* graph.c; and what follows */
    int error_before_capture;
    int graphs; /* not freed yet: they hold the workspace's address */
};

static inline struct cuda_backend *cuda_of(const struct op_plan *plan)
{
    return (struct cuda_backend *)plan->backend;
}

/* ---- errors ---- */
/* VT_E_MEMORY, VT_E_UNSUPPORTED or VT_E_IO with "cuda: what: the error's text". For calls whose failure is returned. */
VT_MUST_CHECK vt_status cuda_fail(int error, const char *what);
#define CUDA_TRY(call)                                                                                                 \
    do {                                                                                                               \
        int cuda_error_ = (int)(call);                                                                                 \
        if (cuda_error_ != 0)                                                                                          \
            return cuda_fail(cuda_error_, #call);                                                                      \
    } while (0)
/* Keep the error of an enqueue, if it is one and the first. `what` is a literal. Any thread. (cuda_check_launch: the
 * same.) */
void cuda_note(struct cuda_backend *cuda, int error, const char *what);
/* Make this thread's current device ours; cheap when it is. For threads other than the one that opened the backend. */
void cuda_bind(const struct cuda_backend *cuda);

/* ---- plans: see kernels.h; and ---- */
/* More workspace than cuda_plan_new was told; more than any plan so far. */
void cuda_plan_workspace(struct op_plan *plan, size_t workspace_bytes);
void cuda_need_workspace(struct cuda_backend *cuda, size_t bytes);
static inline struct CUstream_st *cuda_stream(const struct cuda_backend *cuda)
{
    return cuda->streams[STREAM_COMPUTE];
}

/* ---- choices made by timing ---- */
/* The value stored for `key` on this device and these library versions, or NULL. Keys and values: no blanks. */
const char *cuda_tuning_find(const struct cuda_backend *cuda, const char *key);
void cuda_tuning_put(struct cuda_backend *cuda, const char *key, const char *value);
/* *us = median microseconds of `runs` runs of enqueue(context, i) on the compute stream after 3 others: the device's, not the host's.
 * VT_E_UNSUPPORTED: it failed, with the reason; nothing is kept and others may be tried. VT_E_IO: it left the device unusable.
 * `what` names it in both. At plan time only. */
VT_MUST_CHECK vt_status cuda_time(struct cuda_backend *cuda, const char *what, void (*enqueue)(void *context, int run),
                                  void *context, int runs, double *us);
/* delay.cu: keeps the compute stream busy so long, at least. */
void cuda_delay(struct backend *be, int us);

/* ---- the other op files ---- */
/* bias.cu: x(rows, columns) += bias(columns), fp32, contiguous. */
void cuda_add_bias(struct backend *be, float *x, const float *bias, int64_t rows, int64_t columns);
void cuda_memory_install(struct backend *be);
void cuda_memory_close(struct cuda_backend *cuda);
/* Rows of row_bytes, so many bytes apart there and here. */
void cuda_copy_rows(struct cuda_backend *cuda, void *to, size_t to_stride, const void *from, size_t from_stride,
                    size_t row_bytes, int64_t rows);
void cuda_graph_install(struct backend *be);
void cuda_linear_install(struct backend *be);
void cuda_attention_install(struct backend *be);
void cuda_attention_close(struct cuda_backend *cuda);

/* plugin.c's parts. */
VT_MUST_CHECK vt_status backend_cuda_open(const struct backend_desc *desc, struct backend **out);
VT_MUST_CHECK vt_status cuda_device_count(int *count);
VT_MUST_CHECK vt_status cuda_device_id(int index, uint64_t *id);
/* "driver 580.65.06 for CUDA 13.0, cuDNN 9.19.0, NCCL 2.28.9", or "no driver", "no cuDNN", "no NCCL"; a
 * cuDNN that is too old is said to be. */
void cuda_describe(char *text, size_t bytes);
/* comm/nccl: the plugin's second room. Collective. */
VT_MUST_CHECK vt_status comm_nccl_open(struct comm *world, struct backend *be, struct comm **out);
/* 22809 is 2.28.9; 0 = there is none that can be used. Per rank. */
int comm_nccl_version(void);

#ifdef __cplusplus
}
#endif

#endif
