#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/bench.h"
#include "train/trainer.h"

/* Images per second of the loader alone: what the input could feed. */
vt_status bench_data(const struct bench_desc *desc, struct comm *comm)
{
    struct trainer *t = NULL;
    vt_status status;
    double read = 0, decode = 0, augment = 0;
    int64_t rows = 0;
    struct trainer_desc trainer = {.config = &desc->config, .quiet = true};
    VT_TRY_OUT(trainer_open(&trainer, comm, &t));
    double start = 0;
    for (int step = -2; step < desc->steps; step++) {
        if (step == 0)
            start = clock_ms();
        for (int micro = 0; micro < t->micro_count; micro++) {
            struct slot *slot;
            VT_TRY_OUT(loader_next(t->loader, &slot));
            if (step >= 0) {
                rows += slot->rows;
                read += slot->read_ms;
                decode += slot->decode_ms;
                augment += slot->augment_ms;
            }
            loader_release(t->loader, slot);
        }
    }
    double seconds = (clock_ms() - start) * 1e-3, sums[4] = {(double)rows, read, decode, augment};
    VT_TRY_OUT(comm->all_reduce(comm, sums, 4, DTYPE_F64, REDUCE_SUM));
    if (comm->rank == 0 && desc->json)
        printf("{\"images_per_s\":%.1f,\"threads\":%d,\"ranks\":%d}\n", sums[0] / seconds, t->threads_loader, comm->size);
    else if (comm->rank == 0)
        printf("input      %10.1f images/s with %d threads on %d rank%s; per image and thread: read %.1f us, decode %.1f us, "
               "augment %.1f us\n",
               sums[0] / seconds, t->threads_loader, comm->size, comm->size == 1 ? "" : "s", 1e3 * sums[1] / sums[0],
               1e3 * sums[2] / sums[0], 1e3 * sums[3] / sums[0]);
out:
    trainer_close(&t);
    return status;
}
