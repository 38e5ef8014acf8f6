/* Capture and replay of the compute stream. What makes the ops capturable: they allocate nothing, wait for nothing, ask no
 * event, take their scratch from the one workspace, and give kernels nothing of the host that changes from call to call
 * (positions, counters and weights are read on the device; scales go by value). Libraries: cuBLASLt captures with the
 * workspace it is given; cuDNN executes on the handle's stream, which is the one captured. */
#include <cuda_runtime.h>
#include <stdlib.h>

#include "backend/cuda/cuda.h"

struct graph {
    cudaGraphExec_t exec;
};

/* Only this thread's unsafe calls are refused meanwhile: the watcher of the sums asks events from its own. */
static vt_status capture_begin(struct backend *be)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    cuda_bind(cuda);
    VT_CHECKF(!cuda->capturing, "a capture inside of a capture");
    CUDA_TRY(cudaStreamBeginCapture(cuda_stream(cuda), cudaStreamCaptureModeThreadLocal));
    cuda->capturing = true;
    cuda->error_before_capture = __atomic_load_n(&cuda->error, __ATOMIC_ACQUIRE);
    return VT_OK;
}

/* An enqueue that failed because of the capture has done no harm: nothing ran. */
static vt_status take_error(struct cuda_backend *cuda)
{
    int error = __atomic_load_n(&cuda->error, __ATOMIC_ACQUIRE);
    if (cuda->error_before_capture || !error)
        return VT_OK;
    const char *what = __atomic_exchange_n(&cuda->error_what, NULL, __ATOMIC_ACQ_REL);
    __atomic_store_n(&cuda->error, 0, __ATOMIC_RELEASE);
    return cuda_fail(error, what ? what : "an enqueue");
}

static vt_status instantiate(struct cuda_backend *cuda, cudaGraph_t captured, struct graph **out)
{
    struct graph *graph = calloc(1, sizeof *graph);
    if (!graph)
        return VT_FAIL(VT_E_MEMORY, "cuda: no memory for a graph");
    cudaError_t error = cudaGraphInstantiate(&graph->exec, captured, 0);
    if (error == cudaSuccess)
        error = cudaGraphUpload(graph->exec, cuda_stream(cuda)); /* now, rather than in the first launch */
    if (error != cudaSuccess) {
        if (graph->exec)
            (void)cudaGraphExecDestroy(graph->exec);
        free(graph);
        return cuda_fail((int)error, "making a graph of what was captured");
    }
    cuda->graphs++;
    *out = graph;
    return VT_OK;
}

static vt_status capture_end(struct backend *be, struct graph **out)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    cudaGraph_t captured = NULL;
    VT_CHECKF(cuda->capturing, "the end of a capture that did not begin");
    cuda->capturing = false;
    cudaError_t error = cudaStreamEndCapture(cuda_stream(cuda), &captured);
    vt_status status = take_error(cuda);
    if (status == VT_OK && error != cudaSuccess)
        status = cuda_fail((int)error, "cudaStreamEndCapture");
    if (status == VT_OK)
        status = instantiate(cuda, captured, out);
    (void)cudaGetLastError();
    if (captured)
        (void)cudaGraphDestroy(captured);
    return status;
}

static void graph_launch(struct backend *be, struct graph *graph)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    cuda_bind(cuda);
    cuda_note(cuda, (int)cudaGraphLaunch(graph->exec, cuda_stream(cuda)), "cudaGraphLaunch");
}

static void graph_free(struct backend *be, struct graph *graph)
{
    struct cuda_backend *cuda = (struct cuda_backend *)be;
    if (!graph)
        return;
    cuda_bind(cuda);
    cuda_note(cuda, (int)cudaGraphExecDestroy(graph->exec), "cudaGraphExecDestroy");
    cuda->graphs--;
    free(graph);
}

void cuda_graph_install(struct backend *be)
{
    be->capture_begin = capture_begin;
    be->capture_end = capture_end;
    be->graph_launch = graph_launch;
    be->graph_free = graph_free;
}
