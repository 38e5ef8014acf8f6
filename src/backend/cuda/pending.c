/* Stand-ins for op files that are not there yet: their entries stay NULL and are refused by name. */
#include "backend/cuda/cuda.h"

#define PENDING(name)                                                                                                  \
    __attribute__((weak)) void name(struct backend *be) { (void)be; }
PENDING(cuda_linear_install)
PENDING(cuda_attention_install)
PENDING(cuda_add_norm_install)
PENDING(cuda_patchify_install)
PENDING(cuda_embed_install)
PENDING(cuda_pool_install)
PENDING(cuda_dropout_install)
PENDING(cuda_loss_install)
PENDING(cuda_cast_install)
PENDING(cuda_optim_install)

__attribute__((weak)) vt_status comm_nccl_open(struct comm *world, struct backend *be, struct comm **out)
{
    (void)world, (void)be, (void)out;
    return VT_FAIL(VT_E_UNSUPPORTED, "this build has no NCCL");
}

__attribute__((weak)) void cuda_activation_forward(struct backend *be, enum activation act, const void *pre, enum dtype dtype,
                                                   void *y, enum dtype dtype_out, int64_t rows, int64_t columns)
{
    (void)be, (void)act, (void)pre, (void)dtype, (void)y, (void)dtype_out, (void)rows, (void)columns;
    VT_CHECKF(false, "pending");
}

__attribute__((weak)) void cuda_activation_backward(struct backend *be, enum activation act, const void *pre, void *dx,
                                                    enum dtype dtype, int64_t rows, int64_t columns, int64_t stride)
{
    (void)be, (void)act, (void)pre, (void)dx, (void)dtype, (void)rows, (void)columns, (void)stride;
    VT_CHECKF(false, "pending");
}

__attribute__((weak)) size_t cuda_column_sums_bytes(const struct backend *be, int64_t rows, int64_t columns)
{
    (void)be, (void)rows, (void)columns;
    return 0;
}

__attribute__((weak)) void cuda_column_sums(struct backend *be, const void *x, enum dtype dtype, int64_t rows, int64_t columns,
                                            float *sums, bool accumulate, void *workspace)
{
    (void)be, (void)x, (void)dtype, (void)rows, (void)columns, (void)sums, (void)accumulate, (void)workspace;
    VT_CHECKF(false, "pending");
}
