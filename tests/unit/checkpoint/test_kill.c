/* A child that saves checkpoint after checkpoint is killed at random moments. What loads afterwards is the last one it
 * reported, or the one after it that it was about to report: whole, never a third thing, and the next save does not
 * stumble. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/philox.h"
#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

enum { KILLS = 60 };

static struct comm *comm;

/* The child: saves from `step` on and reports each commit. */
static void save_forever(const char *dir, int64_t step, int attempt, int report)
{
    struct toy toy;
    toy_open(&toy, 500);
    for (;; step++) {
        if (toy_save(&toy, dir, 2, attempt, comm, step, step % 3 == 0) != VT_OK) {
            fprintf(stderr, "save failed: %s\n", status_message());
            _exit(3);
        }
        if (write(report, &step, sizeof step) != (ssize_t)sizeof step)
            _exit(4);
    }
}

static int64_t last_report(int report, int64_t before)
{
    int64_t step, last = before;
    while (read(report, &step, sizeof step) == (ssize_t)sizeof step)
        last = step;
    return last;
}

static void expect_whole(const char *dir, int64_t *step, int64_t reported)
{
    char path[1024];
    bool found;
    struct toy toy;
    struct checkpoint_state state;
    ASSERT_OK(checkpoint_find_latest(dir, comm, &found, path, sizeof path));
    CU_ASSERT_FATAL(found || reported == 0);
    if (!found)
        return;
    toy_open(&toy, 500);
    toy_spoil(&toy);
    ASSERT_OK(checkpoint_read_state(path, &state));
    ASSERT_OK(checkpoint_read_files(path, toy.files, 4));
    CU_ASSERT_TRUE_FATAL(state.step == reported || state.step == reported + 1);
    CU_ASSERT_TRUE_FATAL(toy_holds(&toy, state.step));
    *step = state.step;
    ASSERT_OK(checkpoint_resolve(dir, true, path, sizeof path)); /* links never point nowhere */
    ASSERT_OK(checkpoint_verify(path));
    checkpoint_state_close(&state);
    toy_close(&toy);
}

/* On this disk, so that kills fall into the first saves of a child. */
static double time_of_a_save(void)
{
    struct toy toy;
    double begin = clock_ms();
    toy_open(&toy, 500);
    for (int64_t step = 1; step <= 4; step++)
        ASSERT_OK(toy_save(&toy, scratch_path("time"), 2, 1, comm, step, false));
    toy_close(&toy);
    return (clock_ms() - begin) / 4;
}

static void killed_at_random_moments(void)
{
    const char *dir = scratch_path("run/checkpoints");
    int64_t step = 0;
    double save_ms = time_of_a_save();
    for (int i = 0; i < KILLS; i++) {
        int report[2], status;
        CU_ASSERT_FATAL(pipe(report) == 0);
        pid_t child = fork();
        CU_ASSERT_FATAL(child >= 0);
        if (child == 0) {
            close(report[0]);
            save_forever(dir, step + 1, i + 1, report[1]);
        }
        close(report[1]);
        usleep((useconds_t)(3000 * save_ms * draw_uniform(11, 1, 2, (uint32_t)i)));
        kill(child, SIGKILL);
        CU_ASSERT_FATAL(waitpid(child, &status, 0) == child);
        CU_ASSERT_TRUE_FATAL(WIFSIGNALED(status)); /* it did not end by itself: no save ever failed */
        int64_t reported = last_report(report[0], step);
        close(report[0]);
        expect_whole(dir, &step, reported);
    }
    printf("(%d kills, %lld checkpoints) ", KILLS, (long long)step);
    CU_ASSERT(step > KILLS / 8); /* about one a child */
}

static const struct test_case cases[] = {{"killed at random moments", killed_at_random_moments}};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint kill", cases, 1);
    world_close(&comm);
    return failed;
}
