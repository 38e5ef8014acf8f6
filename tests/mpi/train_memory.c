/* Memory of a training run.
 *   train_memory step CONFIG [key=value ...]   no allocation by vitrail's own code inside steps 5 to 500; resident memory flat
 *                                              from step 100 to step 500
 *   train_memory leak|allocate CONFIG          the same with a fault of ours in every step: must fail
 *   train_memory loop CONFIG [key=value ...]   resident memory flat from a fifth of a whole run to its end
 *   train_memory plan CONFIG [key=value ...]   the plan's total against what one step really took
 * Linked with --wrap of the allocation functions: calls of vitrail's objects come here first, those of shared libraries (MPI,
 * oneDNN, libgomp, libjpeg) do not. */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/run_config.h"
#include "rank_check.h"
#include "telemetry/metrics.h"
#include "train/trainer.h"

enum { FIRST_STEP = 5, EARLY_STEP = 100, LAST_STEP = 500, FLAT_KIB = 512, LEAK_BYTES = 4096 };

extern const char __executable_start[];
static atomic_bool armed;
static atomic_int caught;
static long rss_early, rss_last;
static int64_t early_step;

static void note(const char *what, size_t bytes, const void *from)
{
    if (!atomic_load(&armed))
        return;
    char line[160]; /* printf may allocate: not yet */
    atomic_fetch_add(&caught, 1);
    int length = snprintf(line, sizeof line, "rank %d: %s of %zu bytes inside a step, called at %#zx of the executable\n",
                          world->rank, what, bytes, (size_t)((const char *)from - __executable_start));
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}

#define FROM __builtin_return_address(0)
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__wrap_malloc(size_t bytes)
{
    note("malloc", bytes, FROM);
    return __real_malloc(bytes);
}
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_calloc(size_t count, size_t bytes)
{
    note("calloc", count * bytes, FROM);
    return __real_calloc(count, bytes);
}
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_realloc(void *old, size_t bytes)
{
    note("realloc", bytes, FROM);
    return __real_realloc(old, bytes);
}
void __real_free(void *);
void __wrap_free(void *);
void __wrap_free(void *old)
{
    if (old)
        note("free", 0, FROM);
    __real_free(old);
}
void *__real_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    note("aligned_alloc", bytes, FROM);
    return __real_aligned_alloc(alignment, bytes);
}
int __real_posix_memalign(void **, size_t, size_t);
int __wrap_posix_memalign(void **, size_t, size_t);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    note("posix_memalign", bytes, FROM);
    return __real_posix_memalign(out, alignment, bytes);
}
char *__real_strdup(const char *);
char *__wrap_strdup(const char *);
char *__wrap_strdup(const char *text)
{
    note("strdup", strlen(text), FROM);
    return __real_strdup(text);
}
char *__real_strndup(const char *, size_t);
char *__wrap_strndup(const char *, size_t);
char *__wrap_strndup(const char *text, size_t most)
{
    note("strndup", most, FROM);
    return __real_strndup(text, most);
}
void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    note("mmap", bytes, FROM);
    return __real_mmap(at, bytes, protection, flags, fd, offset);
}

