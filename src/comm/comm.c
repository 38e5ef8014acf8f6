#include "comm/comm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct agree_message {
    char host[64];
    char text[VT_MESSAGE_BYTES];
};

vt_status comm_agree(struct comm *comm, vt_status status)
{
    if (comm->size == 1)
        return status;
    struct agree_message message = {.text = ""};
    if (status != VT_OK) {
        snprintf(message.host, sizeof message.host, "%s", comm->host);
        snprintf(message.text, sizeof message.text, "%s", status_message());
    }
    struct agree_message own = message;
    int32_t first = status == VT_OK ? INT_MAX : comm->rank;
    VT_TRY(comm->all_reduce(comm, &first, 1, DTYPE_I32, REDUCE_MIN));
    if (first == INT_MAX)
        return VT_OK;
    VT_TRY(comm->broadcast(comm, &message, sizeof message, first));
    if (status != VT_OK)
        return VT_FAIL(status, "%s", own.text);
    return VT_FAIL(VT_E_COMM, "rank %d (host %s): %.900s", (int)first, message.host, message.text);
}
