/* A fresh folder for a test's files, removed with everything in it at exit. */
#ifndef VT_TEST_SCRATCH_H
#define VT_TEST_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static char scratch_root[256];

static inline int scratch_remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void scratch_remove(void)
{
    nftw(scratch_root, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Made on the first call, under TMPDIR or /tmp. */
static inline const char *scratch_dir(void)
{
    if (!scratch_root[0]) {
        const char *parent = getenv("TMPDIR");
        snprintf(scratch_root, sizeof scratch_root, "%s/vitrail-test.XXXXXX", parent && *parent ? parent : "/tmp");
        if (!mkdtemp(scratch_root)) {
            perror(scratch_root);
            exit(2);
        }
        atexit(scratch_remove);
    }
    return scratch_root;
}

/* scratch_dir()/name; the text lives until the 8th next call. */
static inline const char *scratch_path(const char *name)
{
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_dir(), name);
    return path;
}

/* Writes the file and returns its path. */
static inline const char *scratch_write(const char *name, const void *bytes, size_t size)
{
    const char *path = scratch_path(name);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0) {
        perror(path);
        exit(2);
    }
    return path;
}

#endif
