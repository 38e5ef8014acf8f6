/* attention on the SIMT backend: ref's. */
#include "simt_linear.h"

#include "backend/cuda/kernels.h"

static vt_status attention_plan(struct backend *be, const struct attention_desc *desc, struct op_plan **plan)
{
    struct backend *ref = simt_ref(be);
    return ref->nn.attention_plan(ref, desc, plan);
}

void simt_attention_install(struct backend *be)
{
    const struct nn_ops *nn = &simt_ref(be)->nn;
    be->nn.attention_plan = attention_plan;
    be->nn.attention_forward = nn->attention_forward;
    be->nn.attention_backward = nn->attention_backward;
}
