/* Timing for benches on a machine that others share: runs of the candidates are interleaved, and of the rounds the
 * lower quartile counts. With one thread it is this thread's CPU time, which time slices given to others do not enter.
 */
#ifndef VT_BENCH_H
#define VT_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { BENCH_ROUNDS = 15, BENCH_MAX = 8 };

struct bench_entry {
    void (*run)(void *context);
    void *context;
    double seconds; /* result: of one run */
};

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double bench_seconds(bool cpu_time)
{
    struct timespec now;
    clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline double bench_once(const struct bench_entry *entry, int repeats, bool cpu_time)
{
    double start = bench_seconds(cpu_time);
    for (int i = 0; i < repeats; i++)
        entry->run(entry->context);
    return (bench_seconds(cpu_time) - start) / repeats;
}

/* About `budget` seconds an entry over all rounds. */
static inline void bench_interleaved(struct bench_entry *entries, int count, double budget, bool cpu_time)
{
    double samples[BENCH_MAX][BENCH_ROUNDS];
    int repeats[BENCH_MAX];
    for (int e = 0; e < count; e++) {
        bench_once(&entries[e], 1, cpu_time);
        double one = bench_once(&entries[e], 2, cpu_time);
        repeats[e] = (int)(budget / BENCH_ROUNDS / one) + 1;
    }
    for (int round = 0; round < BENCH_ROUNDS; round++)
        for (int e = 0; e < count; e++)
            samples[e][round] = bench_once(&entries[e], repeats[e], cpu_time);
    for (int e = 0; e < count; e++) {
        qsort(samples[e], BENCH_ROUNDS, sizeof(double), bench_compare);
        entries[e].seconds = samples[e][BENCH_ROUNDS / 4];
    }
}

#endif
