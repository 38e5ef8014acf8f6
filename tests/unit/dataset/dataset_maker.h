/* Small sources and datasets in a temporary folder, for the tests of this room. */
#ifndef VT_TEST_DATASET_MAKER_H
#define VT_TEST_DATASET_MAKER_H

#include "test.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "dataset/dataset.h"
#include "dataset/pack.h"
#include "image/image.h"

static char test_root[256];

/* A fresh folder per test program; every path below hangs off it. */
static inline void make_root(const char *name)
{
    snprintf(test_root, sizeof test_root, "/tmp/vt_test_%s_%ld", name, (long)getpid());
    ASSERT_OK(file_make_dirs(test_root));
}

static inline void remove_root(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", test_root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static inline const char *below(const char *name)
{
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 1024, "%s/%s", test_root, name);
    return path;
}

static inline void write_file(const char *path, const void *bytes, size_t size)
{
    char dir[1024];
    ASSERT_OK(path_dir(dir, sizeof dir, path));
    ASSERT_OK(file_make_dirs(dir));
    FILE *file = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* Flip one bit of a file. */
static inline void flip_bit(const char *path, long offset, int bit)
{
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, offset, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, offset, SEEK_SET);
    fputc(byte ^ 1 << bit, file);
    fclose(file);
}

static inline uint8_t idx_pixel(int item, int i)
{
    return (uint8_t)(item * 31 + i * 7 + item * i);
}

/* NAME-images-idx3-ubyte and labels: `count` images of 6 x 5, label = item % 10. */
static inline void make_idx(const char *folder, const char *name, int count)
{
    enum { ROWS = 5, COLUMNS = 6 };
    char path[600];
    size_t size = 16 + (size_t)count * ROWS * COLUMNS;
    uint8_t *bytes = calloc(1, size);
    const uint8_t header[16] = {0, 0,    8, 3, 0, 0,      (uint8_t)(count >> 8), (uint8_t)count, 0, 0,
                                0, ROWS, 0, 0, 0, COLUMNS};
    memcpy(bytes, header, 16);
    for (int n = 0; n < count; n++)
        for (int i = 0; i < ROWS * COLUMNS; i++)
            bytes[16 + n * ROWS * COLUMNS + i] = idx_pixel(n, i);
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", folder, name);
    write_file(path, bytes, size);
    const uint8_t label_header[8] = {0, 0, 8, 1, 0, 0, (uint8_t)(count >> 8), (uint8_t)count};
    memcpy(bytes, label_header, 8);
    for (int n = 0; n < count; n++)
        bytes[8 + n] = (uint8_t)(n % 10);
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", folder, name);
    write_file(path, bytes, 8 + (size_t)count);
    free(bytes);
}

/* FOLDER/CLASS/NNN.{jpg,png,ppm}: `count` images whose size and colour tell item and class. */
static inline void make_class(const char *folder, const char *name, int class_id, int count)
{
    struct image image = {0};
    for (int n = 0; n < count; n++) {
        static const char *const extensions[] = {"jpg", "png", "ppm"};
        char path[600];
        uint8_t *bytes;
        size_t size;
        ASSERT_OK(image_resize_storage(&image, 20 + n, 16 + class_id, 3));
        for (int i = 0; i < image.width * image.height * 3; i++)
            image.pixels[i] = (uint8_t)(class_id * 50 + n * 3 + i % 3);
        if (n % 3 == 0)
            ASSERT_OK(image_encode_jpeg(&image, 95, &bytes, &size));
        if (n % 3 == 1)
            ASSERT_OK(image_encode_png(&image, &bytes, &size));
        if (n % 3 == 2)
            ASSERT_OK(image_encode_pnm(&image, &bytes, &size));
        snprintf(path, sizeof path, "%s/%s/%03d.%s", folder, name, n, extensions[n % 3]);
        write_file(path, bytes, size);
        free(bytes);
    }
    image_close(&image);
}

/* Do two folders hold the same files with the same bytes? */
static inline int same_tree(const char *a, const char *b)
{
    char command[1100];
    snprintf(command, sizeof command, "diff -r %s %s > /dev/null", a, b);
    return system(command) == 0;
}

#endif
