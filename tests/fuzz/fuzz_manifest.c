/* FUZZ_ROOMS: dataset
 * Any bytes as a manifest: parsed (without its hash, which would refuse nearly all), with consistent counts. */
#include "fuzz.h"

#include "dataset/manifest.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct manifest manifest;
    if (manifest_parse(bytes, size, "manifest", &manifest) != VT_OK)
        return 0;
    for (int s = 0; s < manifest.split_count; s++) {
        int64_t samples = 0;
        for (int i = 0; i < manifest.splits[s].shard_count; i++)
            samples += manifest.splits[s].shards[i].samples;
        if (samples != manifest.splits[s].samples)
            abort();
    }
    manifest_free(&manifest);
    return 0;
}
