#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/plugin.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/text.h"
#include "input/deal.h"
#include "train/gemm_rate.h"

/* Bytes of the residual stream a microbatch may have on a CPU: a few times this is a block's working set, which should stay
 * in the second-level cache and the rank's share of the third (docs/speed.md). */
enum { CPU_STREAM_BYTES = 1 << 20 };

/* compute.dtype: auto is bf16 where every rank's device has it. From here on the config says which it is, so that the run stays
 * at it on other hardware too. Collective. */
static vt_status choose_dtypes(struct trainer *t)
{
    enum config_dtype *wanted = &t->config.compute.dtype;
    int32_t native = t->be->bf16_native;
    VT_TRY(t->comm->all_reduce(t->comm, &native, 1, DTYPE_I32, REDUCE_MIN));
    if (*wanted == CONFIG_DTYPE_BF16 && !native && t->comm->rank == 0 && t->device.plugin == NULL && t->folder.existed)
        log_warn("compute.dtype=bf16, and not every rank's CPU has bf16 units: the run goes on with it, but slower than with fp32");
    if (*wanted == CONFIG_DTYPE_AUTO)
        *wanted = native ? CONFIG_DTYPE_BF16 : CONFIG_DTYPE_FP32;
    t->dtype = *wanted == CONFIG_DTYPE_BF16 ? DTYPE_BF16 : DTYPE_F32;
    t->dtype_stream = t->dtype == DTYPE_BF16 ? t->be->stream_preferred : DTYPE_F32;
    return VT_OK;
}

/* Rows of a microbatch: about as many as the cache likes, of the even numbers near that the one with the least padding. */
static int64_t fit_micro_batch(int64_t rows, int64_t wanted)
{
    int64_t best = 2, best_padded = INT64_MAX;
    for (int64_t r = wanted / 2 + 1; r <= wanted + wanted / 2 + 1; r++) {
        if (r % 2 && r > 1)
            continue; /* rows come in pairs */
        int64_t padded = (rows + r - 1) / r * r;
        int64_t off = llabs(r - wanted), best_off = llabs(best - wanted);
        if (padded < best_padded || (padded == best_padded && off < best_off)) {
            best = r;
            best_padded = padded;
        }
    }
    return best + best % 2;
}

/* The training replica; its batch is chosen by then, or about to be. */
static struct vit_desc replica_of(const struct trainer *t)
{
    static const enum vit_recompute recompute[] = {[CONFIG_RECOMPUTE_NONE] = RECOMPUTE_NONE,
                                                   [CONFIG_RECOMPUTE_LIGHT] = RECOMPUTE_LIGHT,
                                                   [CONFIG_RECOMPUTE_BLOCK] = RECOMPUTE_BLOCK};
    const struct run_config *config = &t->config;
    return (struct vit_desc){.config = t->data.model,
                             .params = &t->table,
                             .batch = t->micro_rows,
                             .dtype = t->dtype,
                             .dtype_stream = t->dtype_stream,
                             .training = true,
                             .seed = (uint64_t)config->run.seed,
                             .loss = config->loss.name == CONFIG_LOSS_SOFTMAX ? LOSS_SOFTMAX : LOSS_SIGMOID,
                             .smoothing = (float)config->loss.smoothing,
                             .labels = t->data.labels,
                             .recompute = recompute[config->compute.recompute]};
}

static struct weights_desc weights_of(const struct trainer *t)
{
    return (struct weights_desc){.table = &t->table,
                                 .dtype = t->dtype,
                                 .training = true,
                                 .optimizer = t->config.optim.name == CONFIG_OPTIM_ADAMW ? OPTIMIZER_ADAMW : OPTIMIZER_SGD,
                                 .ema = t->config.train.ema > 0};
}

