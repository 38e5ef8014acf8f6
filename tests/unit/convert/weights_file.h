/* Small safetensors files of a model's shapes, for the tests of this room. */
#ifndef VT_TEST_WEIGHTS_FILE_H
#define VT_TEST_WEIGHTS_FILE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/safetensors.h"
#include "model/vit_config.h"
#include "test.h"

/* Tensors of these shapes at `path`, all zeros (a hole of the file, so that it may be large), with `config` in the
 * metadata unless NULL. */
static inline void write_tensors(const char *path, struct safetensor *tensors, int count, const char *config)
{
    const char *const metadata[] = {"format", "pt", SAFETENSORS_CONFIG, config};
    char *header = NULL;
    size_t header_bytes = 0;
    safetensors_layout(tensors, count, metadata, config ? 2 : 1, &header, &header_bytes);
    FILE *file = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(header, 1, header_bytes, file), header_bytes);
    fflush(file);
    CU_ASSERT_EQUAL(ftruncate(fileno(file), (off_t)(count ? tensors[count - 1].end : header_bytes)), 0);
    fclose(file);
    free(header);
}

/* Every parameter of the model. */
static inline void write_shapes(const char *path, const struct vit_config *model, const char *config)
{
    struct param_table table = {0};
    vit_params(model, &table);
    struct safetensor *tensors = calloc((size_t)table.count, sizeof *tensors);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensors);
    for (int i = 0; i < table.count; i++) {
        tensors[i].rank = table.rows[i].rank;
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", table.rows[i].name);
        memcpy(tensors[i].dim, table.rows[i].dim, sizeof table.rows[i].dim);
    }
    write_tensors(path, tensors, table.count, config);
    free(tensors);
    param_table_close(&table);
}

#endif
