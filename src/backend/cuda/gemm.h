/* One cuBLASLt product: its descriptors, made once, and the algorithm, timed or taken from the tuning table. */
#ifndef VT_BACKEND_CUDA_GEMM_H
#define VT_BACKEND_CUDA_GEMM_H

#include "backend/cuda/cuda.h"
#include "backend/cuda/gemm_shape.h"

struct gemm;

/* At plan time. VT_E_UNSUPPORTED when the library has no algorithm for this shape and epilogue on this device. */
VT_MUST_CHECK vt_status gemm_open(struct cuda_backend *cuda, const struct gemm_shape *shape, struct gemm **out);
void gemm_close(struct gemm **gemm);
/* Of the shared workspace, from its start; 256-byte aligned. */
size_t gemm_workspace(const struct gemm *gemm);
const struct gemm_shape *gemm_shape_of(const struct gemm *gemm);

enum { GEMM_EPILOGUE_ALIGN = 16 };
struct gemm_operands { /* device; A, B, D aligned as gemm_alignment says, bias and aux to GEMM_EPILOGUE_ALIGN bytes */
    const void *a, *b;
    void *d;
    void *bias; /* read: [m]; written with DGELU_BGRAD: [m], BGRADB: [n] */
    void *aux;
    void *workspace; /* gemm_workspace bytes */
    bool accumulate; /* beta = 1 */
};
void gemm_run(struct gemm *gemm, const struct gemm_operands *operands);

/* For timing: device memory filled with random values of `dtype`; NULL when there is no room. Freed with
 * cuda_trial_free. */
void *cuda_trial_alloc(struct cuda_backend *cuda, enum dtype dtype, int64_t count);
void cuda_trial_free(void *memory);

#endif
