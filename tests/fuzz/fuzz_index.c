/* FUZZ_ROOMS: dataset
 * Any bytes as a shard index: what parses has every range inside the shard and every label below the class count. */
#include "fuzz.h"

#include "dataset/shard_index.h"

#include <stdlib.h>

enum { CLASSES = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct shard_index index;
    char key[64];
    if (shard_index_parse(bytes, size, CLASSES, "index", &index) != VT_OK)
        return 0;
    for (size_t i = 0; i < index.samples; i++) {
        if (index.offset[i] > (uint64_t)index.shard_bytes ||
            index.bytes[i] > (uint64_t)index.shard_bytes - index.offset[i])
            abort();
        shard_index_key(&index, i, key, sizeof key);
    }
    for (size_t i = 0; i < index.label_total; i++)
        if (index.labels[i] >= CLASSES)
            abort();
    shard_index_free(&index);
    return 0;
}
