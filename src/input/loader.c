/* How it moves: slots go FREE -> FILLING -> READY -> TAKEN -> FREE. Microbatches have sequence numbers; a worker that
 * finds no rows left to do opens the next sequence on a free slot, then all workers take small ranges of its rows. One
 * mutex guards everything but pixels and the plan of the step (whose one writer holds `planning`). */
#include "input/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/stage.h"
#include "input/row.h"
#include "input/step_plan.h"

enum { CHUNK_ROWS = 16 }; /* most rows taken under one lock: tiny pictures take a microsecond each */

enum slot_phase { SLOT_FREE, SLOT_FILLING, SLOT_READY, SLOT_TAKEN };

struct slot_state {
    enum slot_phase phase;
    int next_row; /* first row no worker has taken yet */
    int pending;  /* rows not finished yet */
    bool substituted;
    vt_status error; /* of the first row that failed */
    int error_row;
    char message[VT_MESSAGE_BYTES];
};

struct worker {
    struct loader *loader;
    pthread_t thread;
    int index;
    struct row_worker row;
};

struct loader {
    struct loader_desc desc;
    struct slot *slots;
    struct slot_state *states;
    int slot_count, capacity, chunk;

    pthread_mutex_t mutex;
    pthread_cond_t work, ready;
    int64_t total, opened, delivered; /* sequence numbers */
    int *slot_of;                     /* [slot_count]: slot of an undelivered sequence, at sequence % slot_count */
    int filling;                      /* slot with rows to take, or -1 */
    bool planning, stopping, failed;
    struct step_plan plan; /* written without the mutex by whoever set `planning` */
    struct bad_list *bad;
    int64_t rows_delivered;

    struct worker *workers;
    int workers_started;
};

static int64_t step_of(const struct loader *loader, int64_t sequence)
{
    return loader->desc.first_step + sequence / loader->plan.micro_count;
}

/* Called with the mutex held; lets it go meanwhile. */
static void make_plan(struct loader *loader)
{
    int64_t step = step_of(loader, loader->opened);
    loader->planning = true;
    pthread_mutex_unlock(&loader->mutex);
    step_plan_make(&loader->plan, step);
    pthread_mutex_lock(&loader->mutex);
    loader->planning = false;
    loader->plan.step = step;
    pthread_cond_broadcast(&loader->work);
}

static int free_slot(const struct loader *loader)
{
    for (int i = 0; i < loader->slot_count; i++)
        if (loader->states[i].phase == SLOT_FREE)
            return i;
    return -1;
}

/* Put the next sequence on a slot: its rows' positions and samples. */
static void open_slot(struct loader *loader, int index)
{
    int64_t sequence = loader->opened++;
    step_plan_place(&loader->plan, (int)(sequence % loader->plan.micro_count), &loader->slots[index]);
    loader->states[index] = (struct slot_state){.phase = SLOT_FILLING, .pending = loader->capacity};
    loader->slot_of[sequence % loader->slot_count] = index;
    loader->filling = index;
    pthread_cond_broadcast(&loader->work);
}

struct row_range {
    int slot, begin, end;
};

static struct row_range take_rows(struct loader *loader)
{
    struct slot_state *state = &loader->states[loader->filling];
    struct row_range range = {
        .slot = loader->filling, .begin = state->next_row, .end = state->next_row + loader->chunk};
    if (range.end >= loader->capacity) {
        range.end = loader->capacity;
        loader->filling = -1;
    }
    state->next_row = range.end;
    return range;
}

struct range_result {
    bool substituted;
    vt_status error;
    int error_row;
};

static struct range_result fill_rows(struct worker *worker, struct row_range range)
{
    struct loader *loader = worker->loader;
    struct slot *slot = &loader->slots[range.slot];
    struct range_result result = {.error = VT_OK};
    stage_set_step(slot->step);
    for (int row = range.begin; row < range.end; row++) {
        if (row >= slot->rows) {
            row_pad(&loader->desc, slot, row);
            continue;
        }
        int64_t dealt = slot->sample[row];
        vt_status status = row_fill(&loader->desc, loader->bad, &worker->row, slot, row);
        result.substituted = result.substituted || slot->sample[row] != dealt;
        if (status != VT_OK) {
            result.error = status;
            result.error_row = row;
            break;
        }
        if (__atomic_load_n(&loader->stopping, __ATOMIC_RELAXED))
            break;
    }
    return result;
}

