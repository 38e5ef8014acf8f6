/* Class token, position table, dropout.
 *
 * A thread takes 8 columns of a token (1 where 8 does not divide the width) and goes over a run of images, IMAGES under
 * way at once. Forward: the position table is read once a run; moves patches and x once. Backward: the sums over images
 * (dpos, dcls, and the patch projection's bias gradient) come with the pass that writes dpatches; runs are added in
 * order by sum_partials. Both bound by memory. */
#include "backend/cuda/columns.cuh"
#include "backend/cuda/op.cuh"
#include "backend/cuda/philox.cuh"

enum { THREADS = 128, IMAGES = 4, FORWARD_RUN = 2 * IMAGES, MAX_RUNS = 64, MAX_GRID_Y = 65535 };

struct embed_plan {
    struct op_plan plan;
    struct embed_desc desc;
    int64_t prefix, tokens, forward_run, runs, images_per_run; /* runs: of the backward */
};

struct embed_shape {
    uint32_t batch, tokens, prefix, width;
    dropout_args dropout;
};

static embed_shape shape_of(const struct embed_plan *p, const struct op_random *random)
{
    return embed_shape{(uint32_t)p->desc.batch, (uint32_t)p->tokens, (uint32_t)p->prefix, (uint32_t)p->desc.width,
                       dropout_of(random, p->desc.purpose, p->desc.dropout)};
}

template <int N>
__device__ inline void keep_columns(const embed_shape &s, uint32_t image, uint32_t token, uint32_t c, float *value)
{
    if (s.dropout.rate == 0)
        return;
    float keep[N];
    draw_keep<N>(s.dropout, s.dropout.position[image], token * s.width + c, keep);
#pragma unroll
    for (int i = 0; i < N; i++)
        value[i] *= keep[i];
}

/* Where (image, token, column 0) of a patch token lies in the patches. */
__device__ inline int64_t patch_at(const embed_shape &s, uint32_t image, uint32_t token)
{
    return ((int64_t)image * (s.tokens - s.prefix) + token - s.prefix) * s.width;
}

/* What a thread owns in each image of its run. */
struct column_run {
    uint32_t token, c, begin, end; /* images */
};

template <int N> __device__ inline column_run run_of(const embed_shape &s, uint32_t images_per_run)
{
    uint32_t vectors = s.width / N, i = blockIdx.x * THREADS + threadIdx.x, begin = blockIdx.y * images_per_run;
    return column_run{i / vectors, i % vectors * N, begin, min(begin + images_per_run, s.batch)};
}

template <int N, typename T, typename R>
__global__ void __launch_bounds__(THREADS)
    embed_kernel(const T *patches, const float *cls, const float *pos, R *x, embed_shape s, uint32_t images_per_run)
{
    column_run r = run_of<N>(s, images_per_run);
    if (r.token >= s.tokens)
        return;
    bool is_patch = r.token >= s.prefix;
    float table[N], token[N] = {};
    load_n<N>(pos + (uint64_t)r.token * s.width + r.c, table);
    if (!is_patch)
        load_n<N>(cls + r.c, token);
    for (uint32_t first = r.begin; first < r.end; first += IMAGES) {
        packed_n<N, T> patch[IMAGES] = {};
#pragma unroll
        for (uint32_t k = 0; k < IMAGES; k++)
            if (is_patch && first + k < r.end)
                patch[k] = fetch_n<N>(patches + patch_at(s, first + k, r.token) + r.c);
#pragma unroll
        for (uint32_t k = 0; k < IMAGES; k++) {
            uint32_t image = first + k;
            if (image >= r.end)
                break;
            float value[N];
            unpack_n<N>(patch[k], value);
#pragma unroll
            for (int j = 0; j < N; j++)
                value[j] = (is_patch ? value[j] : token[j]) + table[j];
            keep_columns<N>(s, image, r.token, r.c, value);
            store_n<N>(x + ((uint64_t)image * s.tokens + r.token) * s.width + r.c, value);
        }
    }
}

/* partial[blockIdx.y][token][column] = sums over this run of images. */
template <int N, typename T, typename R>
__global__ void __launch_bounds__(THREADS)
    embed_backward_kernel(const R *dx, T *dpatches, float *partial, embed_shape s, uint32_t images_per_run)
{
    column_run r = run_of<N>(s, images_per_run);
    if (r.token >= s.tokens)
        return;
    float sum[N] = {};
    for (uint32_t first = r.begin; first < r.end; first += IMAGES) {
        packed_n<N, R> gradient[IMAGES] = {};
#pragma unroll
        for (uint32_t k = 0; k < IMAGES; k++)
            if (first + k < r.end)
                gradient[k] = fetch_n<N>(dx + ((uint64_t)(first + k) * s.tokens + r.token) * s.width + r.c);
#pragma unroll
        for (uint32_t k = 0; k < IMAGES; k++) {
            uint32_t image = first + k;
            if (image >= r.end)
                break;
            float value[N];
            unpack_n<N>(gradient[k], value);
            keep_columns<N>(s, image, r.token, r.c, value);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += value[j];
            if (r.token >= s.prefix)
                store_n<N>(dpatches + patch_at(s, image, r.token) + r.c, value);
        }
    }
    store_n<N>(partial + ((int64_t)blockIdx.y * s.tokens + r.token) * s.width + r.c, sum);
}

