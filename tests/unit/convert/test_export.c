#include "convert/export.h"

#include "base/file.h"
#include "convert/timm_config.h"
#include "scratch.h"
#include "weights_file.h"

static char *whole(const char *path, size_t *size)
{
    char *bytes = NULL;
    ASSERT_OK(file_read(path, SIZE_MAX / 4, &bytes, size));
    return bytes;
}

/* Tensors of odd sizes, filled with bytes that differ. */
static void write_source(const char *path, const char *config)
{
    struct safetensor t[3] = {{.name = "b", .rank = 2, .dim = {3, 5}}, {.name = "none", .rank = 1, .dim = {0}},
                              {.name = "a", .dtype = DTYPE_BF16, .rank = 1, .dim = {7}}};
    write_tensors(path, t, 3, config);
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, (long)t[0].begin, SEEK_SET);
    for (uint64_t at = t[0].begin; at < t[2].end; at++)
        fputc((int)(at * 37 % 251), file);
    fclose(file);
}

/* The tensors stay, whatever the length of what was in the metadata before. */
static void metadata_is_replaced(void)
{
    static const char *const before[] = {NULL, "short", "{\"a text\": \"longer than the one that replaces it, by far\"}"};
    size_t wanted_size;
    write_source(scratch_path("wanted.safetensors"), "{\"depth\": 2}\n");
    char *wanted = whole(scratch_path("wanted.safetensors"), &wanted_size);
    for (int i = 0; i < 3; i++) {
        struct safetensors old, new;
        float x[15], y[15];
        size_t size;
        write_source(scratch_path("source.safetensors"), before[i]);
        ASSERT_OK(export_weights(scratch_path("source.safetensors"), "{\"depth\": 2}\n", scratch_path("out.safetensors")));
        char *bytes = whole(scratch_path("out.safetensors"), &size);
        CU_ASSERT_EQUAL_FATAL(size, wanted_size);
        ASSERT_OK(safetensors_open(scratch_path("source.safetensors"), &old));
        ASSERT_OK(safetensors_open(scratch_path("out.safetensors"), &new));
        CU_ASSERT_EQUAL(memcmp(bytes, wanted, new.tensors[0].begin), 0);
        CU_ASSERT_EQUAL_FATAL(new.count, 3);
        for (int t = 0; t < 3; t++) {
            ASSERT_OK(safetensors_read_f32(&old, safetensors_find(&old, new.tensors[t].name), x));
            ASSERT_OK(safetensors_read_f32(&new, &new.tensors[t], y));
            CU_ASSERT_EQUAL(memcmp(x, y, (size_t)new.tensors[t].count * sizeof *x), 0);
        }
        safetensors_close(&old);
        safetensors_close(&new);
        free(bytes);
    }
    free(wanted);
}

static void nothing_half_written(void)
{
    ASSERT_FAILS(export_weights(scratch_path("absent.safetensors"), "{}", scratch_path("x.safetensors")), VT_E_IO,
                 "absent.safetensors");
    CU_ASSERT_FALSE(file_exists(scratch_path("x.safetensors")));
    ASSERT_FAILS(export_weights(scratch_path("source.safetensors"), "{}", scratch_path("no/x.safetensors")), VT_E_IO, "no/");
}

/* A description written without transform and names gets them; a whole one comes out as it was. */
static void descriptions_are_completed(void)
{
    static char *names[] = {"ant", "bee"};
    struct vit_config config = {0};
    struct timm_data old, data = {.crop_pct = 0.9, .eval_transform = "centre(0.9)|bicubic", .class_names = names,
                                  .class_count = 2};
    char *text, *again;
    timm_data_defaults(&old);
    vit_config_defaults(&config);
    ASSERT_OK(vit_config_named(&config, "Ti/16"));
    char *wanted = timm_config_to_text(&config, &data), *bare = timm_config_to_text(&config, &old);
    CU_ASSERT_STRING_NOT_EQUAL(wanted, bare);
    ASSERT_OK(timm_config_complete(bare, "c", &data, &text));
    CU_ASSERT_STRING_EQUAL(text, wanted);
    ASSERT_OK(timm_config_complete(wanted, "c", &data, &again));
    CU_ASSERT_STRING_EQUAL(again, wanted);
    ASSERT_FAILS(timm_config_complete("{", "c", &data, &again), VT_E_FORMAT, "c:");
    free(text);
    free(again);
    free(wanted);
    free(bare);
}

static const struct test_case cases[] = {
    {"metadata is replaced", metadata_is_replaced},
    {"nothing half written", nothing_half_written},
    {"descriptions are completed", descriptions_are_completed},
};
TEST_MAIN("export", cases)