/* Called with the mutex held; the message of an error is still this thread's. */
static void finish_rows(struct worker *worker, struct row_range range, const struct range_result *result)
{
    struct loader *loader = worker->loader;
    struct slot *slot = &loader->slots[range.slot];
    struct slot_state *state = &loader->states[range.slot];
    slot->read_ms += worker->row.read_ms;
    slot->decode_ms += worker->row.decode_ms;
    slot->augment_ms += worker->row.augment_ms;
    worker->row.read_ms = worker->row.decode_ms = worker->row.augment_ms = 0;
    state->substituted = state->substituted || result->substituted;
    if (result->error != VT_OK && (state->error == VT_OK || result->error_row < state->error_row)) {
        state->error = result->error;
        state->error_row = result->error_row;
        strncpy(state->message, status_message(), sizeof state->message - 1);
        loader->failed = true;
    }
    state->pending -= range.end - range.begin;
    if (state->pending == 0) {
        state->phase = SLOT_READY;
        pthread_cond_signal(&loader->ready);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct loader *loader = worker->loader;
    char name[16]; /* what pthread_setname_np takes */
    snprintf(name, sizeof name, "loader %d", worker->index);
    pthread_setname_np(pthread_self(), name);
    stage_register(name);
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stopping) {
        bool more = loader->opened < loader->total && !loader->failed;
        bool planned = more && loader->plan.step == step_of(loader, loader->opened);
        int free_index;
        if (loader->filling >= 0) {
            struct row_range range = take_rows(loader);
            pthread_mutex_unlock(&loader->mutex);
            struct range_result result = fill_rows(worker, range);
            pthread_mutex_lock(&loader->mutex);
            finish_rows(worker, range, &result);
        } else if (more && !planned && !loader->planning) {
            make_plan(loader);
        } else if (planned && (free_index = free_slot(loader)) >= 0) {
            open_slot(loader, free_index);
        } else {
            stage_enter(STAGE_IDLE);
            pthread_cond_wait(&loader->work, &loader->mutex);
        }
    }
    pthread_mutex_unlock(&loader->mutex);
    stage_unregister();
    return NULL;
}

/* Every id from the dealt one up to the one used was bad. */
static vt_status count_bad(struct loader *loader, const struct slot *slot)
{
    const struct order *order = &loader->desc.order;
    int64_t samples = (int64_t)order->desc.samples, counted = 0;
    for (int row = 0; row < slot->rows; row++)
        for (int64_t id = (int64_t)order_sample(order, slot->position[row]); id != slot->sample[row];
             id = (id + 1) % samples)
            counted = bad_list_count(loader->bad, id);
    if (counted > loader->desc.bad_limit)
        return VT_FAIL(VT_E_FORMAT, "%lld bad samples by step %lld, more than the limit of %lld: verify the dataset",
                       (long long)counted, (long long)slot->step, (long long)loader->desc.bad_limit);
    return VT_OK;
}

/* Called with the mutex held. */
static vt_status deliver(struct loader *loader, int index, struct slot **slot)
{
    struct slot_state *state = &loader->states[index];
    if (state->error != VT_OK)
        return VT_FAIL(state->error, "%s", state->message);
    if (state->substituted)
        VT_TRY(count_bad(loader, &loader->slots[index]));
    state->phase = SLOT_TAKEN;
    loader->delivered++;
    loader->rows_delivered += loader->slots[index].rows;
    *slot = &loader->slots[index];
    return VT_OK;
}

static bool next_is_ready(const struct loader *loader)
{
    return loader->delivered < loader->opened &&
           loader->states[loader->slot_of[loader->delivered % loader->slot_count]].phase == SLOT_READY;
}

vt_status loader_next(struct loader *loader, struct slot **slot)
{
    enum stage before = stage_enter(STAGE_DATA_WAIT);
    vt_status status;
    pthread_mutex_lock(&loader->mutex);
    if (loader->delivered == loader->total) {
        status = VT_FAIL(VT_E_LIMIT, "loader: all %lld steps have been taken", (long long)loader->desc.steps);
    } else {
        while (!next_is_ready(loader))
            pthread_cond_wait(&loader->ready, &loader->mutex);
        status = deliver(loader, loader->slot_of[loader->delivered % loader->slot_count], slot);
    }
    pthread_mutex_unlock(&loader->mutex);
    stage_enter(before);
    return status;
}

void loader_release(struct loader *loader, struct slot *slot)
{
    struct slot_state *state = &loader->states[slot - loader->slots];
    pthread_mutex_lock(&loader->mutex);
    VT_CHECK(slot >= loader->slots && slot < loader->slots + loader->slot_count && state->phase == SLOT_TAKEN);
    state->phase = SLOT_FREE;
    pthread_cond_signal(&loader->work);
    pthread_mutex_unlock(&loader->mutex);
}

void loader_get_stats(struct loader *loader, struct loader_stats *stats)
{
    *stats = (struct loader_stats){.bad_samples = bad_list_counted(loader->bad)};
    pthread_mutex_lock(&loader->mutex);
    stats->rows = loader->rows_delivered;
    for (int i = 0; i < loader->slot_count; i++)
        stats->slots_ready += loader->states[i].phase == SLOT_READY;
    pthread_mutex_unlock(&loader->mutex);
}

