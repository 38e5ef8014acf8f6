/* Dropout, forward and (on the gradient) backward: a thread takes 8 elements of an image, or 1 where 8 does not divide.
 * Moves x and y once; bound by memory, and by Philox's integer work (about 20 multiplies an element quadruple) close
 * behind. */
#include "backend/cuda/op.cuh"
#include "backend/cuda/philox.cuh"

enum { THREADS = 256 };

struct dropout_plan {
    struct op_plan plan;
    struct dropout_desc desc;
};

template <int N, typename T>
__global__ void __launch_bounds__(THREADS)
    dropout_kernel(const T *x, T *y, uint32_t batch, uint32_t vectors, dropout_args d)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= batch * vectors)
        return;
    uint32_t image = i / vectors, element = i % vectors * N;
    float value[N], keep[N];
    load_n<N>(x + (uint64_t)i * N, value);
    if (d.rate > 0) {
        draw_keep<N>(d, d.position[image], element, keep);
#pragma unroll
        for (int j = 0; j < N; j++)
            value[j] = keep[j] == 0 ? 0.0f : value[j] * keep[j];
    }
    store_n<N>(y + (uint64_t)i * N, value);
}

static void dropout_forward(struct op_plan *plan, const void *x, void *y, const struct op_random *random)
{
    const struct dropout_desc *d = &((struct dropout_plan *)plan)->desc;
    int per_thread = d->row_elements % VECTOR == 0 ? VECTOR : 1;
    int64_t vectors = d->row_elements / per_thread;
    dim3 grid((unsigned)divide_up(d->batch * vectors, THREADS));
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        auto kernel = per_thread == VECTOR ? dropout_kernel<VECTOR, T> : dropout_kernel<1, T>;
        launch(plan->backend, "dropout", kernel, grid, dim3(THREADS), 0, x, y, d->batch, vectors,
               dropout_of(random, d->purpose, d->rate));
    });
}

static vt_status plan_dropout(struct backend *be, const struct dropout_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->row_elements > 0 && rate_ok(desc->rate, desc->row_elements));
    VT_TRY(cuda_check_dtype("dropout", desc->dtype));
    VT_TRY(check_threads("dropout", desc->batch * desc->row_elements, desc->row_elements % VECTOR == 0 ? VECTOR : 1));
    struct dropout_plan *made;
    VT_TRY(cuda_plan_new(be, "elements", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_dropout_install(struct backend *be)
{
    be->nn.dropout_plan = plan_dropout;
    be->nn.dropout_forward = dropout_forward;
}
