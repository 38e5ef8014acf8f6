/* x(rows, columns) += bias, fp32: only behind products whose bias no epilogue takes. One thread per element,
 * grid-strided; 8 bytes moved per element: bound by memory. */
#include "backend/cuda/op.cuh"

extern "C" {
#include "backend/cuda/cuda.h"
}

enum { BLOCK = 256, BLOCKS_MAX = 65535 };

__global__ void add_bias(float *x, const float *bias, int64_t count, int64_t columns)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        x[i] += bias[i % columns];
}

void cuda_add_bias(struct backend *be, float *x, const float *bias, int64_t rows, int64_t columns)
{
    int64_t blocks = least(divide_up(rows * columns, BLOCK), BLOCKS_MAX);
    launch(be, "add_bias", add_bias, dim3((unsigned)blocks), dim3(BLOCK), 0, x, bias, rows * columns, columns);
}
