#include "telemetry/progress.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "test.h"

static const struct progress_values nothing = {.step = 1, .epoch = NAN, .loss = NAN, .lr = NAN, .images_per_s = NAN,
                                               .data_wait_fraction = NAN, .eta_s = NAN};

/* stderr into a file while the test runs. */
static char path[64];
static int saved_stderr;
static void capture_start(void)
{
    strcpy(path, "/tmp/vt_progress_XXXXXX");
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static char *capture_end(void)
{
    char *text = NULL;
    size_t size = 0;
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ASSERT_OK(file_read(path, 1 << 20, &text, &size));
    unlink(path);
    return text;
}

static void test_format(void)
{
    struct progress progress;
    progress_start(&progress, 1, 10000);
    struct progress_values values = {.step = 1200, .epoch = 3.214, .loss = 2.34567, .lr = 1e-3, .images_per_s = 12800,
                                     .data_wait_fraction = 0.031, .eta_s = 12.3};
    char text[256];
    progress_format(&progress, &values, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "step 1200/10000  12%  epoch 3.21  loss 2.3457  lr 1.00e-03  12.8k img/s  data wait 3%  "
                                 "eta 12.3 s");
    values.eta_s = 0.0004;
    progress_format(&progress, &values, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "  eta under 1 s"));
    progress_format(&progress, &nothing, text, sizeof text);
    CU_ASSERT_EQUAL(strncmp(text, "step 1/10000  0%  eta ", 22), 0);
    values = nothing;
    values.step = 10000; /* the end: nothing left to wait for */
    progress_format(&progress, &values, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "step 10000/10000  100%");
    progress_format(&progress, &values, text, 8);
    CU_ASSERT_STRING_EQUAL(text, "step 10");
}

/* A step of minutes shows where it is; one of seconds says nothing. */
static void test_within(void)
{
    struct progress progress;
    capture_start();
    progress_start(&progress, 1, 5);
    for (int step = 1; step <= 2; step++)
        for (int micro = 0; micro < 400; micro++) {
            progress_within(&progress, step, micro, 400);
            if (step == 2 && (micro == 99 || micro == 299))
                progress.step_started_ms -= 30000, progress.printed_ms -= 30000; /* half a minute later */
        }
    char *text = capture_end();
    const char *second = strchr(text, '\n');
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    const char *first = "step 2/5: microbatch 100 of 400, 25%, the step takes another ";
    CU_ASSERT_EQUAL(strncmp(text, first, strlen(first)), 0);
    CU_ASSERT_EQUAL(strncmp(second + 1, "step 2/5: microbatch 300 of 400, 75%", 36), 0);
    CU_ASSERT_EQUAL(strchr(second + 1, '\n')[1], '\0');
    free(text);
}

static void test_piped(void)
{
    struct progress progress;
    capture_start();
    progress_start(&progress, 1, 5);
    struct progress_values values = nothing;
    for (values.step = 1; values.step <= 5; values.step++) {
        if (values.step == 4)
            progress.printed_ms -= 10000; /* ten seconds later */
        progress_update(&progress, &values, false);
    }
    progress_break(&progress);
    char *text = capture_end();
    CU_ASSERT_FALSE(progress.terminal);
    const char *second = strchr(text, '\n'), *third = second ? strchr(second + 1, '\n') : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(third);
    CU_ASSERT_EQUAL(strncmp(text, "step 1/5", 8), 0);
    CU_ASSERT_EQUAL(strncmp(second + 1, "step 4/5", 8), 0);
    CU_ASSERT_STRING_EQUAL(third + 1, "step 5/5  100%\n");
    CU_ASSERT_PTR_NULL(strchr(text, '\r'));
    free(text);
}

static void test_redrawn(void)
{
    struct progress progress;
    capture_start();
    progress_start(&progress, 1, 50);
    progress.terminal = true;
    struct progress_values values = nothing;
    values.eta_s = 1;
    progress_update(&progress, &values, false);
    values.step = 2; /* too soon */
    progress_update(&progress, &values, false);
    CU_ASSERT(progress.dirty);
    progress_break(&progress);
    progress_break(&progress);
    CU_ASSERT_FALSE(progress.dirty);
    values.step = 50;
    progress_update(&progress, &values, false);
    CU_ASSERT_FALSE(progress.dirty);
    char *text = capture_end();
    CU_ASSERT_STRING_EQUAL(text, "\r\033[Kstep 1/50  2%  eta 1.0 s\n\r\033[Kstep 50/50  100%\n");
    free(text);
}

static const struct test_case cases[] = {
    {"the text of a line", test_format},
    {"inside a long step", test_within},
    {"plain lines when piped", test_piped},
    {"one redrawn line on a terminal", test_redrawn},
};
TEST_MAIN("telemetry/progress", cases)
