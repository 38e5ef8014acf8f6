/* The global norm, AdamW and SGD over the flat fp32 buffers.
 *
 * Norm: a block per chunk, in double; a thread takes the same elements in the same order wherever the buffer begins, so
 * a chunk's sum has the same bits on every rank. Updates: a thread takes 4 neighbours of the flat buffer, all loads
 * under way before it looks at the step's counters; segments are cut into blocks' pieces by the host, and travel as
 * kernel arguments. AdamW moves 28 bytes an element (p, m, v read and written, g read), 2 more for the bf16 copy, 8 for
 * the moving average. Bound by memory. */
#include "backend/cuda/op.cuh"
#include "backend/cuda/reduce.cuh"

enum {
    NORM_THREADS = 512,
    NORM_BATCH = 4,
    THREADS = 256,
    GROUP = 4,
    PIECE = THREADS * GROUP,
    SEGMENTS_PER_LAUNCH = 96
};

/* ---- global norm ---- */

__device__ inline void add_squares(double &sum, const float4 &four)
{
    sum += (double)four.x * (double)four.x;
    sum += (double)four.y * (double)four.y;
    sum += (double)four.z * (double)four.z;
    sum += (double)four.w * (double)four.w;
}

/* A thread's share of a whole chunk, NORM_BATCH loads under way at once. */
__device__ inline double sum_chunk(const float *chunk)
{
    constexpr int STRIDE = NORM_THREADS * GROUP;
    static_assert(NORM_CHUNK % (STRIDE * NORM_BATCH) == 0, "whole batches");
    double sum = 0;
    for (int i = (int)threadIdx.x * GROUP; i < NORM_CHUNK; i += STRIDE * NORM_BATCH) {
        float4 four[NORM_BATCH];
#pragma unroll
        for (int j = 0; j < NORM_BATCH; j++)
            four[j] = *(const float4 *)(chunk + i + j * STRIDE);
#pragma unroll
        for (int j = 0; j < NORM_BATCH; j++)
            add_squares(sum, four[j]);
    }
    return sum;
}

__global__ void __launch_bounds__(NORM_THREADS, 3)
    sumsq_kernel(const float *grads, int64_t count, bool vectors, double *partial)
{
    SHARED_ARRAY(double, scratch, NORM_THREADS / WARP_SIZE);
    int64_t begin = (int64_t)blockIdx.x * NORM_CHUNK, left = count - begin;
    const float *chunk = grads + begin;
    double sum = 0;
    if (vectors && left >= NORM_CHUNK)
        sum = sum_chunk(chunk);
    else /* the same elements in the same order */
        for (int i = (int)threadIdx.x * GROUP; i < NORM_CHUNK && i < left; i += NORM_THREADS * GROUP)
            add_squares(sum, make_float4(chunk[i], i + 1 < left ? chunk[i + 1] : 0.0f,
                                         i + 2 < left ? chunk[i + 2] : 0.0f, i + 3 < left ? chunk[i + 3] : 0.0f));
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(NORM_THREADS)
    norm_finish_kernel(const double *partial, int64_t count, float clip, struct step_scalars *scalars)
{
    SHARED_ARRAY(double, scratch, NORM_THREADS / WARP_SIZE);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += NORM_THREADS)
        sum += partial[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0)
        return;
    double norm = sqrt(sum);
    bool finite = isfinite((float)norm);
    scalars->sumsq = sum;
    scalars->grad_norm = (float)norm;
    scalars->clip_factor = clip > 0 && finite ? (float)fmin(1.0, (double)clip / (norm + 1e-6)) : 1.0f;
    scalars->nonfinite = !finite;
    scalars->skipped += !finite;
}

static void sumsq_chunks(struct backend *be, const float *grads, int64_t count, double *partial)
{
    if (count > 0)
        launch(be, "sumsq_chunks", sumsq_kernel, dim3((unsigned)divide_up(count, NORM_CHUNK)), dim3(NORM_THREADS), 0,
               grads, count, (uintptr_t)grads % 16 == 0, partial);
}

static void norm_finish(struct backend *be, const double *partial, int64_t count, float clip,
                        struct step_scalars *scalars)
{
    launch(be, "norm_finish", norm_finish_kernel, dim3(1), dim3(NORM_THREADS), 0, partial, count, clip, scalars);
}

/* ---- updates ---- */

struct update_segment {
    int64_t begin, end;
    float lr, decay;
    unsigned first_block; /* its blocks: up to the next segment's first */
};

