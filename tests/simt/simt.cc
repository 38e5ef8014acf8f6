/* The machine: blocks one after another, a block's threads as fibers that change where they wait. */
#include "simt.h"

#include "fiber.h"
#include "race.h"

#include <stdarg.h>
#include <stdio.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace simt
{
uint3 thread_index, block_index;
dim3 block_size, grid_size;

enum { SHARED_LIMIT = 227 * 1024, STATIC_LIMIT = 48 * 1024, POISON = 0xFF };
enum state { READY, AT_BLOCK, AT_WARP, ENDED };

struct copy {
    void *to;
    const void *from;
    size_t copy_bytes, zero_bytes;
};

struct thread {
    fiber *run;
    enum state state;
    uint3 index;
    place where; /* AT_*: the call it waits in */
    const char *what;
    /* AT_WARP */
    warp_operation *operation;
    unsigned mask;
    int argument;
    words in, out;
    std::vector<std::vector<copy>> groups; /* committed copies, oldest first */
    std::vector<copy> open_group;
};

struct array {
    const void *key;
    void *memory;
    size_t bytes;
};

static struct {
    const char *kernel;
    const std::function<void()> *body;
    unsigned count;   /* threads of a block */
    unsigned waiting; /* of them, AT_BLOCK */
    unsigned current;
    void *dynamic;
    size_t dynamic_bytes;
    bool failed, throws, running;
    char message[600];
    enum order order;
    uint64_t random;
} machine;
static std::vector<thread *> threads;
static std::vector<array> arrays;

/* ---- errors ---- */

void error(const char *format, ...)
{
    const thread *t = threads.empty() ? nullptr : threads[machine.current];
    va_list arguments;
    va_start(arguments, format);
    int used = snprintf(machine.message, sizeof machine.message, "simt: %s", machine.kernel);
    if (machine.running && t)
        used += snprintf(machine.message + used, sizeof machine.message - (size_t)used,
                         ", block (%u,%u,%u), thread (%u,%u,%u)", block_index.x, block_index.y, block_index.z,
                         t->index.x, t->index.y, t->index.z);
    used += snprintf(machine.message + used, sizeof machine.message - (size_t)used, ": ");
    vsnprintf(machine.message + used, sizeof machine.message - (size_t)used, format, arguments);
    va_end(arguments);
    if (!machine.throws) {
        fprintf(stderr, "%s\n", machine.message);
        abort();
    }
    if (!machine.running)
        throw std::runtime_error(machine.message);
    machine.failed = true;
    fiber_leave(threads[machine.current]->run); /* and never comes back */
    abort();
}

void catch_errors(bool on)
{
    machine.throws = on;
}

/* ---- turns ---- */

void set_order(enum order order)
{
    machine.order = order;
}

static unsigned random_below(unsigned n)
{
    machine.random = machine.random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((machine.random >> 33) % n);
}

/* The order of `count` things' turns. */
static std::vector<unsigned> turns(unsigned count)
{
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++)
        order[i] = machine.order == REVERSE ? count - 1 - i : i;
    for (unsigned i = count; machine.order == RANDOM && i > 1; i--)
        std::swap(order[i - 1], order[random_below(i)]);
    return order;
}

static void yield()
{
    fiber_leave(threads[machine.current]->run);
}

static void thread_main()
{
    (*machine.body)();
    thread *t = threads[machine.current];
    if (!t->open_group.empty())
        error("ends with asynchronous copies that were never waited for");
    for (const std::vector<copy> &group : t->groups)
        if (!group.empty())
            error("ends with asynchronous copies that were never waited for");
    t->state = ENDED;
    yield();
    abort();
}

static void resume(unsigned i)
{
    machine.current = i;
    thread_index = threads[i]->index;
    race_thread(i, fiber_stack(threads[i]->run), FIBER_STACK_BYTES);
    fiber_enter(threads[i]->run);
    race_pause();
}

/* ---- barriers and warp operations ---- */

void sync_block(place where)
{
    thread *own = threads[machine.current];
    own->where = where;
    own->what = "__syncthreads";
    own->state = AT_BLOCK;
    if (++machine.waiting == machine.count) {
        for (unsigned i = 0; i < machine.count; i++) {
            if (threads[i]->where.line != where.line || strcmp(threads[i]->where.file, where.file) != 0)
                error("divergent barrier: waits at %s:%d, thread %u of the block at %s:%d", where.file, where.line, i,
                      threads[i]->where.file, threads[i]->where.line);
            threads[i]->state = READY;
        }
        machine.waiting = 0;
        race_block_barrier();
        return;
    }
    yield();
}

unsigned lane()
{
    return machine.current % WARP;
}

static void check_mate(const thread *own, unsigned i)
{
    if (i >= machine.count)
        error("%s at %s:%d names lane %u, which this warp has not", own->what, own->where.file, own->where.line,
              i % WARP);
    const thread *mate = threads[i];
    if (mate->state == ENDED)
        error("%s at %s:%d names lane %u, which has left the kernel", own->what, own->where.file, own->where.line,
              i % WARP);
}

