/* Checks for tests under mpirun: a failed one prints rank, file and line, and takes the whole job down. */
#ifndef VT_RANK_CHECK_H
#define VT_RANK_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "comm/comm.h"

static struct comm *world;

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            char require_text_[512];                                                                                   \
            snprintf(require_text_, sizeof require_text_, "rank %d: %s:%d: %s (last message: %.200s)",                 \
                     world ? world->rank : -1, __FILE__, __LINE__, #condition, status_message());                      \
            world_abort(world, 99, require_text_);                                                                     \
        }                                                                                                              \
    } while (0)

#define REQUIRE_OK(call) REQUIRE((call) == VT_OK)

#endif
