/* FUZZ_ROOMS: convert
 * The text of a config.json (beside weights or in their metadata). First byte: channels and classes of the model it is
 * said to describe. What is accepted must be safe to use, and completing it must give a text that reads the same. */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/timm_config.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_data(const struct timm_data *data, int classes)
{
    require(data->crop_pct > 0 && data->crop_pct <= 1);
    require(memchr(data->eval_transform, 0, sizeof data->eval_transform) != NULL);
    require(data->class_count >= 0 && data->class_count <= classes);
    for (int i = 0; i < data->class_count; i++)
        require(data->class_names[i] != NULL);
}

static void check_completion(const char *text, int classes, struct timm_data *data)
{
    struct timm_data back;
    struct json *root = NULL;
    char *completed = NULL;
    timm_data_defaults(&back);
    require(timm_config_complete(text, "c", data, &completed) == VT_OK);
    require(json_parse(completed, strlen(completed), "c", &root) == VT_OK);
    require(timm_config_read_data(root, "c", classes, &back) == VT_OK);
    require(strcmp(back.eval_transform, data->eval_transform) == 0 && back.class_count == data->class_count);
    for (int i = 0; i < back.class_count; i++)
        require(strcmp(back.class_names[i], data->class_names[i]) == 0);
    timm_data_close(&back);
    json_free(&root);
    free(completed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct vit_config config = {0};
    struct timm_data data;
    struct json *root = NULL;
    if (size < 1)
        return 0;
    vit_config_defaults(&config);
    timm_data_defaults(&data);
    config.width = 192, config.depth = 12, config.mlp_width = 768, config.patch_size = 16;
    config.channels = 1 + bytes[0] % 4;
    config.classes = 1 + bytes[0] / 4;
    char *text = malloc(size);
    require(text != NULL);
    memcpy(text, bytes + 1, size - 1);
    text[size - 1] = 0;
    if (json_parse(text, strlen(text), "c", &root) == VT_OK && timm_config_read(root, "c", &config) == VT_OK &&
        timm_config_read_data(root, "c", config.classes, &data) == VT_OK) {
        require(config.heads >= 0 && config.heads <= 1024 && config.width == 192);
        check_data(&data, config.classes);
        check_completion(text, config.classes, &data);
    } else {
        require(strlen(status_message()) > 0 && !strchr(status_message(), '\n'));
    }
    json_free(&root);
    timm_data_close(&data);
    free(text);
    return 0;
}
