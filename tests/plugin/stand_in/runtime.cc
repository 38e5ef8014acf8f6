/* Streams, events and graphs. */
#include "machine.h"

#include <stdlib.h>

extern "C" cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    LOCKED;
    int device = stand_in_device("cudaStreamCreateWithPriority");
    if (flags != cudaStreamNonBlocking || priority > 0 || priority < -5)
        return answer(cudaErrorInvalidValue);
    *stream = new CUstream_st{};
    (*stream)->device = device;
    streams.insert(*stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    (void)stand_in_device("cudaDeviceGetStreamPriorityRange");
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaStreamDestroy", stream);
    run_all(stream); /* what is in it still runs */
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaStreamSynchronize", stream);
    counts.other_waits++;
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    run_all(stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceSynchronize(void)
{
    LOCKED;
    (void)stand_in_device("cudaDeviceSynchronize");
    counts.other_waits++;
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    run_everything();
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return answer(cudaErrorInvalidValue);
    *event = new CUevent_st{stand_in_device("cudaEventCreateWithFlags"), flags, 0, 0, 0};
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

extern "C" cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    LOCKED;
    same_device("cudaEventDestroy", event->device);
    if (event->recorded > event->passed)
        run_to(event, event->recorded); /* allowed; ours is freed, so first let it pass */
    for (cudaStream_t stream : streams)
        for (const work &w : stream->queue)
            if (w.event == event && w.kind == WAIT && w.generation > event->passed)
                stand_in_broken("cudaEventDestroy of an event that a stream will wait for");
    for (cudaStream_t stream : streams)
        for (work &w : stream->queue)
            if (w.event == event)
                w = work{RUN, "nothing", [] {}, 0, nullptr, 0};
    delete event;
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaEventRecord", stream);
    same_device("cudaEventRecord", event->device);
    if (stream->capture)
        return answer(put(stream, {RECORD, "cudaEventRecord", nullptr, 0, event, 0}));
    long generation = ++event->recorded;
    return answer(put(stream, {RECORD, "cudaEventRecord", nullptr, 0, event, generation}));
}

extern "C" cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    LOCKED;
    if (flags != 0)
        return answer(cudaErrorInvalidValue);
    return answer(put(real_stream("cudaStreamWaitEvent", stream), {WAIT, "cudaStreamWaitEvent", nullptr, 0, event, event->recorded}));
}

extern "C" cudaError_t cudaEventQuery(cudaEvent_t event)
{
    LOCKED;
    (void)stand_in_device("cudaEventQuery");
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    return event->passed < event->recorded ? cudaErrorNotReady : cudaSuccess;
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    LOCKED;
    (void)stand_in_device("cudaEventSynchronize");
    counts.event_waits++;
    if (is_unsafe())
        return answer(cudaErrorStreamCaptureUnsupported);
    run_to(event, event->recorded);
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    LOCKED;
    if (!from->recorded || !to->recorded || ((from->flags | to->flags) & cudaEventDisableTiming))
        return answer(cudaErrorInvalidResourceHandle);
    if (from->passed < from->recorded || to->passed < to->recorded)
        return cudaErrorNotReady;
    *ms = (float)((to->us - from->us) / 1e3);
    return cudaSuccess;
}

/* ---- graphs ---- */
extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    LOCKED;
    (void)real_stream("cudaStreamBeginCapture", stream);
    if (stream->capture)
        return answer(cudaErrorIllegalState);
    if (mode != cudaStreamCaptureModeThreadLocal) /* other threads ask events meanwhile */
        stand_in_broken("a capture in mode %d", (int)mode);
    stream->capture = new CUgraph_st{};
    stream->captor = pthread_self();
    stream->spoilt = false;
    capturing.insert(stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    LOCKED;
    (void)real_stream("cudaStreamEndCapture", stream);
    *graph = nullptr;
    if (!stream->capture)
        return answer(cudaErrorIllegalState);
    if (!pthread_equal(stream->captor, pthread_self()))
        return answer(cudaErrorStreamCaptureWrongThread);
    capturing.erase(stream);
    static const char *bad = getenv("VT_STAND_IN_CAPTURE");
    static int captures;
    stream->spoilt = stream->spoilt || (bad && ++captures == atoi(bad));
    cudaGraph_t made = stream->capture;
    stream->capture = nullptr;
    if (stream->spoilt) {
        delete made;
        return answer(cudaErrorStreamCaptureInvalidated);
    }
    *graph = made;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    LOCKED;
    int device = stand_in_device("cudaGraphInstantiate");
    if (flags != 0)
        return answer(cudaErrorInvalidValue);
    *exec = new CUgraphExec_st{device, graph->nodes, 0};
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaGraphUpload", stream);
    same_device("cudaGraphUpload", exec->device);
    return stream->capture ? answer(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    LOCKED;
    (void)real_stream("cudaGraphLaunch", stream);
    if (stream->capture)
        return answer(cudaErrorStreamCaptureUnsupported);
    exec->in_flight++;
    counts.graphs++;
    return answer(put(stream, {RUN, "graph",
                               [=] {
                                   run_nodes(exec->nodes);
                                   exec->in_flight--;
                               },
                               LAUNCH_US, nullptr, 0}));
}

extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    LOCKED;
    if (exec->in_flight)
        stand_in_broken("cudaGraphExecDestroy of a graph in flight");
    delete exec;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
