/* Inside of backend/cpu. Ops cut their work into parts, threads (team.h) claim them, kernels (kernels.h) do them.
 * Enqueues run at once on the calling thread and its team, allocate nothing, and use the shared workspace; so streams
 * and events hold nothing. No result depends on the number of threads: every sum has a fixed order (products over the
 * depth, column sums over fixed chunks of rows, the norm over NORM_CHUNK), whatever thread makes it. */
#ifndef VT_BACKEND_CPU_CPU_H
#define VT_BACKEND_CPU_CPU_H

#include <stdlib.h>

#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/team.h"
#include "base/check.h"

struct cpu_block; /* one allocation */

struct cpu_backend {
    struct backend base; /* first: backends are cast */
    enum cpu_isa isa;
    const struct cpu_kernels *kernels;
    bool amx;
    bool onednn; /* bf16 linear layers go to oneDNN: where there is AMX; VT_CPU_LINEAR=onednn|own overrides */
    struct cpu_team *team;
    void *workspace;
    size_t workspace_reserved;
    struct cpu_block *blocks;
};

static inline struct cpu_backend *cpu_of(const struct op_plan *plan)
{
    return (struct cpu_backend *)plan->backend;
}

/* One per op file: fill their entries. */
void cpu_memory_install(struct cpu_backend *cpu);
void cpu_memory_close(struct cpu_backend *cpu);
void cpu_linear_install(struct nn_ops *nn);
void cpu_attention_install(struct nn_ops *nn);
void cpu_add_norm_install(struct nn_ops *nn);
void cpu_patchify_install(struct nn_ops *nn);
void cpu_image_install(struct nn_ops *nn);
void cpu_elementwise_install(struct nn_ops *nn);
void cpu_loss_install(struct nn_ops *nn);
void cpu_optim_install(struct optim_ops *optim);

/* A zeroed plan of `bytes` whose first member is op_plan; `workspace_bytes` is added to the backend's need. */
VT_MUST_CHECK vt_status cpu_plan_new(struct backend *be, const char *algorithm, size_t bytes, int64_t workspace_bytes,
                                     void **plan);
/* fp32 or bf16, or a refusal that names the op. */
VT_MUST_CHECK vt_status cpu_check_dtype(const char *op, enum dtype dtype);
/* The plan's workspace, 64-byte aligned. */
char *cpu_workspace(const struct op_plan *plan);

/* Run the task's parts on the team (team.h); what must follow all of them is another call. */
void cpu_parallel(const struct backend *be, int64_t parts, cpu_task *task, void *context);
/* How many parts to cut `units` of work into: a few per thread, so that a thread that lags is helped. */
int64_t cpu_parts(const struct backend *be, int64_t units);

struct cpu_range {
    int64_t begin, end;
};
/* A part's share of [0, count) in multiples of `grain`. */
static inline struct cpu_range cpu_share(int64_t count, int64_t grain, int part, int parts)
{
    int64_t units = (count + grain - 1) / grain, begin = units * part / parts * grain;
    int64_t end = units * (part + 1) / parts * grain;
    return (struct cpu_range){begin < count ? begin : count, end < count ? end : count};
}

static inline int64_t round_up(int64_t value, int64_t to)
{
    return (value + to - 1) / to * to;
}
static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t dtype_size(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? 2 : 4;
}
/* Element i of a tensor of fp32 or bf16. */
static inline void *at_element(const void *tensor, enum dtype dtype, int64_t i)
{
    return (char *)tensor + i * dtype_size(dtype);
}

/* Products of T run on bf16 pairs where the level has them; elsewhere bf16 operands are widened when packed. */
static inline enum gemm_mode cpu_gemm_mode(const struct backend *be, enum dtype dtype)
{
    return dtype == DTYPE_BF16 && ((const struct cpu_backend *)be)->isa == CPU_AVX512_BF16 ? GEMM_BF16 : GEMM_F32;
}

/* Rates in [0, 1), and 32-bit element indices when one is drawn. */
static inline bool cpu_rate_ok(float rate, int64_t row_elements)
{
    return rate >= 0 && rate < 1 && (rate == 0 || row_elements <= UINT32_MAX);
}

#endif