struct update_args {
    float *p;
    const float *g;
    float *m, *v;         /* SGD: m is its buffer */
    bf16 *compute;        /* may be NULL, and ema */
    float *ema, ema_step; /* 1 - decay */
    const struct step_scalars *scalars;
    int64_t step;                                  /* skipped ones counted */
    float beta1, beta2, eps, log_beta1, log_beta2; /* AdamW */
    float momentum;
    bool nesterov, vectors;
    int segments;
    update_segment segment[SEGMENTS_PER_LAUNCH];
};
static_assert(sizeof(update_args) <= 4096, "kernel arguments");

/* What depends on t, the number of this update, which only the device knows (optim_hyper.step). */
struct update_count {
    float m_scale, v_root_scale; /* AdamW: 1 / (1 - beta1^t), and the root of 1 / (1 - beta2^t) */
    bool first;                  /* t == 1 */
};

/* -expm1f(t log beta) is 1 - beta^t to some 2e-7 of its value, also where beta^t is next to 1. */
template <bool ADAM> __device__ inline update_count count_update(const update_args &a)
{
    int64_t number = a.step - (int64_t)a.scalars->skipped;
    update_count t = {1.0f, 1.0f, number == 1};
    if (ADAM) {
        t.m_scale = 1.0f / -expm1f((float)number * a.log_beta1);
        t.v_root_scale = 1.0f / sqrtf(-expm1f((float)number * a.log_beta2));
    }
    return t;
}

struct update_state { /* of one element */
    float p, m, v;
};

template <bool ADAM>
__device__ inline void update(const update_args &a, const update_segment &s, const update_count &t, float g,
                              update_state &e)
{
    if (ADAM) {
        e.m = a.beta1 * e.m + (1.0f - a.beta1) * g;
        e.v = a.beta2 * e.v + (1.0f - a.beta2) * g * g;
        float step = e.m * t.m_scale / (sqrtf(e.v) * t.v_root_scale + a.eps);
        e.p = e.p - s.lr * s.decay * e.p - s.lr * step;
    } else {
        g += s.decay * e.p;
        e.m = t.first ? g : a.momentum * e.m + g;
        e.p -= s.lr * (a.nesterov ? g + a.momentum * e.m : e.m);
    }
}

template <bool ADAM>
__device__ inline void update_one(const update_args &a, const update_segment &s, const update_count &t, float clip,
                                  int64_t i)
{
    update_state e = {a.p[i], ADAM || !t.first ? a.m[i] : 0.0f, ADAM ? a.v[i] : 0.0f};
    update<ADAM>(a, s, t, a.g[i] * clip, e);
    a.p[i] = e.p;
    a.m[i] = e.m;
    if (ADAM)
        a.v[i] = e.v;
    if (a.compute)
        a.compute[i] = from_float<bf16>(e.p);
    if (a.ema)
        a.ema[i] += a.ema_step * (e.p - a.ema[i]);
}

/* Elements i .. i + 3 of the buffers, i a multiple of 4. */
struct update_four {
    float4 p, g, m, v, ema;
};

template <bool ADAM> __device__ inline update_four fetch_four(const update_args &a, int64_t i)
{
    update_four f = {};
    f.p = *(const float4 *)(a.p + i);
    f.g = *(const float4 *)(a.g + i);
    f.m = *(const float4 *)(a.m + i);
    if (ADAM)
        f.v = *(const float4 *)(a.v + i);
    if (a.ema)
        f.ema = *(const float4 *)(a.ema + i);
    return f;
}

template <bool ADAM>
__device__ inline void write_four(const update_args &a, const update_segment &s, const update_count &t, float clip,
                                  int64_t i, const update_four &f)
{
    update_state e[GROUP] = {
        {f.p.x, f.m.x, f.v.x}, {f.p.y, f.m.y, f.v.y}, {f.p.z, f.m.z, f.v.z}, {f.p.w, f.m.w, f.v.w}};
    const float grad[GROUP] = {f.g.x, f.g.y, f.g.z, f.g.w};
#pragma unroll
    for (int j = 0; j < GROUP; j++)
        update<ADAM>(a, s, t, grad[j] * clip, e[j]);
    *(float4 *)(a.p + i) = make_float4(e[0].p, e[1].p, e[2].p, e[3].p);
    *(float4 *)(a.m + i) = make_float4(e[0].m, e[1].m, e[2].m, e[3].m);
    if (ADAM)
        *(float4 *)(a.v + i) = make_float4(e[0].v, e[1].v, e[2].v, e[3].v);
    if (a.compute)
        *(uint2 *)(a.compute + i) = make_uint2(pack_bf16x2(e[0].p, e[1].p), pack_bf16x2(e[2].p, e[3].p));
    if (a.ema)
        *(float4 *)(a.ema + i) =
            make_float4(f.ema.x + a.ema_step * (e[0].p - f.ema.x), f.ema.y + a.ema_step * (e[1].p - f.ema.y),
                        f.ema.z + a.ema_step * (e[2].p - f.ema.z), f.ema.w + a.ema_step * (e[3].p - f.ema.w));
}

