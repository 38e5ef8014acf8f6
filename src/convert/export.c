#include "convert/export.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "checkpoint/safetensors.h"

vt_status export_weights(const char *source, const char *config, const char *target)
{
    const char *const metadata[] = {"format", "pt", SAFETENSORS_CONFIG, config};
    struct safetensors file = {0};
    char *bytes = NULL, *header = NULL, *whole;
    size_t size, header_bytes;
    vt_status status;
    VT_TRY(safetensors_open(source, &file));
    size_t begin = file.count ? (size_t)file.tensors[0].begin : 0;
    VT_TRY_OUT(file_read(source, SIZE_MAX / 4, &bytes, &size));
    size_t data = file.count && size >= begin ? size - begin : 0;
    safetensors_layout(file.tensors, file.count, metadata, 2, &header, &header_bytes);
    whole = header_bytes > begin ? realloc(bytes, header_bytes + data + 1) : bytes;
    if (!whole) {
        status = VT_FAIL(VT_E_MEMORY, "%s: no memory for %zu bytes", target, header_bytes + data);
        goto out;
    }
    bytes = whole;
    memmove(bytes + header_bytes, bytes + begin, data);
    memcpy(bytes, header, header_bytes);
    VT_TRY_OUT(file_write_atomic(target, bytes, header_bytes + data));
out:
    free(header);
    free(bytes);
    safetensors_close(&file);
    return status;
}