/* All lanes of the mask wait in this same operation. */
static bool complete(const thread *own, unsigned first)
{
    for (unsigned l = 0; l < WARP; l++) {
        if (!(own->mask >> l & 1))
            continue;
        check_mate(own, first + l);
        const thread *mate = threads[first + l];
        if (mate->state != AT_WARP || mate->mask != own->mask)
            return false;
        if (mate->operation != own->operation || mate->where.line != own->where.line)
            error("divergent warp: %s at %s:%d meets lane %u in %s at %s:%d", own->what, own->where.file,
                  own->where.line, l, mate->what, mate->where.file, mate->where.line);
    }
    return true;
}

void sync_warp(const char *what, unsigned mask, warp_operation *operation, int argument, const words &in, words &out,
               place where)
{
    static words all_in[WARP], all_out[WARP];
    static int arguments[WARP];
    thread *own = threads[machine.current];
    unsigned first = machine.current / WARP * WARP;
    own->what = what;
    own->where = where;
    own->operation = operation;
    own->mask = mask;
    own->argument = argument;
    own->in = in;
    own->state = AT_WARP;
    if (!(mask >> lane() & 1))
        error("%s at %s:%d: the mask %08x leaves out the calling lane", what, where.file, where.line, mask);
    if (!complete(own, first)) {
        yield();
        out = own->out;
        return;
    }
    for (unsigned l = 0; l < WARP; l++)
        if (mask >> l & 1) {
            all_in[l] = threads[first + l]->in;
            arguments[l] = threads[first + l]->argument;
        }
    operation(mask, all_in, arguments, all_out);
    if (strcmp(what, "__syncwarp") == 0)
        race_warp_barrier(first / WARP);
    for (unsigned l = 0; l < WARP; l++)
        if (mask >> l & 1) {
            threads[first + l]->out = all_out[l];
            threads[first + l]->state = READY;
        }
    out = own->out;
}

void exchange(unsigned mask, const words in[WARP], const int source[WARP], words out[WARP])
{
    for (unsigned l = 0; l < WARP; l++) {
        if (!(mask >> l & 1))
            continue;
        if (source[l] < 0 || source[l] >= WARP || !(mask >> source[l] & 1))
            error("lane %u reads lane %d, which is not in the mask %08x", l, source[l], mask);
        out[l] = in[source[l]];
    }
}

void vote(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP])
{
    (void)in;
    uint64_t ballot = 0;
    for (unsigned l = 0; l < WARP; l++)
        ballot |= (uint64_t)(mask >> l & 1 && argument[l]) << l;
    for (unsigned l = 0; l < WARP; l++)
        out[l].word[0] = ballot;
}

/* ---- shared memory: exact allocations per block, so that ASan sees their ends ---- */

static void *poisoned(size_t bytes)
{
    void *memory;
    if (posix_memalign(&memory, 128, bytes ? bytes : 1) != 0)
        error("no memory for %zu bytes of shared memory", bytes);
    memset(memory, POISON, bytes);
    return memory;
}

void *shared_array(const void *key, size_t bytes)
{
    size_t total = bytes;
    for (const array &a : arrays) {
        if (a.key == key)
            return a.memory;
        total += a.bytes;
    }
    if (total > STATIC_LIMIT || total + machine.dynamic_bytes > SHARED_LIMIT)
        error("%zu bytes of static and %zu of dynamic shared memory: more than a GPU has", total,
              machine.dynamic_bytes);
    arrays.push_back({key, poisoned(bytes), bytes});
    race_shared(arrays.back().memory, bytes);
    return arrays.back().memory;
}

void *shared_dynamic()
{
    return machine.dynamic;
}

static void shared_close()
{
    for (const array &a : arrays)
        free(a.memory);
    arrays.clear();
    free(machine.dynamic);
    machine.dynamic = nullptr;
}

/* ---- asynchronous copies: nothing moves before the wait ---- */

void copy_async(void *to, const void *from, size_t copy_bytes, size_t zero_bytes)
{
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        error("an asynchronous copy from %p to %p: not 16-byte aligned", from, to);
    race_read(from, copy_bytes);
    race_copy_starts(to, copy_bytes + zero_bytes);
    threads[machine.current]->open_group.push_back({to, from, copy_bytes, zero_bytes});
}

void copy_commit()
{
    thread *own = threads[machine.current];
    own->groups.push_back(own->open_group);
    own->open_group.clear();
}

void copy_wait(int pending)
{
    thread *own = threads[machine.current];
    while ((int)own->groups.size() > pending) {
        for (const copy &c : own->groups.front()) {
            for (size_t i = 0; i < c.copy_bytes; i++) /* by hand: ASan looks at each byte */
                ((volatile char *)c.to)[i] = ((const volatile char *)c.from)[i];
            for (size_t i = 0; i < c.zero_bytes; i++)
                ((volatile char *)c.to)[c.copy_bytes + i] = 0;
            race_copy_ends(c.to, c.copy_bytes + c.zero_bytes);
        }
        own->groups.erase(own->groups.begin());
    }
}

