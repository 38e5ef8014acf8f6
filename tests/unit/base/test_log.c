#include "test.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "scratch.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *log_text(void)
{
    char *text = NULL;
    size_t size = 0;
    ASSERT_OK(file_read(scratch_path("log.txt"), 1 << 20, &text, &size));
    return text;
}

/* stderr of the calls goes to a file, so that the test's own output stays readable. */
static void speak(int rank, int size)
{
    int saved = dup(STDERR_FILENO);
    FILE *quiet = fopen(scratch_path("stderr.txt"), "a");
    dup2(fileno(quiet), STDERR_FILENO);
    log_set_rank(rank, size);
    log_info("info %d", rank);
    log_warn("careful");
    log_error("wrong");
    log_file_only("progress");
    log_set_rank(0, 1);
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(quiet);
}

/* Every line of the log without its time, which must be now, in UTC. */
static void cut_stamps(char *text)
{
    char *to = text;
    for (char *line = text; *line;) {
        struct tm tm = {0};
        size_t length = strcspn(line, "\n") + 1;
        char *rest = strptime(line, "%Y-%m-%dT%H:%M:%SZ ", &tm);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rest);
        CU_ASSERT_EQUAL(rest - line, 21);
        CU_ASSERT(llabs((long long)(timegm(&tm) - time(NULL))) < 60);
        memmove(to, rest, length - 21);
        to += length - 21;
        line += length;
    }
    *to = '\0';
}

static void lines_by_rank(void)
{
    ASSERT_OK(log_open(scratch_path("log.txt")));
    speak(0, 1);
    speak(3, 4);
    log_close();
    speak(0, 1); /* closed: nothing more */
    char *text = log_text(), *said = NULL;
    size_t bytes;
    cut_stamps(text);
    ASSERT_OK(file_read(scratch_path("stderr.txt"), 1 << 20, &said, &bytes));
    CU_ASSERT_EQUAL(strncmp(said, "info 0\nwarning: careful\n", 24), 0); /* no time there */
    free(said);
    CU_ASSERT_STRING_EQUAL(text, "info 0\nwarning: careful\nerror: wrong\nprogress\n"
                                 "[rank 3] warning: careful\n[rank 3] error: wrong\nprogress\n");
    free(text);
}

static void long_lines_are_cut_whole(void)
{
    char longer[4000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    remove(scratch_path("log.txt"));
    ASSERT_OK(log_open(scratch_path("log.txt")));
    log_file_only("%s", longer);
    log_file_only("next");
    log_close();
    char *text = log_text();
    size_t first = strcspn(text, "\n");
    CU_ASSERT(first >= VT_MESSAGE_BYTES && first < VT_MESSAGE_BYTES + 200);
    cut_stamps(text);
    CU_ASSERT_STRING_EQUAL(text + first - 21, "\nnext\n");
    free(text);
}

static void cannot_open(void)
{
    ASSERT_FAILS(log_open(scratch_path("no/log.txt")), VT_E_IO, "no/log.txt: cannot open the log");
}

/* A broken invariant aborts, naming the place and the condition. */
static void check_aborts(void)
{
    fflush(stdout); /* or the child would print it again */
    pid_t child = fork();
    if (child == 0) {
        FILE *out = freopen(scratch_path("abort.txt"), "w", stderr);
        VT_CHECK(out != NULL);
        VT_CHECKF(1 + 1 == 3, "sum is %d", 2);
        _exit(0);
    }
    int state = 0;
    waitpid(child, &state, 0);
    CU_ASSERT(WIFSIGNALED(state) && WTERMSIG(state) == SIGABRT);
    char *text = NULL;
    size_t size = 0;
    ASSERT_OK(file_read(scratch_path("abort.txt"), 1 << 16, &text, &size));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "test_log.c"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 + 1 == 3 is false: sum is 2"));
    free(text);
}

static const struct test_case cases[] = {
    {"lines by rank", lines_by_rank},
    {"long lines", long_lines_are_cut_whole},
    {"cannot open", cannot_open},
    {"check aborts", check_aborts},
};
TEST_MAIN("log", cases)
