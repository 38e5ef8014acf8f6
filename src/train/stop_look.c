#include "train/stop_look.h"

#include "base/clock.h"
#include "base/stage.h"
#include "train/signals.h"

static const double look_every_ms = 1000;

/* Parts until the next look, at least 1. */
static int64_t stride(double part_ms)
{
    if (part_ms >= look_every_ms)
        return 1;
    return part_ms > look_every_ms * 0x1p-40 ? (int64_t)(look_every_ms / part_ms) : INT64_C(1) << 40;
}

struct stop_look stop_look_start(double part_ms)
{
    return (struct stop_look){.next = part_ms > 0 ? stride(part_ms) : 1, .started_ms = clock_ms()};
}

vt_status stop_look(struct stop_look *look, struct comm *comm, const char *stop_file, int64_t done, bool *stop)
{
    if (done < look->next)
        return VT_OK;
    enum stage before = stage_enter(STAGE_COMM_WAIT);
    double sums[2] = {signals_stop_requested(stop_file), (clock_ms() - look->started_ms) / (double)done};
    vt_status status = comm->all_reduce(comm, sums, 2, DTYPE_F64, REDUCE_SUM);
    stage_enter(before);
    VT_TRY(status);
    *stop = sums[0] > 0;
    int64_t more = stride(sums[1] / comm->size);
    look->next = done + (more < done ? more : done); /* the first parts may be no measure: at most twice as far */
    return VT_OK;
}
