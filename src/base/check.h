/* VT_CHECK: we are wrong. A broken invariant of our own code aborts, in release too, with rank, file and line. */
#ifndef VT_BASE_CHECK_H
#define VT_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define VT_CHECK(condition)                                                                                            \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0))                                                                         \
            check_failed(__FILE__, __LINE__, #condition, " ");                                                         \
    } while (0)

#define VT_CHECKF(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0))                                                                         \
            check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                                 \
    } while (0)

#endif
