/* A GPU without one: async_device.h's streams, with every op of `ref` as a call put on the compute stream. Arguments are copied
 * when an op is enqueued, what they point to in host memory too, as a kernel launch does; so a captured op replays with
 * the values of its capture, and only what it reads on the device may change. */
#ifndef VT_TESTS_ASYNC_OPS_H
#define VT_TESTS_ASYNC_OPS_H

#include "backend/backend.h"

/* One per process. */
struct backend *async_gpu_open(void);

#endif