static int per_thread(const struct embed_plan *p)
{
    return p->desc.width % VECTOR == 0 ? VECTOR : 1;
}

static void embed_forward(struct op_plan *plan, const void *patches, const float *cls, const float *pos, void *x,
                          const struct op_random *random)
{
    const struct embed_plan *p = (struct embed_plan *)plan;
    dim3 grid((unsigned)divide_up(p->tokens * (p->desc.width / per_thread(p)), THREADS),
              (unsigned)divide_up(p->desc.batch, p->forward_run));
    with_type(p->desc.dtype, [&](auto t) {
        with_type(p->desc.dtype_stream, [&](auto r) {
            using T = decltype(t);
            using R = decltype(r);
            auto kernel = per_thread(p) == VECTOR ? embed_kernel<VECTOR, T, R> : embed_kernel<1, T, R>;
            launch(plan->backend, "embed_forward", kernel, grid, dim3(THREADS), 0, patches, cls, pos, x,
                   shape_of(p, random), p->forward_run);
        });
    });
}

static void add_up(struct backend *be, const float *partial, int64_t count, int64_t width, float *to, bool accumulate)
{
    if (to)
        sum_partials(be, partial, count, width, {{to, NULL, NULL, NULL}}, accumulate);
}

static void embed_backward(struct op_plan *plan, const void *dx, void *dpatches, float *dcls, float *dpos,
                           float *dpatch_sum, bool accumulate, const struct op_random *random)
{
    const struct embed_plan *p = (struct embed_plan *)plan;
    int64_t all = p->tokens * p->desc.width, width = p->desc.width;
    float *sums = (float *)cuda_workspace(plan),
          *partial = sums + round_up(all, VECTOR); /* sums: per token, over all images */
    dim3 grid((unsigned)divide_up(all / per_thread(p), THREADS), (unsigned)p->runs);
    with_type(p->desc.dtype, [&](auto t) {
        with_type(p->desc.dtype_stream, [&](auto r) {
            using T = decltype(t);
            using R = decltype(r);
            auto kernel =
                per_thread(p) == VECTOR ? embed_backward_kernel<VECTOR, T, R> : embed_backward_kernel<1, T, R>;
            launch(plan->backend, "embed_backward", kernel, grid, dim3(THREADS), 0, dx, dpatches, partial,
                   shape_of(p, random), p->images_per_run);
        });
    });
    add_up(plan->backend, partial, p->runs, all, sums, false);
    add_up(plan->backend, sums, 1, all, dpos, accumulate);
    add_up(plan->backend, sums, 1, width, p->prefix ? dcls : NULL, accumulate);
    add_up(plan->backend, sums + p->prefix * width, p->tokens - p->prefix, width, dpatch_sum, accumulate);
}

/* No more than run at once: a second wave of long runs would leave most of the device idle. */
static int64_t backward_runs(struct backend *be, const struct embed_desc *d, int64_t all)
{
    int64_t fit = 1, per = d->width % VECTOR == 0 ? VECTOR : 1;
    with_type(d->dtype, [&](auto t) {
        with_type(d->dtype_stream, [&](auto r) {
            using T = decltype(t);
            using R = decltype(r);
            auto kernel = per == VECTOR ? embed_backward_kernel<VECTOR, T, R> : embed_backward_kernel<1, T, R>;
            fit = blocks_per_multiprocessor(kernel, THREADS, 0) * (int64_t)cuda_sm_count(be);
        });
    });
    int64_t runs = fit / divide_up(all / per, THREADS);
    return least(runs < 1 ? 1 : runs, MAX_RUNS);
}

static vt_status plan_embed(struct backend *be, const struct embed_desc *desc, struct op_plan **plan)
{
    int64_t prefix = desc->cls_token ? 1 : 0, tokens = desc->patches + prefix, all = tokens * desc->width;
    VT_CHECK(desc->batch > 0 && desc->patches > 0 && desc->width > 0 && rate_ok(desc->dropout, all));
    VT_TRY(cuda_check_dtype("embed", desc->dtype));
    VT_TRY(cuda_check_dtype("embed stream", desc->dtype_stream));
    VT_TRY(check_threads("embed", all, 1));
    VT_CHECK(desc->batch <= INT32_MAX);
    int64_t images_per_run = divide_up(desc->batch, least(backward_runs(be, desc, all), desc->batch));
    int64_t runs = divide_up(desc->batch, images_per_run);
    struct embed_plan *made;
    size_t floats = (size_t)(round_up(all, VECTOR) + runs * all);
    VT_TRY(cuda_plan_new(be, "runs of images", sizeof *made, floats * sizeof(float), (void **)&made));
    made->desc = *desc;
    made->prefix = prefix;
    made->tokens = tokens;
    made->forward_run = divide_up(desc->batch, least(divide_up(desc->batch, FORWARD_RUN), MAX_GRID_Y));
    made->runs = runs;
    made->images_per_run = images_per_run;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_embed_install(struct backend *be)
{
    be->nn.embed_plan = plan_embed;
    be->nn.embed_forward = embed_forward;
    be->nn.embed_backward = embed_backward;
}
