#include "test.h"

#include "base/file.h"
#include "scratch.h"

#include <sys/stat.h>
#include <unistd.h>

static void reads_whole_files(void)
{
    char *bytes = NULL;
    size_t size = 0;
    ASSERT_OK(file_read(scratch_write("a", "one\0two", 7), 7, &bytes, &size));
    CU_ASSERT_EQUAL(size, 7);
    CU_ASSERT_EQUAL(memcmp(bytes, "one\0two", 8), 0); /* and the NUL behind */
    free(bytes);
    ASSERT_OK(file_read(scratch_write("empty", "", 0), 0, &bytes, &size));
    CU_ASSERT_EQUAL(size, 0);
    CU_ASSERT_EQUAL(bytes[0], '\0');
    free(bytes);
    /* States no size, and is larger than the first guess. */
    ASSERT_OK(file_read("/proc/self/smaps", 1 << 24, &bytes, &size));
    CU_ASSERT(size > 4096 && strlen(bytes) == size);
    free(bytes);
}

static void read_failures(void)
{
    char *bytes = NULL;
    size_t size = 0;
    ASSERT_FAILS(file_read(scratch_path("absent"), 100, &bytes, &size), VT_E_IO, "absent: cannot open: No such file");
    ASSERT_FAILS(file_read(scratch_dir(), 100, &bytes, &size), VT_E_IO, "is a folder");
    ASSERT_FAILS(file_read(scratch_write("big", "12345678", 8), 7, &bytes, &size), VT_E_LIMIT, "limit of 7 bytes");
    CU_ASSERT_PTR_NULL(bytes);
}

static void writes_atomically(void)
{
    const char *path = scratch_path("out");
    char *bytes = NULL;
    size_t size = 0;
    ASSERT_OK(file_write_atomic(path, "old", 3));
    ASSERT_OK(file_write_atomic(path, "newer", 5));
    ASSERT_OK(file_read(path, 100, &bytes, &size));
    CU_ASSERT_STRING_EQUAL(bytes, "newer");
    free(bytes);
    ASSERT_FAILS(file_write_atomic(scratch_path("no/such/file"), "x", 1), VT_E_IO, "no/such/file.tmp");
}

/* A failed replacement leaves the old target, and no temporary. */
static void failed_write_leaves_nothing(void)
{
    ASSERT_OK(file_make_dirs(scratch_path("target/inside")));
    ASSERT_FAILS(file_write_atomic(scratch_path("target"), "x", 1), VT_E_IO, "cannot rename");
    CU_ASSERT(file_is_dir(scratch_path("target/inside")));
    char name[1100];
    snprintf(name, sizeof name, "%s.tmp.%ld", scratch_path("target"), (long)getpid());
    CU_ASSERT(!file_exists(name));
}

static void makes_folders(void)
{
    ASSERT_OK(file_make_dirs(scratch_path("x/y//z/")));
    CU_ASSERT(file_is_dir(scratch_path("x/y/z")));
    ASSERT_OK(file_make_dirs(scratch_path("x/y")));
    ASSERT_OK(file_make_dirs("/"));
    scratch_write("x/plain", "", 0);
    ASSERT_FAILS(file_make_dirs(scratch_path("x/plain/below")), VT_E_IO, "x/plain: cannot make the folder: a file");
    ASSERT_FAILS(file_make_dirs(""), VT_E_IO, "empty");
}

static void paths(void)
{
    char out[32];
    ASSERT_OK(path_join(out, sizeof out, "a/b", "c"));
    CU_ASSERT_STRING_EQUAL(out, "a/b/c");
    ASSERT_OK(path_join(out, sizeof out, "a/", "c"));
    CU_ASSERT_STRING_EQUAL(out, "a/c");
    ASSERT_OK(path_join(out, sizeof out, "a", "/c"));
    CU_ASSERT_STRING_EQUAL(out, "/c");
    ASSERT_OK(path_join(out, sizeof out, "", "c"));
    CU_ASSERT_STRING_EQUAL(out, "c");
    ASSERT_FAILS(path_join(out, 4, "ab", "c"), VT_E_LIMIT, "longer than 3 bytes");
    CU_ASSERT_STRING_EQUAL(path_base("a/b.c"), "b.c");
    CU_ASSERT_STRING_EQUAL(path_base("b.c"), "b.c");
    ASSERT_OK(path_dir(out, sizeof out, "a/b/c"));
    CU_ASSERT_STRING_EQUAL(out, "a/b");
    ASSERT_OK(path_dir(out, sizeof out, "/c"));
    CU_ASSERT_STRING_EQUAL(out, "/");
    ASSERT_OK(path_dir(out, sizeof out, "c"));
    CU_ASSERT_STRING_EQUAL(out, ".");
    ASSERT_FAILS(path_dir(out, 4, "abc/d"), VT_E_LIMIT, "longer");
}

static const struct test_case cases[] = {
    {"reads whole files", reads_whole_files}, {"read failures", read_failures},
    {"writes atomically", writes_atomically}, {"failed write leaves nothing", failed_write_leaves_nothing},
    {"makes folders", makes_folders},         {"paths", paths},
};
TEST_MAIN("file", cases)
