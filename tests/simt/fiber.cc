#include "fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt
{
enum { STACK_BYTES = FIBER_STACK_BYTES, OUTER_FRAMES_BYTES = 4096, SAVED_REGISTERS = 6 };

struct context {
    void *stack_pointer; /* x86-64 */
    ucontext_t saved;    /* elsewhere */
};
struct fiber {
    void (*entry)();
    char *stack; /* lowest usable byte */
    context own, host;
};

#ifdef WITH_ASAN
static const void *host_stack; /* as ASan told us */
static size_t host_stack_bytes;
#endif
static fiber *starting;

#ifdef __x86_64__
extern "C" void simt_fiber_switch(void **from, void *to);
asm(R"(
.text
.globl simt_fiber_switch
.hidden simt_fiber_switch
.type simt_fiber_switch, @function
simt_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size simt_fiber_switch, . - simt_fiber_switch
)");
#endif

static void begin()
{
    fiber *f = starting;
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &host_stack, &host_stack_bytes);
#endif
    f->entry();
    abort();
}

void fiber_reset(fiber *f, bool abandoned)
{
#ifdef WITH_ASAN
    size_t marked = abandoned ? STACK_BYTES : OUTER_FRAMES_BYTES; /* by frames that never returned */
    ASAN_UNPOISON_MEMORY_REGION(f->stack + STACK_BYTES - marked, marked);
#else
    (void)abandoned;
#endif
#ifdef WITH_ASAN
    /* The frames it was left in never return to take their redzones away. */
    __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
#ifdef __x86_64__
    /* What the first switch pops: six registers and begin's address, 16-byte aligned as after a call. */
    uintptr_t top = ((uintptr_t)f->stack + STACK_BYTES - 64) & ~(uintptr_t)15;
    *(void (**)())top = begin;
    f->own.stack_pointer = (void *)(top - SAVED_REGISTERS * sizeof(void *));
#else
    getcontext(&f->own.saved);
    f->own.saved.uc_stack.ss_sp = f->stack;
    f->own.saved.uc_stack.ss_size = STACK_BYTES;
    f->own.saved.uc_link = nullptr;
    makecontext(&f->own.saved, begin, 0);
#endif
}

fiber *fiber_new(void (*entry)())
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *map =
        mmap(nullptr, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) != 0) {
        perror("simt: no memory for a fiber");
        abort();
    }
    fiber *f = new fiber();
    f->entry = entry;
    f->stack = (char *)map + page;
    fiber_reset(f, false);
    return f;
}

const void *fiber_stack(const fiber *f)
{
    return f->stack;
}

static void change(context *from, context *to)
{
#ifdef __x86_64__
    simt_fiber_switch(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->saved, &to->saved);
#endif
}

void fiber_enter(fiber *f)
{
    starting = f;
#ifdef WITH_ASAN
    void *fake;
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK_BYTES);
    change(&f->host, &f->own);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    change(&f->host, &f->own);
#endif
}

void fiber_leave(fiber *f)
{
#ifdef WITH_ASAN
    void *fake;
    __sanitizer_start_switch_fiber(&fake, host_stack, host_stack_bytes);
    change(&f->own, &f->host);
    __sanitizer_finish_switch_fiber(fake, &host_stack, &host_stack_bytes);
#else
    change(&f->own, &f->host);
#endif
}
} // namespace simt
