/* Fibers: stacks that one thread switches between. Hand-rolled on x86-64 (a switch takes nanoseconds), ucontext
 * elsewhere. */
#ifndef VT_TESTS_SIMT_FIBER_H
#define VT_TESTS_SIMT_FIBER_H

#include <stddef.h>

namespace simt
{
struct fiber;
enum { FIBER_STACK_BYTES = 256 * 1024 };
/* A fiber that runs entry() when first switched to; entry must not return. Its stack ends at a guard page. */
fiber *fiber_new(void (*entry)());
/* Start again at entry. What it was doing is forgotten; `abandoned`: it was not at its end. */
void fiber_reset(fiber *f, bool abandoned);
/* Its stack's lowest byte; FIBER_STACK_BYTES. */
const void *fiber_stack(const fiber *f);
/* From the host's stack into a fiber, and back; the return happens where the other side's call stood. */
void fiber_enter(fiber *f);
void fiber_leave(fiber *f);
} // namespace simt

#endif
