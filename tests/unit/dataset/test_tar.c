/* Our tar against the system's, both ways. */
#include "dataset_maker.h"

#include <fcntl.h>

#include "dataset/tar.h"

static void written_tars_are_plain(void)
{
    make_root("tar");
    struct tar_writer *writer;
    int64_t offset, bytes;
    uint64_t hash;
    ASSERT_OK(tar_writer_open(below("a.tar"), &writer));
    ASSERT_OK(tar_write(writer, "00000000.jpg", "hello", 5, &offset));
    CU_ASSERT_EQUAL(offset, 512);
    ASSERT_OK(tar_write(writer, "00000000.cls", "7", 1, NULL));
    char block[1024];
    memset(block, 'x', sizeof block);
    ASSERT_OK(tar_write(writer, "big", block, sizeof block, &offset));
    CU_ASSERT_EQUAL(offset, 512 * 5);
    ASSERT_OK(tar_write(writer, "empty", "", 0, NULL));
    ASSERT_OK(tar_writer_finish(&writer, &bytes, &hash));
    CU_ASSERT_EQUAL(bytes, 512 * (2 + 2 + 3 + 1 + 2));
    char command[800];
    snprintf(
        command, sizeof command,
        "cd %s && test \"$(tar tf a.tar | tr '\\n' ' ')\" = '00000000.jpg 00000000.cls big empty ' && "
        "test \"$(tar xOf a.tar 00000000.jpg)\" = hello && tar tvf a.tar | grep -q '^-rw-r--r-- 0/0 *1024 1970-01-01'",
        test_root);
    CU_ASSERT_EQUAL(system(command), 0);
    ASSERT_FAILS(tar_writer_open(below("a.tar"), &writer), VT_E_IO, "cannot create: File exists");
    CU_ASSERT_PTR_NULL(writer);
}

static void read_all(const char *path, char *names, size_t size)
{
    struct tar_reader reader;
    struct tar_member member;
    bool found = true;
    int fd = open(path, O_RDONLY);
    CU_ASSERT_FATAL(fd >= 0);
    ASSERT_OK(tar_reader_init_file(&reader, path, fd));
    names[0] = 0;
    while (true) {
        ASSERT_OK(tar_next(&reader, &member, &found));
        if (!found)
            break;
        char text[16] = "";
        CU_ASSERT(pread(fd, text, (size_t)member.bytes < 15 ? (size_t)member.bytes : 15, member.offset) >= 0);
        snprintf(names + strlen(names), size - strlen(names), "%s=%s ", member.name, text);
    }
    close(fd);
}

static void the_systems_tars_are_read(void)
{
    char command[2500], names[2000], deep[200];
    memset(deep, 'd', 150);
    deep[150] = 0;
    static const char *const formats[] = {"gnu", "pax", "ustar", "v7"};
    for (int f = 0; f < 4; f++) {
        snprintf(command, sizeof command,
                 "cd %s && rm -rf t && mkdir -p t/%.90s && printf one > t/a.txt && ln -s a.txt t/link && printf two > "
                 "t/%.90s/%s && "
                 "tar --format=%s --sort=name -cf t.tar t",
                 test_root, deep, deep, f < 2 ? deep : "b.txt", formats[f]);
        if (f == 3)
            snprintf(command, sizeof command,
                     "cd %s && rm -rf t && mkdir t && printf one > t/a.txt && printf two > t/b && "
                     "tar --format=v7 --sort=name -cf t.tar t",
                     test_root);
        CU_ASSERT_EQUAL_FATAL(system(command), 0);
        read_all(below("t.tar"), names, sizeof names);
        CU_ASSERT_PTR_NOT_NULL(strstr(names, "t/a.txt=one "));
        CU_ASSERT_PTR_NOT_NULL(strstr(names, "=two "));
        CU_ASSERT_PTR_NULL(strstr(names, "link"));
        if (f < 2)
            CU_ASSERT_PTR_NOT_NULL(strstr(names, deep)); /* the long name, whole */
    }
}

static void damage_is_named(void)
{
    char *bytes;
    size_t size;
    struct tar_reader reader;
    struct tar_member member;
    bool found;
    ASSERT_OK(file_read(below("a.tar"), 1 << 20, &bytes, &size));
    tar_reader_init_memory(&reader, "x.tar", bytes, 900); /* cut in the data of the second member's header */
    bytes[3] ^= 1;
    ASSERT_FAILS(tar_next(&reader, &member, &found), VT_E_FORMAT, "x.tar: offset 0: not a tar header");
    bytes[3] ^= 1;
    tar_reader_init_memory(&reader, "x.tar", bytes, 514);
    ASSERT_FAILS(tar_next(&reader, &member, &found), VT_E_FORMAT, "member of 5 bytes, only 2 are left");
    free(bytes);
    remove_root();
}

static const struct test_case cases[] = {
    {"written tars are plain tars", written_tars_are_plain},
    {"GNU, pax, ustar and v7 tars are read", the_systems_tars_are_read},
    {"damage is named", damage_is_named},
};
TEST_MAIN("tar", cases)
