/* The preflight: everything that could make a run fail at its start, looked at on every rank before the queue time is spent. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "train/device.h"
#include "train/trainer.h"
#include "train/version.h"

enum { REPORT_BYTES = 768 };

/* Rank 0 prints one line per rank; each rank writes its own place of a shared table. */
static vt_status print_ranks(struct comm *comm, const char *mine)
{
    char *all = calloc((size_t)comm->size, REPORT_BYTES);
    if (!all)
        return VT_FAIL(VT_E_MEMORY, "no memory for %d report lines", comm->size);
    snprintf(all + (size_t)comm->rank * REPORT_BYTES, REPORT_BYTES, "%s", mine);
    vt_status status = comm->all_reduce(comm, all, (int64_t)comm->size * REPORT_BYTES / (int64_t)sizeof(int32_t), DTYPE_I32, REDUCE_SUM);
    for (int r = 0; r < comm->size && comm->rank == 0 && status == VT_OK; r++)
        printf("rank %-4d  %s\n", r, all + (size_t)r * REPORT_BYTES);
    free(all);
    return status;
}

static vt_status check_device(enum config_device wanted, struct comm *comm)
{
    struct device device;
    char line[REPORT_BYTES], memory[32], gpu[320];
    const struct device_desc desc = {.wanted = wanted};
    device_describe(gpu, sizeof gpu);
    VT_TRY(device_open(&desc, comm, &device));
    text_format_bytes((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE), memory, sizeof memory);
    snprintf(line, sizeof line, "%.60s: %s, %d CPUs, %s; compute.dtype auto = %s; GPU %.280s", comm->host, device.be->device_name, cpus_usable(),
             memory, device.be->bf16_native ? "bf16" : "fp32", gpu);
    device_close(&device);
    return print_ranks(comm, line);
}

/* A sum every rank can verify. */
static vt_status check_network(struct comm *comm)
{
    enum { COUNT = 1 << 20 };
    float *data = malloc(COUNT * sizeof *data);
    if (!data)
        return VT_FAIL(VT_E_MEMORY, "no memory for the all-reduce check");
    for (int i = 0; i < COUNT; i++)
        data[i] = (float)(comm->rank + i % 1024);
    vt_status status = comm->all_reduce(comm, data, COUNT, DTYPE_F32, REDUCE_SUM);
    int n = comm->size;
    for (int i = 0; i < COUNT && status == VT_OK; i++)
        if (data[i] != (float)(n * (n - 1) / 2 + n * (i % 1024)))
            status = VT_FAIL(VT_E_COMM, "all-reduce over %d ranks gave %g at element %d, expected %d: the network or MPI is broken", n,
                             data[i], i, n * (n - 1) / 2 + n * (i % 1024));
    free(data);
    VT_TRY(comm_agree(comm, status));
    if (comm->rank == 0)
        printf("network    ok: %s, %d rank%s\n", comm->name, n, n == 1 ? "" : "s");
    return VT_OK;
}

/* The first part of a path that is not there; "" when all of it is. */
static void first_missing(const char *dir, char *out, size_t bytes)
{
    out[0] = '\0';
    for (size_t end = 1; end <= strlen(dir) && end < bytes; end++) {
        if (dir[end] != '/' && dir[end] != '\0')
            continue;
        snprintf(out, bytes, "%.*s", (int)end, dir);
        if (!file_exists(out))
            return;
        out[0] = '\0';
    }
}

/* From dir up to `top`, one of its parents or dir itself; ends at what is not empty. */
static void remove_empty(const char *dir, const char *top)
{
    char path[CONFIG_PATH_BYTES];
    snprintf(path, sizeof path, "%s", dir);
    while (strlen(path) >= strlen(top) && (rmdir(path) == 0 || errno == ENOENT)) {
        char *end = path + strlen(path);
        while (end > path && end[-1] == '/')
            end--;
        while (end > path && end[-1] != '/')
            end--;
        *end = '\0';
    }
}

/* Writes in the run folder, on rank 0; folders made for that are removed: a check leaves nothing behind. */
static vt_status check_run_dir(const struct run_config *config, struct comm *comm)
{
    char path[CONFIG_PATH_BYTES + 32], made[CONFIG_PATH_BYTES];
    vt_status status = VT_OK;
    if (comm->rank == 0) {
        first_missing(config->run.dir, made, sizeof made);
        status = file_make_dirs(config->run.dir);
        if (status == VT_OK)
            status = path_join(path, sizeof path, config->run.dir, ".check");
        if (status == VT_OK)
            status = file_write_atomic(path, "ok", 2);
        if (status == VT_OK)
            unlink(path);
        if (made[0])
            remove_empty(config->run.dir, made);
        if (status != VT_OK)
            status = status_prefix(status, "run.dir");
    }
    VT_TRY(comm_agree(comm, status));
    if (comm->rank == 0)
        printf("run folder ok: %s can be written\n", config->run.dir);
    return VT_OK;
}

/* *together: false when it is this rank alone that failed. */
static vt_status check_run(const struct run_config *config, struct comm *comm, bool *together)
{
    struct trainer *t = NULL;
    struct trainer_desc desc = {.config = config};
    struct step_result done;
    VT_TRY(check_run_dir(config, comm));
    VT_TRY(trainer_open(&desc, comm, &t));
    *together = false;
    double started = clock_ms(); /* the step's own time ends before a device has done it */
    vt_status status = step_run(t, &done);
    if (status == VT_OK)
        status = step_drain(t, &done);
    if (status == VT_OK && comm->rank == 0)
        printf("one step   ok: loss %.4f, gradient norm %.4f, %.0f ms\n", done.loss_sum / done.weight_sum, done.grad_norm,
               clock_ms() - started);
    trainer_close(&t);
    return status;
}

vt_status verb_check(int argc, char **argv)
{
    char **positional;
    int count;
    struct run_config config;
    struct comm *comm = NULL;
    bool together = true;
    vt_status status = args_parse(argc, argv, NULL, 0, 0, -1, &positional, &count);
    if (status == VT_OK && count)
        status = args_config(positional, count, &config);
    VT_TRY(job_open(COMM_AUTO, status, &comm));
    if (comm->rank == 0)
        printf("%s\n", version_line());
    status = check_device(count ? config.compute.device : CONFIG_DEVICE_AUTO, comm);
    if (status == VT_OK)
        status = check_network(comm);
    if (status == VT_OK && count)
        status = check_run(&config, comm, &together);
    return job_finish(&comm, status, together);
}
