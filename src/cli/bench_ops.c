/* Every op of the model's training step by itself, through the op table, on random data. Rank 0 prints its own times; all ranks
 * measure at once. */
#include <stdio.h>

#include "cli/bench.h"
#include "cli/bench_table.h"
#include "train/device.h"
#include "train/resolve.h"

static vt_status measure(struct bench_table *t)
{
    VT_TRY(bench_rates(t));
    VT_TRY(bench_products(t));
    VT_TRY(bench_passes(t));
    return bench_flat(t);
}

static struct bench_table describe(const struct bench_desc *desc, struct backend *be, const struct resolved *data)
{
    const struct run_config *c = &desc->config;
    bool bf16 = c->compute.dtype == CONFIG_DTYPE_BF16 || (c->compute.dtype == CONFIG_DTYPE_AUTO && be->bf16_native);
    return (struct bench_table){.be = be,
                                .model = &data->model,
                                .images = c->compute.micro_batch ? c->compute.micro_batch : be->memory_bytes ? 64 : 8,
                                .labels = data->labels,
                                .repetitions = desc->steps,
                                .dtype = bf16 ? DTYPE_BF16 : DTYPE_F32,
                                .dtype_stream = bf16 ? be->stream_preferred : DTYPE_F32,
                                .sigmoid = c->loss.name != CONFIG_LOSS_SOFTMAX,
                                .ema = c->train.ema > 0};
}

static vt_status show(const struct bench_table *t, bool as_json)
{
    if (!as_json) {
        bench_table_print(t);
        return VT_OK;
    }
    struct json *all = bench_table_json(t);
    vt_status status = json_write_line(all, stdout, "stdout");
    json_free(&all);
    return status;
}

vt_status bench_ops(const struct bench_desc *desc, struct comm *comm)
{
    vt_status status;
    struct device device = {0};
    struct resolved data;
    const struct device_desc wanted = {.wanted = desc->config.compute.device, .threads = desc->config.compute.threads};
    VT_TRY(comm_agree(comm, resolve_run(&desc->config, &data)));
    VT_TRY_OUT(device_open(&wanted, comm, &device));
    struct bench_table table = describe(desc, device.be, &data);
    VT_TRY_OUT(measure(&table));
    if (comm->rank == 0)
        status = show(&table, desc->json);
out:
    device_close(&device);
    resolved_close(&data);
    return status;
}
