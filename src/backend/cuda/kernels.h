/* Between the op files and the rest of the plugin: what an op file needs of the backend (cuda.c; tests/simt), one
 * installer per op file, and the passes that linear.c shares. C and C++. */
#ifndef VT_BACKEND_CUDA_KERNELS_H
#define VT_BACKEND_CUDA_KERNELS_H

#include "backend/backend.h"

struct CUstream_st;

/* ---- what op files need; implemented by the backend ---- */

/* A zeroed plan of `bytes` whose first member is op_plan; destroy frees it. The backend's workspace grows to
 * workspace_bytes. */
VT_MUST_CHECK vt_status cuda_plan_new(struct backend *be, const char *algorithm, size_t bytes, size_t workspace_bytes,
                                      void **plan);
/* The shared workspace, 256-byte aligned; workspace_reserved must reach the plan's need. */
void *cuda_workspace(const struct op_plan *plan);
struct CUstream_st *cuda_compute_stream(struct backend *be);
int cuda_sm_count(const struct backend *be);
/* fp32 or bf16, or a refusal that names the op. */
VT_MUST_CHECK vt_status cuda_check_dtype(const char *op, enum dtype dtype);
/* Keep the first launch error (a cudaError_t) for the next synchronising call. */
void cuda_check_launch(struct backend *be, const char *kernel, int error);

/* ---- installers: one per op file ---- */
void cuda_add_norm_install(struct backend *be);
void cuda_patchify_install(struct backend *be);
void cuda_embed_install(struct backend *be);
void cuda_pool_install(struct backend *be);
void cuda_dropout_install(struct backend *be);
void cuda_activation_install(struct backend *be);
void cuda_loss_install(struct backend *be);
void cuda_cast_install(struct backend *be);
void cuda_optim_install(struct backend *be);

/* ---- passes for linear.c, where its products do not fuse them ---- */

/* y(rows, columns) = act(pre), in dtype_out; pre in dtype. Both contiguous. y may alias pre where the dtypes are equal.
 */
void cuda_activation_forward(struct backend *be, enum activation act, const void *pre, enum dtype dtype, void *y,
                             enum dtype dtype_out, int64_t rows, int64_t columns);
/* dx(rows, columns; `stride` elements between rows) *= act'(pre(rows, columns)). */
void cuda_activation_backward(struct backend *be, enum activation act, const void *pre, void *dx, enum dtype dtype,
                              int64_t rows, int64_t columns, int64_t stride);
/* The same, and sums[columns] as by cuda_column_sums of what dx then holds, before it is rounded. */
void cuda_activation_backward_sums(struct backend *be, enum activation act, const void *pre, void *dx, enum dtype dtype,
                                   int64_t rows, int64_t columns, int64_t stride, float *sums, bool accumulate,
                                   void *workspace);
/* Workspace of either. */
size_t cuda_column_sums_bytes(const struct backend *be, int64_t rows, int64_t columns);
/* sums[columns] (fp32; accumulate) = column sums of x(rows, columns; `stride` elements between rows), in fp32 and a fixed
 * order. `workspace`: that many bytes, 16-byte aligned. */
void cuda_column_sums(struct backend *be, const void *x, enum dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                      float *sums, bool accumulate, void *workspace);

#endif