/* ---- grids ---- */

static void check_launch(dim3 grid, dim3 block, size_t shared_bytes)
{
    uint64_t count = (uint64_t)block.x * block.y * block.z;
    if (count == 0 || count > MAX_THREADS || block.z > 64)
        error("launched with blocks of (%u,%u,%u) threads", block.x, block.y, block.z);
    if (grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535)
        error("launched with a grid of (%u,%u,%u) blocks", grid.x, grid.y, grid.z);
    if (shared_bytes > SHARED_LIMIT)
        error("launched with %zu bytes of shared memory", shared_bytes);
}

static void start_block(uint64_t number)
{
    block_index = {(unsigned)(number % grid_size.x), (unsigned)(number / grid_size.x % grid_size.y),
                   (unsigned)(number / grid_size.x / grid_size.y)};
    machine.waiting = 0;
    machine.dynamic = poisoned(machine.dynamic_bytes);
    race_block(number);
    race_shared(machine.dynamic, machine.dynamic_bytes);
    for (unsigned i = 0; i < machine.count; i++) {
        thread *t = threads[i];
        fiber_reset(t->run, t->state != ENDED);
        t->state = READY;
        t->groups.clear();
        t->open_group.clear();
        t->index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
    }
}

/* Nothing can run, and something still waits: say who waits where, and who is missing. */
static void deadlock()
{
    const thread *waits = nullptr;
    unsigned ended = 0, at_block = 0, at_warp = 0, who = 0;
    for (unsigned i = 0; i < machine.count; i++) {
        const thread *t = threads[i];
        ended += t->state == ENDED;
        at_block += t->state == AT_BLOCK;
        at_warp += t->state == AT_WARP;
        if (t->state != ENDED && (!waits || t->state == AT_WARP)) {
            waits = t;
            who = i;
        }
    }
    machine.current = who;
    error(
        "waits for ever in %s at %s:%d: %u threads of the block wait at a barrier, %u in warp operations, %u have left",
        waits->what, waits->where.file, waits->where.line, at_block, at_warp, ended);
}

/* The turns of a warp's threads; false when none could run. In a random order one turn each, so that warps keep pace;
 * else as many as they can take before another warp runs, so that what is not yet there is missed. */
static bool run_warp(unsigned warp, const std::vector<unsigned> &lanes)
{
    bool moved = false, again;
    do {
        again = false;
        for (unsigned lane : lanes) {
            unsigned i = warp * WARP + lane;
            if (i >= machine.count || threads[i]->state != READY)
                continue;
            resume(i);
            if (machine.failed)
                return true;
            again = moved = true;
        }
    } while (again && machine.order != RANDOM);
    return moved;
}

static void run_block(uint64_t number)
{
    std::vector<unsigned> warps = turns((machine.count + WARP - 1) / WARP), lanes = turns(WARP);
    start_block(number);
    for (unsigned ended = 0; ended < machine.count;) {
        bool moved = false;
        for (unsigned warp : warps) {
            moved |= run_warp(warp, lanes);
            if (machine.failed)
                return;
        }
        ended = 0;
        for (unsigned i = 0; i < machine.count; i++)
            ended += threads[i]->state == ENDED;
        if (!moved && ended < machine.count) {
            machine.running = false;
            deadlock();
        }
    }
}

static void choose_order()
{
    static bool done;
    const char *wish = getenv("SIMT_ORDER");
    if (!done && wish)
        machine.order = strcmp(wish, "reverse") == 0 ? REVERSE : strcmp(wish, "random") == 0 ? RANDOM : FORWARD;
    done = true;
}

void launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body)
{
    choose_order();
    race_launch();
    machine.kernel = name;
    machine.running = machine.failed = false;
    check_launch(grid, block, shared_bytes);
    machine.body = &body;
    machine.count = block.x * block.y * block.z;
    machine.dynamic_bytes = shared_bytes;
    grid_size = grid;
    block_size = block;
    while (threads.size() < machine.count) {
        threads.push_back(new thread());
        threads.back()->run = fiber_new(thread_main);
    }
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    std::vector<unsigned> order = turns((unsigned)blocks);
    for (uint64_t i = 0; i < blocks && !machine.failed; i++) {
        machine.running = true;
        struct closer {
            ~closer() { shared_close(); }
        } close_shared;
        run_block(order[i]);
    }
    machine.running = false;
    if (machine.failed)
        throw std::runtime_error(machine.message);
}

static deferrer *defer;

void set_deferrer(deferrer *to)
{
    defer = to;
}

void launch_on(void *stream, const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread)
{
    if (!defer)
        return launch(name, grid, block, shared_bytes, thread);
    machine.kernel = name;
    check_launch(grid, block, shared_bytes);
    defer(stream, name, [=] { launch(name, grid, block, shared_bytes, thread); });
}
} // namespace simt
