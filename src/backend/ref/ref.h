/* Inside of backend/ref: plain loops that accumulate in double; the definition of every op. Tensors of dtype T or R may
 * be fp32, bf16 or, for checking the ops themselves, fp64. Ops that say "row(s)" keep one row at a time in the
 * workspace. */
#ifndef VT_BACKEND_REF_REF_H
#define VT_BACKEND_REF_REF_H

#include <pthread.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/philox.h"

struct ref_block; /* one allocation of device memory */

struct ref_backend {
    struct backend base;
    bool strict;
    void *workspace;
    pthread_mutex_t lock; /* over the two below: `comm` copies on its own thread */
    struct ref_block *blocks;
    int open_count; /* ops and copies in progress: device memory is accessible while > 0 */
};

/* Around every access to device memory. */
void ref_enter(struct backend *be);
void ref_leave(struct backend *be);

/* memory.c: fills the memory, stream and event entries. */
void ref_memory_install(struct ref_backend *ref);
void ref_memory_close(struct ref_backend *ref);

/* One per op file: fill their entries. */
void ref_linear_install(struct nn_ops *nn);
void ref_activation_install(struct nn_ops *nn);
void ref_attention_install(struct nn_ops *nn);
void ref_add_norm_install(struct nn_ops *nn);
void ref_patchify_install(struct nn_ops *nn);
void ref_embed_install(struct nn_ops *nn);
void ref_pool_install(struct nn_ops *nn);
void ref_dropout_install(struct nn_ops *nn);
void ref_loss_install(struct nn_ops *nn);
void ref_convert_install(struct nn_ops *nn);
void ref_optim_install(struct optim_ops *optim);

/* A plan of `bytes` (0 = out of memory) whose first member is op_plan; needs `doubles` of workspace. */
VT_MUST_CHECK vt_status ref_plan_new(struct backend *be, const char *algorithm, size_t bytes, int64_t doubles,
                                     void **plan);
/* fp32, bf16 or fp64, or a refusal that names the op. */
VT_MUST_CHECK vt_status ref_check_dtype(const char *op, enum dtype dtype);
double *ref_workspace(const struct op_plan *plan);

/* Element i of a tensor as a double, and back: rounded to nearest even once (to float first for bf16). */
static inline double ref_load(enum dtype dtype, const void *tensor, int64_t i)
{
    switch (dtype) {
    case DTYPE_F32:
        return (double)((const float *)tensor)[i];
    case DTYPE_BF16:
        return (double)bf16_to_float(((const bf16_t *)tensor)[i]);
    default:
        return ((const double *)tensor)[i];
    }
}

static inline void ref_store(enum dtype dtype, void *tensor, int64_t i, double value)
{
    switch (dtype) {
    case DTYPE_F32:
        ((float *)tensor)[i] = (float)value;
        break;
    case DTYPE_BF16:
        ((bf16_t *)tensor)[i] = bf16_from_float((float)value);
        break;
    default:
        ((double *)tensor)[i] = value;
    }
}

/* A double as ref_store and ref_load would pass it on. */
static inline double ref_rounded(enum dtype dtype, double value)
{
    double stored;
    ref_store(dtype, &stored, 0, value);
    return ref_load(dtype, &stored, 0);
}

static inline void ref_accumulate(float *dst, double value, bool accumulate)
{
    *dst = (float)(accumulate ? (double)*dst + value : value);
}

/* The factor of element e of row b under dropout: 0 or 1/(1-rate). */
static inline double ref_keep(float rate, uint32_t purpose, const struct op_random *random, int64_t b, int64_t e)
{
    if (rate <= 0)
        return 1;
    bool dropped = draw_uniform(random->seed, purpose, random->position[b], (uint32_t)e) < rate;
    return dropped ? 0 : 1 / (1 - (double)rate);
}

/* Every random op: a rate in [0, 1) and, when it is not 0, 32-bit element indices. */
static inline bool ref_rate_ok(float rate, int64_t row_elements)
{
    return rate >= 0 && rate < 1 && (rate == 0 || row_elements <= UINT32_MAX);
}

#endif
