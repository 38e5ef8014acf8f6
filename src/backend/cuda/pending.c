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
