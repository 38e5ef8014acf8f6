/* Column sums of attention's gradients: the partial sums of ways that leave none, and their last stage.
 *
 * partial[k][b][A*d], k 0 for dq and 1 for dv. A block takes one image and head of one of them: a thread has a column and a row in
 * every so many, then the block adds up in a fixed order. Reads dq and dv once, in runs of d elements. */
#include "backend/cuda/columns.cuh"
extern "C" {
#include "backend/cuda/attention.h"
}

enum { SUM_THREADS = 256 };

struct sum_source {
    const void *gradient;
    struct attention_view view;
    int64_t rows;
};

template <typename T>
__global__ void __launch_bounds__(SUM_THREADS)
    head_sums_kernel(const __grid_constant__ sum_source dq, const __grid_constant__ sum_source dv, int heads, int head_dim,
                     float *partial)
{
    SHARED_ARRAY(float, tile, SUM_THREADS);
    const sum_source &from = blockIdx.y ? dv : dq;
    const int64_t b = blockIdx.x / (unsigned)heads, h = blockIdx.x % (unsigned)heads;
    const T *const head = (const T *)from.gradient + b * from.view.batch + h * from.view.head;
    float *const to = partial + ((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * head_dim;
    const int columns = head_dim < SUM_THREADS ? head_dim : SUM_THREADS, lines = SUM_THREADS / columns;
    const int line = (int)threadIdx.x / columns;
    for (int first = 0; first < head_dim; first += columns) {
        const int column = first + (int)threadIdx.x % columns;
        float sum = 0;
        if (line < lines && column < head_dim)
#pragma unroll 4
            for (int64_t row = line; row < from.rows; row += lines)
                sum += to_float(head[row * from.view.row + column]);
        __syncthreads(); /* the columns before are read */
        tile[threadIdx.x] = sum;
        __syncthreads();
        if (line == 0 && column < head_dim) {
            for (int i = 1; i < lines; i++)
                sum += tile[i * columns + (int)threadIdx.x];
            to[column] = sum;
        }
    }
}

/* ---- host ---- */

size_t attention_sums_workspace(const struct attention_desc *d)
{
    return (size_t)(2 * d->batch * d->heads * d->head_dim) * sizeof(float);
}

void attention_sums_pass(struct backend *be, const struct attention_desc *d, const struct attention_call *call,
                         float *partial_sums)
{
    const struct sum_source dq = {call->dq, d->q, d->queries}, dv = {call->dv, d->v, d->keys};
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        launch(be, "attention_sums", head_sums_kernel<T>, dim3((unsigned)(d->batch * d->heads), 2), dim3(SUM_THREADS), 0, dq, dv,
               (int)d->heads, (int)d->head_dim, partial_sums);
    });
}

void attention_sums_finish(struct backend *be, const struct attention_desc *d, const struct attention_sums *sums,
                           const float *partial_sums)
{
    const int64_t width = d->heads * d->head_dim;
    const struct column_sums to = {{sums->dq, sums->dv, NULL, NULL}};
    sum_partials(be, partial_sums, d->batch, width, to, sums->accumulate);
    if (!sums->accumulate)
        be->zero(be, STREAM_COMPUTE, sums->dk, (size_t)width * sizeof(float));
}