static struct memory_fit fit_of(const struct trainer *t)
{
    bool evaluation = t->data.val.samples > 0;
    return (struct memory_fit){
        .train = replica_of(t),
        .evaluation = evaluation,
        .shape = {t->micro_rows, t->data.model.image_size, t->data.model.channels, t->data.labels},
        .rings = evaluation ? 2 : 1,
        .shared = t->be->host_memory};
}

/* The fewest microbatches that fit beside weights and optimizer, as equal as can be. A fifth is left to the workspace, not
 * known yet, and to the driver. */
static int64_t fit_device_memory(const struct trainer *t, int64_t rows)
{
    size_t host;
    struct weights_desc weights = weights_of(t);
    struct memory_fit fit = fit_of(t);
    weights_memory(&weights, t->be->host_memory, &fit.fixed, &host);
    int64_t capacity = memory_fit_rows(&fit, fit.train.recompute, t->be->memory_bytes / 5 * 4, (int)(rows + rows % 2));
    if (capacity >= rows)
        return rows;
    int64_t count = capacity < 2 ? (rows + 1) / 2 : (rows + capacity - 1) / capacity;
    return (rows + count - 1) / count;
}

static void choose_micro_batch(struct trainer *t)
{
    int64_t rows = deal_capacity(t->config.data.batch, t->comm->size);
    int64_t micro = t->config.compute.micro_batch;
    if (!micro && t->be->memory_bytes)
        micro = fit_device_memory(t, rows);
    else if (!micro) {
        int64_t stream = (int64_t)vit_tokens(&t->data.model) * t->data.model.width * (int64_t)sizeof(float);
        int64_t wanted = CPU_STREAM_BYTES / stream;
        micro = wanted >= rows ? rows : fit_micro_batch(rows, wanted < 2 ? 2 : wanted);
    }
    micro = micro < rows ? micro : rows; /* more would be padding */
    t->micro_rows = (int)(micro + micro % 2);
    t->micro_count = (int)((rows + t->micro_rows - 1) / t->micro_rows);
}

static int choose_loader_threads(const struct trainer *t)
{
    if (t->config.data.threads)
        return t->config.data.threads;
    return loader_threads(t->comm->cpus, t->be->memory_bytes != 0);
}

static vt_status plan_replicas(struct trainer *t)
{
    const struct vit_desc vit = replica_of(t);
    const char *missing = ops_missing(t->be);
    if (missing)
        return VT_FAIL(VT_E_UNSUPPORTED, "backend %s has no %s", t->be->name, missing);
    VT_TRY(vit_open(&vit, t->be, &t->vit));
    t->has_evaluator = t->data.val.samples > 0;
    if (!t->has_evaluator)
        return VT_OK;
    struct evaluator_desc evaluator = {.model = t->data.model,
                                       .params = &t->table,
                                       .rows = t->micro_rows,
                                       .labels = t->data.labels,
                                       .dtype = t->dtype,
                                       .dtype_stream = t->dtype_stream,
                                       .loss = vit.loss};
    return evaluator_open(&t->evaluator, t->be, &evaluator);
}

static int64_t bucket_bytes_of(const struct trainer *t) { return (int64_t)(t->config.comm.bucket_mb * 1e6); }

static enum dtype wire_of(const struct trainer *t) { return t->config.comm.wire == CONFIG_WIRE_BF16 ? DTYPE_BF16 : DTYPE_F32; }