/* KiB of a line of /proc/self/status. */
static long status_kib(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    REQUIRE(file);
    while (value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value = atol(line + strlen(name) + 1);
    fclose(file);
    return value;
}

vt_status __real_metrics_write(struct metrics *, int64_t, int64_t, double, const struct metric *, int);
vt_status __wrap_metrics_write(struct metrics *, int64_t, int64_t, double, const struct metric *, int);
/* One a step with run.log_every=1, on every rank. */
vt_status __wrap_metrics_write(struct metrics *metrics, int64_t step, int64_t images, double epoch, const struct metric *values,
                               int count)
{
    rss_last = status_kib("VmRSS");
    if (step <= early_step)
        rss_early = rss_last;
    return __real_metrics_write(metrics, step, images, epoch, values, count);
}

static struct trainer *open_trainer(int argc, char **argv, bool run_folder)
{
    static struct run_config config;
    struct trainer *t = NULL;
    REQUIRE_OK(run_config_load(argv[2], (const char *const *)argv + 3, argc - 3, &config));
    const struct trainer_desc desc = {.config = &config, .run_folder = run_folder};
    REQUIRE_OK(trainer_open(&desc, world, &t));
    return t;
}

enum fault { FAULT_NONE, FAULT_LEAK, FAULT_ALLOCATE };

/* 4 KiB a step are lost unseen by the net, and freed at once under its eyes: what each check alone must catch. */
static void commit_fault(enum fault fault)
{
    if (fault == FAULT_LEAK)
        memset(__real_malloc(LEAK_BYTES), 1, LEAK_BYTES);
    else if (fault == FAULT_ALLOCATE)
        free(strdup("x"));
}

static int test_step(int argc, char **argv, enum fault fault)
{
    struct trainer *t = open_trainer(argc, argv, false);
    struct step_result done;
    long early = 0;
    for (int step = 1; step <= LAST_STEP; step++) {
        if (step == FIRST_STEP) {
            REQUIRE_OK(world->barrier(world));
            atomic_store(&armed, true);
        }
        commit_fault(fault);
        REQUIRE_OK(step_run(t, &done));
        if (step == EARLY_STEP)
            early = status_kib("VmRSS");
    }
    atomic_store(&armed, false);
    long grown = status_kib("VmRSS") - early;
    int seen = atomic_load(&caught);
    trainer_close(&t);
    printf("rank %d: %d allocations or frees in steps %d to %d; %ld KiB resident at step %d, %ld KiB more at step %d\n",
           world->rank, seen, FIRST_STEP, LAST_STEP, early, EARLY_STEP, grown, LAST_STEP);
    return seen != 0 || early <= 0 || grown > FLAT_KIB;
}

static int test_loop(int argc, char **argv)
{
    struct trainer *t = open_trainer(argc, argv, true);
    early_step = t->data.total_steps / 5;
    REQUIRE_OK(trainer_run(t));
    long grown = rss_last - rss_early;
    printf("rank %d: %ld KiB resident at step %lld, %ld KiB at the end\n", world->rank, rss_early, (long long)early_step, rss_last);
    trainer_close(&t);
    return rss_early <= 0 || grown > FLAT_KIB;
}

static int test_plan(int argc, char **argv)
{
    long before = status_kib("VmRSS");
    struct trainer *t = open_trainer(argc, argv, false);
    long opened = status_kib("VmHWM");
    struct step_result done;
    for (int i = 0; i < 2; i++)
        REQUIRE_OK(step_run(t, &done));
    double peak = (double)(status_kib("VmHWM") - before);
    double planned = (double)(memory_plan_device(&t->memory) + memory_plan_host(&t->memory)) / 1024;
    printf("rank %d: planned %.0f KiB, took %.0f KiB (%.1f %% more; %ld KiB after opening)\n", world->rank, planned, peak,
           100 * (peak / planned - 1), opened - before);
    trainer_close(&t);
    return fabs(peak / planned - 1) > 0.10;
}

int main(int argc, char **argv)
{
    int failed = 2;
    if (argc < 3)
        return 2;
    REQUIRE_OK(world_open(COMM_AUTO, &world));
    if (strcmp(argv[1], "step") == 0)
        failed = test_step(argc, argv, FAULT_NONE);
    else if (strcmp(argv[1], "leak") == 0)
        failed = test_step(argc, argv, FAULT_LEAK);
    else if (strcmp(argv[1], "allocate") == 0)
        failed = test_step(argc, argv, FAULT_ALLOCATE);
    else if (strcmp(argv[1], "loop") == 0)
        failed = test_loop(argc, argv);
    else if (strcmp(argv[1], "plan") == 0)
        failed = test_plan(argc, argv);
    world_close(&world);
    return failed;
}
