/* Finds races: of two accesses to one place of shared or global memory by different threads, one of them a write, a barrier must
 * stand between; between blocks none can. The kernels are compiled with -fsanitize=thread, whose calls (__tsan_read4 and so on)
 * come here instead of to its library; the machine tells the rest. Without SIMT_RACES all of this is nothing. */
#ifndef VT_TESTS_SIMT_RACE_H
#define VT_TESTS_SIMT_RACE_H

#include <stddef.h>
#include <stdint.h>

namespace simt
{
#ifdef SIMT_RACES
void race_launch();
void race_block(uint64_t number);
void race_shared(const void *memory, size_t bytes); /* of the block */
/* The thread whose accesses come next, and its stack, which is its own affair; no accesses count after race_pause. */
void race_thread(unsigned thread, const void *stack, size_t stack_bytes);
void race_pause();
void race_block_barrier();
void race_warp_barrier(unsigned warp); /* __syncwarp; shuffles and matrix operations order no memory */
void race_read(const void *at, size_t bytes);
void race_warp_read(const void *at, size_t bytes); /* by all of the current thread's warp at once */
/* An asynchronous copy may write from when it starts until its wait is over. */
void race_copy_starts(const void *to, size_t bytes);
void race_copy_ends(const void *to, size_t bytes);
#else
inline void race_launch() {}
inline void race_block(uint64_t) {}
inline void race_shared(const void *, size_t) {}
inline void race_thread(unsigned, const void *, size_t) {}
inline void race_pause() {}
inline void race_block_barrier() {}
inline void race_warp_barrier(unsigned) {}
inline void race_read(const void *, size_t) {}
inline void race_warp_read(const void *, size_t) {}
inline void race_copy_starts(const void *, size_t) {}
inline void race_copy_ends(const void *, size_t) {}
#endif
} // namespace simt

#endif
