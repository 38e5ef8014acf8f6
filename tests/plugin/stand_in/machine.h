/* Inside of the stand-in: streams as queues, who may touch device memory when, and what the calls of the runtime share. */
#ifndef VT_TESTS_STAND_IN_MACHINE_H
#define VT_TESTS_STAND_IN_MACHINE_H

#include "runtime.h"

#include <pthread.h>

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <vector>

/* ---- what is in a stream ---- */
enum kind { RUN, RECORD, WAIT };
struct work {
    enum kind kind;
    const char *what;
    std::function<void()> run;
    double us;
    cudaEvent_t event;
    long generation;
};
struct CUstream_st {
    int device;
    std::deque<work> queue;
    bool running; /* its front is being looked at: a circle of waits */
    cudaGraph_t capture;
    pthread_t captor;
    bool spoilt; /* the capture */
};
struct CUevent_st {
    int device;
    unsigned flags;
    long recorded, passed; /* generations */
    double us;             /* of the last that passed */
};
struct CUgraph_st {
    std::vector<work> nodes;
};
struct CUgraphExec_st {
    int device;
    std::vector<work> nodes;
    int in_flight;
};

/* Around every call: one at a time, of any thread. Device memory is open from the first work that runs in a call to the call's end. */
struct locked {
    locked();
    ~locked();
};
#define LOCKED locked lock

extern struct stand_in_counts {
    long kernels, products, copies, graphs; /* given to streams by the host */
    long event_waits, other_waits;          /* of the host: for an event; for a stream, the device, or a pageable copy down */
    long pageable, allocations;
} counts;
extern std::set<cudaStream_t> streams;
extern std::map<char *, size_t> blocks, pinned; /* by their starts */
extern thread_local int current;                 /* this thread's device; -1 = never set */
extern thread_local std::set<cudaStream_t> capturing; /* by this thread */
static const double LAUNCH_US = 2, COPY_US = 5;

/* Makes an error the thread's last. */
cudaError_t answer(cudaError_t error);
void same_device(const char *function, int device);
cudaStream_t real_stream(const char *function, cudaStream_t stream);
/* True, and the capture is spoilt: what CUDA calls potentially unsafe, on a thread that captures. */
bool is_unsafe();
/* Into a stream's queue, or into what captures it. */
cudaError_t put(cudaStream_t stream, work one);
void run_to(cudaEvent_t event, long generation);
void run_all(cudaStream_t stream);
void run_everything();
void run_nodes(const std::vector<work> &nodes);
/* Room in the arena behind all device memory, open to the host until the call's end; NULL when there is none. Launches of kernels come
 * to put() from then on. */
char *take_room(size_t bytes);
void let_go(char *start, size_t bytes);

#endif