static void check_desc(const struct loader_desc *desc, const struct slot *slots, int slot_count)
{
    VT_CHECK(slot_count >= 2 && desc->threads >= 1 && desc->batch >= 1 && desc->steps >= 0);
    VT_CHECK(desc->rank >= 0 && desc->rank < desc->ranks && (desc->lanes == 0 || desc->lanes >= desc->ranks));
    VT_CHECK(desc->image_size >= 1 && (desc->channels == 1 || desc->channels == 3));
    for (int i = 0; i < slot_count; i++)
        VT_CHECK(slots[i].capacity == slots[0].capacity && slots[i].capacity >= 1 && slots[i].labels_per_row >= 1);
    int64_t samples = desc->synthetic_samples;
    if (desc->split) {
        struct dataset_split_info info;
        dataset_split_describe(desc->split, &info);
        samples = info.samples;
    } else {
        VT_CHECK(desc->synthetic_classes >= 1);
    }
    VT_CHECKF((int64_t)desc->order.desc.samples == samples, "the order is of %llu samples, the split has %lld",
              (unsigned long long)desc->order.desc.samples, (long long)samples);
}

/* Signals are the main thread's: workers start with all of them blocked. */
static int start_worker(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static vt_status start_threads(struct loader *loader)
{
    loader->workers = calloc((size_t)loader->desc.threads, sizeof *loader->workers);
    if (!loader->workers)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory for %d threads", loader->desc.threads);
    for (int i = 0; i < loader->desc.threads; i++) {
        struct worker *worker = &loader->workers[i];
        *worker = (struct worker){.loader = loader, .index = i};
        VT_TRY(row_worker_init(&worker->row));
    }
    for (int i = 0; i < loader->desc.threads; i++) {
        int error = start_worker(&loader->workers[i]);
        if (error)
            return VT_FAIL(VT_E_IO, "loader: cannot start thread %d of %d: %s", i + 1, loader->desc.threads,
                           strerror(error));
        loader->workers_started++;
    }
    return VT_OK;
}

static vt_status allocate(struct loader *loader)
{
    int64_t limit = loader->desc.bad_limit;
    loader->states = calloc((size_t)loader->slot_count, sizeof *loader->states);
    loader->slot_of = calloc((size_t)loader->slot_count, sizeof *loader->slot_of);
    if (!loader->states || !loader->slot_of)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory for %d slots", loader->slot_count);
    /* Past the limit there is room for what threads meet before the microbatch that breaks it is handed out. */
    VT_TRY(bad_list_new(limit + 1 + (int64_t)loader->slot_count * loader->capacity, &loader->bad));
    return step_plan_init(&loader->plan, &loader->desc, loader->capacity);
}

vt_status loader_open(const struct loader_desc *desc, struct slot *slots, int slot_count, struct loader **out)
{
    *out = NULL;
    check_desc(desc, slots, slot_count);
    VT_TRY(augment_check(&desc->augment, desc->image_size));
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory");
    loader->desc = *desc;
    loader->slots = slots;
    loader->slot_count = slot_count;
    loader->capacity = slots[0].capacity;
    loader->filling = -1;
    int chunk = loader->capacity / (8 * desc->threads);
    loader->chunk = chunk < 1 ? 1 : chunk < CHUNK_ROWS ? chunk : CHUNK_ROWS;
    if (desc->bad_limit == 0)
        loader->desc.bad_limit = desc->order.desc.samples > 320000 ? (int64_t)(desc->order.desc.samples / 10000) : 32;
    if ((uint64_t)loader->desc.bad_limit > desc->order.desc.samples)
        loader->desc.bad_limit = (int64_t)desc->order.desc.samples; /* there are no more to list */
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    vt_status status;
    VT_TRY_OUT(allocate(loader));
    loader->total = desc->steps * loader->plan.micro_count;
    VT_TRY_OUT(start_threads(loader));
    *out = loader;
    loader = NULL;
out:
    loader_close(&loader);
    return status;
}

void loader_close(struct loader **loader)
{
    struct loader *closing = *loader;
    if (!closing)
        return;
    pthread_mutex_lock(&closing->mutex);
    __atomic_store_n(&closing->stopping, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&closing->work);
    pthread_mutex_unlock(&closing->mutex);
    for (int i = 0; i < closing->workers_started; i++)
        pthread_join(closing->workers[i].thread, NULL);
    for (int i = 0; closing->workers && i < closing->desc.threads; i++)
        row_worker_deinit(&closing->workers[i].row);
    step_plan_deinit(&closing->plan);
    bad_list_free(&closing->bad);
    pthread_cond_destroy(&closing->ready);
    pthread_cond_destroy(&closing->work);
    pthread_mutex_destroy(&closing->mutex);
    free(closing->workers);
    free(closing->slot_of);
    free(closing->states);
    free(closing);
    *loader = NULL;
}
