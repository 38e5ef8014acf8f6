/* NCCL, loaded when the first communicator is opened: one GPU works without it. Private to the room. */
#ifndef VT_COMM_NCCL_LIBRARY_H
#define VT_COMM_NCCL_LIBRARY_H

#include "base/status.h"

struct nccl_symbol {
    const char *name;
    void *address; /* of the function pointer that gets it */
};

/* $VITRAIL_NCCL (a path), else libnccl.so.2 where the loader finds it. VT_E_UNSUPPORTED with what was tried, or the symbol
 * that is missing. The library stays loaded, and the next load is of no effect. Per rank, any thread. */
VT_MUST_CHECK vt_status nccl_library_load(const struct nccl_symbol *symbols, int count);

#endif
