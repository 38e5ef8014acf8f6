/* What was last done to each place, by whom, between which barriers. */
#include "race.h"

#include <stdlib.h>
#include <string.h>

#include <unordered_map>
#include <vector>

#include "simt.h"

namespace simt
{
enum { CELL = 2, PAGE = 4096, CELLS = PAGE / CELL, WARPS = MAX_THREADS / WARP, WHOLE_WARP = 0x8000 };

struct stamp { /* an access; launch 0: none */
    uint32_t launch, epoch, warp_epoch;
    uint32_t block;
    uint32_t thread; /* or WHOLE_WARP + its warp */
    const void *code;
};
struct cell { /* bf16 is the smallest thing kernels write */
    stamp write, read[2];
    uint32_t copy_launch, copy_block; /* of the copy under way */
};
struct page {
    cell cells[CELLS];
};
struct range {
    uintptr_t begin, end;
};

static struct {
    bool on;
    stamp now;
    range stack;
    uint32_t warp_epochs[WARPS];
    std::vector<range> shared;
    uintptr_t page_number;
    page *page_at;
} state;
static std::unordered_map<uintptr_t, page *> pages;

void race_launch()
{
    state.now.launch++;
    state.now.block = 0;
}

void race_block(uint64_t number)
{
    state.now.block = (uint32_t)number;
    state.now.epoch = 0;
    memset(state.warp_epochs, 0, sizeof state.warp_epochs);
    state.shared.clear();
}

void race_shared(const void *memory, size_t bytes)
{
    state.shared.push_back({(uintptr_t)memory, (uintptr_t)memory + bytes});
}

void race_thread(unsigned thread, const void *stack, size_t stack_bytes)
{
    state.now.thread = thread;
    state.stack = {(uintptr_t)stack, (uintptr_t)stack + stack_bytes};
    state.on = true;
}

void race_pause()
{
    state.on = false;
}

void race_block_barrier()
{
    state.now.epoch++;
}

void race_warp_barrier(unsigned warp)
{
    state.warp_epochs[warp]++;
}

static cell *cell_at(uintptr_t at)
{
    uintptr_t number = at / PAGE;
    if (!state.page_at || number != state.page_number) {
        page *&found = pages[number];
        if (!found)
            found = (page *)calloc(1, sizeof(page)); /* for good: the process is short */
        state.page_at = found;
        state.page_number = number;
    }
    return &state.page_at->cells[at % PAGE / CELL];
}

static unsigned warp_of(const stamp &s)
{
    return s.thread & WHOLE_WARP ? s.thread - WHOLE_WARP : s.thread / WARP;
}

static bool is_shared(uintptr_t at)
{
    for (const range &r : state.shared)
        if (at >= r.begin && at < r.end)
            return true;
    return false;
}

/* Whether everything before the current access sees `before` done. */
static bool ordered(const stamp &before, const stamp &now, uintptr_t at)
{
    if (before.launch != now.launch)
        return true;
    if (before.block != now.block)
        return is_shared(at); /* each block's shared memory is another, though it may lie in the same place */
    if (before.thread == now.thread || before.epoch < now.epoch)
        return true;
    if (warp_of(before) != warp_of(now))
        return false;
    /* What a warp does as one is before all that its lanes do next. */
    return before.warp_epoch < now.warp_epoch || (before.thread & WHOLE_WARP);
}

static void say(const char *what, const stamp &now, const char *how, const stamp &before, uintptr_t at)
{
    const bool shared = is_shared(at);
    state.on = false;
    error("race: %s %s memory at %p (code %p), which block %u, thread %u %s (code %p) with no barrier between", what,
          shared ? "shared" : "global", (void *)at, now.code, before.block,
          before.thread & WHOLE_WARP ? (before.thread - WHOLE_WARP) * WARP : before.thread, how, before.code);
}

static void keep_read(cell *c, const stamp &now, uintptr_t at)
{
    for (stamp &r : c->read)
        if (ordered(r, now, at)) {
            r = now;
            return;
        }
    if (warp_of(c->read[0]) == warp_of(c->read[1])) /* two of different warps say more */
        c->read[1] = now;
}

static void access(const void *address, size_t bytes, bool write, uint32_t thread, const void *code)
{
    const uintptr_t begin = (uintptr_t)address;
    if (!state.on || (begin >= state.stack.begin && begin < state.stack.end))
        return;
    stamp now = state.now;
    now.thread = thread;
    now.code = code;
    now.warp_epoch = state.warp_epochs[warp_of(now)];
    for (uintptr_t at = begin / CELL * CELL; at < begin + bytes; at += CELL) {
        cell *c = cell_at(at);
        if (c->copy_launch == now.launch && c->copy_block == now.block)
            say(write ? "writes" : "reads", now, "is copying to", c->write, at);
        if (!ordered(c->write, now, at))
            say(write ? "writes" : "reads", now, "wrote", c->write, at);
        if (!write) {
            keep_read(c, now, at);
            continue;
        }
        for (const stamp &r : c->read)
            if (!ordered(r, now, at))
                say("writes", now, "read", r, at);
        c->write = now;
    }
}

void race_read(const void *at, size_t bytes)
{
    access(at, bytes, false, state.now.thread, __builtin_return_address(0));
}

void race_warp_read(const void *at, size_t bytes)
{
    access(at, bytes, false, WHOLE_WARP + state.now.thread / WARP, __builtin_return_address(0));
}

static void set_copy(const void *to, size_t bytes, uint32_t launch)
{
    for (uintptr_t at = (uintptr_t)to; at < (uintptr_t)to + bytes; at += CELL) {
        cell *c = cell_at(at);
        c->copy_launch = launch;
        c->copy_block = state.now.block;
    }
}

void race_copy_starts(const void *to, size_t bytes)
{
    access(to, bytes, true, state.now.thread, __builtin_return_address(0));
    set_copy(to, bytes, state.now.launch);
}

void race_copy_ends(const void *to, size_t bytes)
{
    set_copy(to, bytes, 0);
    access(to, bytes, true, state.now.thread, __builtin_return_address(0));
}
} // namespace simt

/* ---- what the compiler calls ---- */

using simt::access;
using simt::state;

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
#define HOOKS(bytes)                                                                                                   \
    void __tsan_read##bytes(void *at)                                                                                  \
    {                                                                                                                  \
        access(at, bytes, false, state.now.thread, __builtin_return_address(0));                                       \
    }                                                                                                                  \
    void __tsan_write##bytes(void *at)                                                                                 \
    {                                                                                                                  \
        access(at, bytes, true, state.now.thread, __builtin_return_address(0));                                        \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(void *at)                                                                        \
    {                                                                                                                  \
        access(at, bytes, false, state.now.thread, __builtin_return_address(0));                                       \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(void *at)                                                                       \
    {                                                                                                                  \
        access(at, bytes, true, state.now.thread, __builtin_return_address(0));                                        \
    }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *at, unsigned long bytes)
{
    access(at, bytes, false, state.now.thread, __builtin_return_address(0));
}
void __tsan_write_range(void *at, unsigned long bytes)
{
    access(at, bytes, true, state.now.thread, __builtin_return_address(0));
}
}
