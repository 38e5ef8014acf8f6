/* The time of one enqueue on the device: what candidates are chosen by. */
#include <cuda_runtime.h>
#include <stdlib.h>

#include "backend/cuda/cuda.h"

enum {
    WARM_UP = 3,
    RUNS_MAX = 64,
    DELAY_US = 100 /* more than any candidate takes to enqueue */
};

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The stream is empty at each run's start. Behind a delay all of a run waits in the stream by the time its first event passes: else the
 * host's part, some 30 us where cuDNN packs its pointers, would count for what the device does. In training the host is ahead. */
static cudaError_t time_runs(struct cuda_backend *cuda, void (*enqueue)(void *context, int run), void *context,
                             int runs, cudaEvent_t begin, cudaEvent_t end, float *ms)
{
    cudaStream_t stream = cuda_stream(cuda);
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < WARM_UP; i++)
        enqueue(context, i);
    for (int i = 0; i < runs && error == cudaSuccess && cuda->error == 0; i++) {
        cuda_delay(&cuda->base, DELAY_US);
        error = cudaEventRecord(begin, stream);
        enqueue(context, i);
        if (error == cudaSuccess)
            error = cudaEventRecord(end, stream);
        if (error == cudaSuccess)
            error = cudaEventSynchronize(end);
        if (error == cudaSuccess)
            error = cudaEventElapsedTime(&ms[i], begin, end);
    }
    return error;
}

/* A refused launch leaves the device as it was. A fault on the device stays: every later call repeats it, and no other candidate can
 * be tried. A call that asks for nothing tells them apart. */
static vt_status failed(struct cuda_backend *cuda, cudaError_t error, const char *what)
{
    const bool noted = cuda->error != 0;
    const char *where = noted && cuda->error_what ? cuda->error_what : "";
    if (noted)
        error = (cudaError_t)cuda->error;
    (void)cudaDeviceSynchronize();
    (void)cudaGetLastError();
    cudaError_t lasting = cudaDeviceSynchronize();
    if (lasting != cudaSuccess) {
        cuda_note(cuda, (int)lasting, "while candidates were timed");
        return VT_FAIL(VT_E_IO, "cuda: %s: %s (%s): the device takes no more work of this process", what,
                       cudaGetErrorString(lasting), cudaGetErrorName(lasting));
    }
    cuda->error = 0;
    vt_status status = VT_FAIL(VT_E_UNSUPPORTED, "cuda: %s: %s%s%s (%s)", what, where, *where ? ": " : "",
                               cudaGetErrorString(error), cudaGetErrorName(error));
    cuda->error_what = NULL;
    return status;
}

vt_status cuda_time(struct cuda_backend *cuda, const char *what, void (*enqueue)(void *context, int run), void *context,
                    int runs, double *us)
{
    float ms[RUNS_MAX];
    cudaEvent_t begin = NULL, end = NULL;
    runs = runs > RUNS_MAX ? RUNS_MAX : runs;
    if (cuda->error != 0)
        return cuda_fail(cuda->error, cuda->error_what ? cuda->error_what : "an enqueue");
    cudaError_t error = cudaEventCreate(&begin);
    if (error == cudaSuccess)
        error = cudaEventCreate(&end);
    if (error == cudaSuccess)
        error = time_runs(cuda, enqueue, context, runs, begin, end, ms);
    vt_status status = error != cudaSuccess || cuda->error != 0 ? failed(cuda, error, what) : VT_OK;
    if (begin)
        (void)cudaEventDestroy(begin);
    if (end)
        (void)cudaEventDestroy(end);
    VT_TRY(status);
    qsort(ms, (size_t)runs, sizeof *ms, by_value);
    *us = 1e3 * (double)ms[runs / 2];
    return VT_OK;
}