static void plan_memory(struct trainer *t)
{
    static const char *const labels[] = {[CONFIG_RECOMPUTE_NONE] = "activations",
                                         [CONFIG_RECOMPUTE_LIGHT] = "activations (recompute light)",
                                         [CONFIG_RECOMPUTE_BLOCK] = "activations (recompute block)"};
    size_t device, host;
    struct weights_desc weights = weights_of(t);
    struct batch_shape shape = {t->micro_rows, t->data.model.image_size, t->data.model.channels, t->data.labels};
    weights_memory(&weights, t->be->host_memory, &device, &host);
    memory_plan_add(&t->memory, "weights and optimizer", device, host);
    memory_plan_add(&t->memory, labels[t->config.compute.recompute], vit_memory_plan(t->vit).activations, 0);
    if (t->has_evaluator)
        memory_plan_add(&t->memory, "evaluation", vit_memory_plan(t->evaluator.vit).activations, 0);
    memory_plan_add(&t->memory, "workspace", t->be->workspace_bytes, 0);
    batch_ring_memory(&shape, &device, &host);
    int rings = t->has_evaluator ? 2 : 1;
    memory_plan_add(&t->memory, "input", device * (size_t)rings, host * (size_t)rings);
    if (t->comm->size == 1)
        return;
    bucket_memory(&t->table, bucket_bytes_of(t), wire_of(t), t->device_comm != NULL, t->be->host_memory, &device, &host);
    if (device + host)
        memory_plan_add(&t->memory, "sums", device, host);
}

static vt_status allocate(struct trainer *t)
{
    struct batch_shape shape = {t->micro_rows, t->data.model.image_size, t->data.model.channels, t->data.labels};
    struct weights_desc weights = weights_of(t);
    void *memory;
    VT_TRY(weights_open(&t->weights, t->be, &weights));
    VT_TRY(vit_allocate(t->vit));
    VT_TRY(batch_ring_open(&t->ring, t->be, &shape));
    if (t->has_evaluator)
        VT_TRY(evaluator_allocate(&t->evaluator));
    VT_TRY(t->be->alloc(t->be, MEMORY_DEVICE, sizeof *t->scalars, "step counters", &memory));
    t->scalars = memory;
    VT_TRY(t->be->alloc(t->be, MEMORY_HOST, 2 * sizeof *t->host_scalars, "step counters", &memory));
    t->host_scalars = memory;
    t->scalars_ready[0] = t->be->event_new(t->be);
    t->scalars_ready[1] = t->be->event_new(t->be);
    return t->be->reserve_workspace(t->be);
}

static vt_status open_optimizer(struct trainer *t)
{
    struct optimizer_desc desc;
    resolve_optimizer(&t->config, &t->table, t->rules, &desc);
    return optimizer_open(&desc, t->be, &t->optimizer);
}

static vt_status open_buckets(struct trainer *t)
{
    struct bucket_desc desc = {.table = &t->table,
                               .bucket_bytes = bucket_bytes_of(t),
                               .wire = wire_of(t),
                               .grads = t->weights.device.grads,
                               .device = t->device_comm,
                               .timeout_s = t->config.comm.timeout_s};
    return bucket_open(&desc, t->comm, t->be, &t->buckets);
}

static void print_plan(const struct trainer *t)
{
    const struct vit_config *m = &t->data.model;
    const struct run_config *c = &t->config;
    char params[32], samples[32];
    text_format_count((double)t->table.parameters, params, sizeof params);
    text_format_count((double)t->data.train.samples, samples, sizeof samples);
    log_info("model      %s: %d layers, width %d, %d heads, mlp %d, patch %d, %d px, %d tokens, %s parameters, %.2f GFLOP "
             "per image and step",
             c->model.name, m->depth, m->width, m->heads, m->mlp_width, m->patch_size, m->image_size, vit_tokens(m), params,
             vit_train_flops(m) * 1e-9);
    log_info("data       %s: %s images, %d classes, %s order", c->data.train, samples, t->data.train.classes,
             t->data.order.desc.mode == ORDER_FULL ? "full" : "window");
    if (t->device.reason[0])
        log_info("device     CPU: %s", t->device.reason);
    log_info("compute    %s, %d rank%s, %s, microbatch %d x %d", t->be->device_name, t->comm->size,
             t->comm->size == 1 ? "" : "s", dtype_name(t->dtype), t->micro_rows, t->micro_count);
    memory_plan_print(&t->memory, t->be->host_memory, t->comm->local_size);
    log_info("run        %lld steps of %d images%s%s", (long long)t->data.total_steps, c->data.batch,
             t->folder.dir[0] ? ", into " : "", t->folder.dir);
}

