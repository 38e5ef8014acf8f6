#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/bench.h"
#include "train/op_time.h"

enum { REPETITIONS_MAX = 64 };

static struct json *row_json(int64_t kib, double seconds, double algbw, double busbw)
{
    struct json *row = json_new_object();
    json_set_int(row, "kib", kib);
    json_set_double(row, "us", seconds * 1e6);
    json_set_double(row, "algbw_gb_per_s", algbw);
    json_set_double(row, "busbw_gb_per_s", busbw);
    return row;
}

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
    struct json *rows = json_new_array();
    if (comm->rank == 0 && !desc->json)
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
        double algbw = bytes / seconds * 1e-9, busbw = algbw * 2 * (comm->size - 1) / comm->size;
        json_add(rows, row_json(kib[i], seconds, algbw, busbw));
        if (comm->rank == 0 && !desc->json)
            printf("%10lld %12.1f %12.2f %12.2f\n", (long long)kib[i], seconds * 1e6, algbw, busbw);
    }
    free(data);
    struct json *all = json_new_object();
    json_set_int(all, "ranks", comm->size);
    json_set_string(all, "comm", comm->name);
    json_set(all, "all_reduce", rows);
    if (comm->rank == 0 && desc->json && status == VT_OK)
        status = json_write_line(all, stdout, "stdout");
    json_free(&all);
    return status;
}
