/* What plays NCCL on the GPU of async_ops.h: sums are tasks of the communication stream, done through the host's world. */
#ifndef VT_TESTS_FAKE_COMM_H
#define VT_TESTS_FAKE_COMM_H

#include "backend/backend.h"
#include "comm/comm.h"

enum { FAKE_COMM_MULTIPROCESSORS = 3 };

/* Collective over `world`. */
VT_MUST_CHECK vt_status fake_comm_open(struct comm *world, struct backend *be, struct comm **out);

#endif