/* Everything the run will plan, what measures it included: nothing is timed or chosen after. */
static vt_status plan_all(struct trainer *t)
{
    VT_TRY(plan_replicas(t));
    return gemm_rate_plan(t->be, &t->data.model, t->micro_rows, t->dtype);
}

/* Plans time algorithms on a GPU: rank 0 does, the others then take its choices, so that all compute alike. Collective. */
static vt_status plan_together(struct trainer *t)
{
    if (!t->device.plugin)
        return comm_agree(t->comm, plan_replicas(t));
    VT_TRY(trainer_load_tuning(t));
    VT_TRY(comm_agree(t->comm, t->comm->rank == 0 ? plan_all(t) : VT_OK));
    VT_TRY(trainer_share_tuning(t));
    return comm_agree(t->comm, t->comm->rank != 0 ? plan_all(t) : VT_OK);
}

/* Sums over NCCL, unless another way was asked for. Collective. */
static vt_status open_device_comm(struct trainer *t)
{
    const enum config_comm wanted = t->config.comm.backend;
    if (!t->device.plugin && wanted == CONFIG_COMM_NCCL)
        return VT_FAIL(VT_E_USAGE, "comm.backend=nccl sums on GPUs, and this run is on the CPU%s%s; expected auto, self or mpi",
                       t->device.reason[0] ? ": " : "", t->device.reason);
    if (!t->device.plugin || t->comm->size == 1 || wanted == CONFIG_COMM_MPI)
        return VT_OK;
    if (!getenv("NCCL_HOSTID")) /* set: they share on purpose */
        VT_TRY(device_check_distinct(&t->device, t->comm));
    VT_TRY(t->device.plugin->comm_open(t->comm, t->be, &t->device_comm));
    trainer_spare_multiprocessors(t);
    return VT_OK;
}

static vt_status open_device(struct trainer *t)
{
    const struct device_desc desc = {.wanted = t->config.compute.device, .threads = t->config.compute.threads};
    VT_TRY(device_open(&desc, t->comm, &t->device));
    t->be = t->device.be;
    VT_TRY(choose_dtypes(t));
    vit_params(&t->data.model, &t->table);
    choose_micro_batch(t);
    t->threads_loader = choose_loader_threads(t);
    return open_device_comm(t);
}

/* What the plan may take: others may be on the device too, and the libraries take more when they first run. Asked after all plans were
 * made, when nothing is left of their timing. */
static size_t memory_for_plan(const struct trainer *t)
{
    static const size_t modules = (size_t)128 << 20, collectives = (size_t)512 << 20;
    struct backend *be = t->be;
    if (!be->memory_available)
        return be->memory_bytes;
    size_t available = be->memory_available(be), margin = modules + (t->device_comm ? collectives : 0);
    available = available > margin ? available - margin : 1;
    return available < be->memory_bytes ? available : be->memory_bytes;
}

/* What can fail on one rank alone; the caller lets all ranks agree. */
static vt_status allocate_rank(struct trainer *t, bool quiet)
{
    plan_memory(t);
    if (!quiet)
        print_plan(t);
    VT_TRY(memory_plan_check_host(&t->memory, fit_of(t), t->comm->local_size));
    VT_TRY(memory_plan_check_device(&t->memory, fit_of(t), memory_for_plan(t)));
    VT_TRY(allocate(t));
    return open_optimizer(t);
}

/* data.order: auto depends on the memory of a host: rank 0 decides for all. Collective. */
static vt_status agree_on_order(struct trainer *t)
{
    int32_t mode = (int32_t)t->data.order.desc.mode;
    VT_TRY(t->comm->broadcast(t->comm, &mode, sizeof mode, 0));
    t->data.order.desc.mode = (enum order_mode)mode;
    return VT_OK;
}

