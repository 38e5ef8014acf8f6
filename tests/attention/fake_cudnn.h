/* In cuDNN's place: two plans per graph that run our plain kernels and claim the times they are given; and the parts of the
 * backend that choosing needs: a tuning table, and a clock that reads those times. */
#ifndef VT_TESTS_FAKE_CUDNN_H
#define VT_TESTS_FAKE_CUDNN_H

#include "backend/backend.h"
#include "backend/cuda/tuning.h"

struct fake_cudnn {
    struct backend *backend;
    struct tuning *tuning;
    bool absent;        /* cudnn_load fails */
    bool reversed;      /* its heuristic offers them the other way round: choice 0 is plan 1 */
    double us[2];       /* what its plans take; our kernels take FAKE_OWN_US; < 0: the plan fails; < -1: and the device with it */
    bool closed[2];     /* the plan does not finalise */
    bool wrong[2], idle[2]; /* its plan's results are off; it writes nothing */
    int open, enqueued; /* plans alive, shared ones counted once each; enqueues so far */
    int compiled;       /* plans made so far, not counting shared ones */
    int timed;
};
extern struct fake_cudnn fake_cudnn;

enum { FAKE_OWN_US = 10 };

#endif
