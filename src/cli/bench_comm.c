#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/bench.h"
#include "train/gemm_rate.h"

enum { REPETITIONS_MAX = 64 };

/* All-reduce times by size; busbw = algbw * 2 (n - 1) / n, as nccl-tests define it. */
vt_status bench_comm(const struct bench_desc *desc, struct comm *comm)
{
    static const int64_t kib[] = {4, 64, 1024, 4096, 16384, 65536};
    int64_t most = kib[sizeof kib / sizeof *kib - 1] * 1024;
    vt_status status = VT_OK;
    float *data = calloc((size_t)most, 1);
    if (!data)
        return VT_FAIL(VT_E_MEMORY, "no memory for %lld bytes of bench data", (long long)most);
    int repetitions = desc->steps > REPETITIONS_MAX ? REPETITIONS_MAX : desc->steps;
    if (comm->rank == 0)
        printf("all-reduce of fp32 over %d rank%s (%s)\n%10s %12s %12s %12s\n", comm->size, comm->size == 1 ? "" : "s", comm->name,
               "KiB", "us", "algbw GB/s", "busbw GB/s");
    for (size_t i = 0; i < sizeof kib / sizeof *kib && status == VT_OK; i++) {
        double times[REPETITIONS_MAX], bytes = (double)kib[i] * 1024;
        for (int r = -2; r < repetitions && status == VT_OK; r++) {
            status = comm->barrier(comm);
            int64_t start = clock_ns();
            if (status == VT_OK)
                status = comm->all_reduce(comm, data, kib[i] * 256, DTYPE_F32, REDUCE_SUM);
            if (r >= 0)
                times[r] = (double)(clock_ns() - start) * 1e-9;
        }
        if (status != VT_OK)
            break;
        double seconds = bench_median(times, repetitions);
        if (comm->rank == 0)
            printf("%10lld %12.1f %12.2f %12.2f\n", (long long)kib[i], seconds * 1e6, bytes / seconds * 1e-9,
                   bytes / seconds * 1e-9 * 2 * (comm->size - 1) / comm->size);
    }
    free(data);
    return status;
}