/* The file asks a running job to stop: one left from before must not stop this one. Rank 0 looks for all: other hosts may not
 * have the folder, and a shared file system need not answer every rank. Per rank. */
static vt_status prepare_stop_file(struct trainer *t)
{
    if (!t->config.run.stop_file[0] || t->comm->rank > 0)
        return VT_OK;
    VT_TRY(path_join(t->stop_file, sizeof t->stop_file, t->folder.dir, t->config.run.stop_file));
    if (unlink(t->stop_file) == 0)
        log_info("removed a stop file left over from before: %s", t->stop_file);
    return VT_OK;
}

vt_status trainer_open(const struct trainer_desc *desc, struct comm *comm, struct trainer **out)
{
    vt_status status;
    struct trainer *t = calloc(1, sizeof *t);
    VT_CHECK(t);
    t->config = *desc->config;
    t->comm = comm;
    t->best_metric = NAN;
    t->folder.lock_fd = -1;
    t->saved_step = -1;
    stage_enter(STAGE_START);
    if (desc->run_folder)
        VT_TRY_OUT(run_folder_open(&t->config, comm, &t->folder));
    if (t->folder.dir[0])
        VT_TRY_OUT(comm_agree(comm, prepare_stop_file(t)));
    VT_TRY_OUT(comm_agree(comm, resolve_run(&t->config, &t->data)));
    VT_TRY_OUT(agree_on_order(t));
    VT_TRY_OUT(open_device(t));
    VT_TRY_OUT(plan_together(t));
    VT_TRY_OUT(comm_agree(comm, allocate_rank(t, desc->quiet)));
    VT_TRY_OUT(open_buckets(t));
    VT_TRY_OUT(comm_agree(comm, trainer_open_graphs(t)));
    VT_TRY_OUT(comm_agree(comm, step_clock_open(t->be, t->micro_count, &t->clock)));
    VT_TRY_OUT(trainer_restore(t));
    if (t->folder.dir[0])
        VT_TRY_OUT(run_folder_describe(&t->folder, &t->config, comm, t->be->name, t->be->device_name,
                                       vit_train_flops(&t->data.model)));
    VT_TRY_OUT(comm_agree(comm, step_start_input(t)));
    *out = t;
    return VT_OK;
out:
    trainer_close(&t);
    return status;
}

/* What is freed next may be in flight. A wait for a rank that is gone is ended by the buckets, or the watchdog. The message is the
 * caller's. */
static void let_finish(struct backend *be)
{
    char message[VT_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", status_message());
    vt_status status = be->synchronise(be);
    if (status != VT_OK)
        (void)VT_FAIL(status, "%s", message);
}

void trainer_close(struct trainer **trainer)
{
    struct trainer *t = *trainer;
    if (!t)
        return;
    if (t->be)
        let_finish(t->be);
    watchdog_stop(&t->watchdog);
    loader_close(&t->loader);
    graphs_close(&t->graphs);
    step_clock_close(&t->clock);
    bucket_close(&t->buckets);
    optimizer_close(&t->optimizer);
    if (t->be) {
        struct backend *be = t->be;
        evaluator_close(&t->evaluator);
        vit_close(&t->vit);
        batch_ring_close(&t->ring);
        weights_close(&t->weights);
        if (t->scalars)
            be->release(be, MEMORY_DEVICE, t->scalars);
        if (t->host_scalars)
            be->release(be, MEMORY_HOST, t->host_scalars);
        for (int i = 0; i < 2; i++)
            if (t->scalars_ready[i])
                be->event_free(be, t->scalars_ready[i]);
        if (t->device_comm)
            t->device_comm->close(t->device_comm);
        device_close(&t->device);
    }
    param_table_close(&t->table);
    resolved_close(&t->data);
    run_folder_close(&t->folder);
    free(t);
    *trainer = NULL;
}