/* The segment this block works on. */
__device__ inline const update_segment &segment_of(const update_args &a)
{
    int low = 0, high = a.segments - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (a.segment[middle].first_block <= blockIdx.x)
            low = middle;
        else
            high = middle - 1;
    }
    return a.segment[low];
}

/* Pieces are counted from element 0 of the flat buffer, so that groups are aligned whatever the segment. */
template <bool ADAM> __global__ void __launch_bounds__(THREADS) update_kernel(const __grid_constant__ update_args a)
{
    const update_segment &s = segment_of(a);
    int64_t piece = s.begin / PIECE + (blockIdx.x - s.first_block), i = piece * PIECE + threadIdx.x * GROUP;
    bool four = a.vectors && i >= s.begin && i + GROUP <= s.end;
    update_four fetched = {};
    if (four)
        fetched = fetch_four<ADAM>(a, i);
    if (a.scalars->nonfinite)
        return;
    float clip = a.scalars->clip_factor;
    update_count t = count_update<ADAM>(a);
    if (four) {
        write_four<ADAM>(a, s, t, clip, i, fetched);
        return;
    }
    for (int j = 0; j < GROUP; j++)
        if (i + j >= s.begin && i + j < s.end)
            update_one<ADAM>(a, s, t, clip, i + j);
}

/* Segments in launches of as many as fit the arguments. */
static void enqueue(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *h,
                    bool adam, update_args *a)
{
    a->vectors =
        ((uintptr_t)a->p | (uintptr_t)a->g | (uintptr_t)a->m | (uintptr_t)a->v | (uintptr_t)a->ema) % 16 == 0 &&
        (uintptr_t)a->compute % 8 == 0;
    for (int s = 0; s < count;) {
        unsigned blocks = 0;
        for (a->segments = 0; a->segments < SEGMENTS_PER_LAUNCH && s < count; s++) {
            const struct optim_segment *from = &segments[s];
            if (from->begin >= from->end)
                continue;
            a->segment[a->segments++] =
                update_segment{from->begin, from->end, h->lr * from->lr_scale, from->weight_decay, blocks};
            blocks += (unsigned)((from->end - 1) / PIECE - from->begin / PIECE + 1);
        }
        if (blocks > 0)
            launch(be, adam ? "adamw" : "sgd", adam ? update_kernel<true> : update_kernel<false>, dim3(blocks),
                   dim3(THREADS), 0, *a);
    }
}

static void adamw(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                  float *p, const float *g, float *m, float *v, bf16_t *compute, float *ema, float ema_decay,
                  const struct step_scalars *scalars)
{
    VT_CHECK(hyper->step >= 1);
    update_args a = {};
    a.p = p, a.g = g, a.m = m, a.v = v, a.compute = (bf16 *)compute, a.ema = ema, a.ema_step = 1 - ema_decay;
    a.scalars = scalars, a.step = hyper->step;
    a.beta1 = hyper->beta1, a.beta2 = hyper->beta2, a.eps = hyper->eps;
    a.log_beta1 = (float)log((double)hyper->beta1), a.log_beta2 = (float)log((double)hyper->beta2);
    enqueue(be, segments, count, hyper, true, &a);
}

static void sgd(struct backend *be, const struct optim_segment *segments, int count, const struct optim_hyper *hyper,
                float *p, const float *g, float *buf, bf16_t *compute, float *ema, float ema_decay,
                const struct step_scalars *scalars)
{
    VT_CHECK(hyper->step >= 1);
    update_args a = {};
    a.p = p, a.g = g, a.m = buf, a.compute = (bf16 *)compute, a.ema = ema, a.ema_step = 1 - ema_decay;
    a.scalars = scalars, a.step = hyper->step;
    a.momentum = hyper->momentum, a.nesterov = hyper->nesterov;
    enqueue(be, segments, count, hyper, false, &a);
}

void cuda_optim_install(struct backend *be)
{
    be->optim.sumsq_chunks = sumsq_chunks;
    be->optim.norm_finish = norm_finish;
    be->optim.adamw = adamw;
    be->optim.sgd = sgd;
}
