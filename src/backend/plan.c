#include <stddef.h>

#include "backend/backend.h"

void op_plan_close(struct op_plan **plan)
{
    if (!plan || !*plan)
        return;
    (*plan)->destroy(*plan);
    *plan = NULL;
}

/* Every entry a ViT needs, once. conv_ops is for hybrid stems and checked where they are planned. */
#define NN_ENTRIES(X)                                                                                                  \
    X(linear_plan)                                                                                                     \
    X(linear_forward) X(linear_backward_input) X(linear_backward_weight) X(activation_plan) X(activation_forward)      \
        X(attention_plan) X(attention_forward) X(attention_backward) X(add_norm_plan) X(add_norm_forward)              \
            X(add_norm_backward) X(patchify_plan) X(patchify_forward) X(embed_plan) X(embed_forward)                   \
                X(embed_backward) X(pool_plan) X(pool_forward) X(pool_backward) X(dropout_plan) X(dropout_forward)     \
                    X(loss_plan) X(loss_forward_backward) X(reduce_add) X(cast) X(scalars_reset)
#define OPTIM_ENTRIES(X) X(sumsq_chunks) X(norm_finish) X(adamw) X(sgd)

const char *ops_missing(const struct backend *be)
{
#define NN_CHECK(entry)                                                                                                \
    if (!be->nn.entry)                                                                                                 \
        return "nn." #entry;
#define OPTIM_CHECK(entry)                                                                                             \
    if (!be->optim.entry)                                                                                              \
        return "optim." #entry;
    NN_ENTRIES(NN_CHECK)
    OPTIM_ENTRIES(OPTIM_CHECK)
    return NULL;
}
