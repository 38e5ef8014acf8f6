/* FUZZ_ROOMS: dataset
 * Any bytes as a tar: members lie inside it, and the walk ends. */
#include "fuzz.h"

#include "dataset/tar.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct tar_reader reader;
    struct tar_member member;
    bool found = true;
    tar_reader_init_memory(&reader, "tar", bytes, size);
    for (size_t steps = 0; found; steps++) {
        if (tar_next(&reader, &member, &found) != VT_OK)
            return 0;
        if (found && (member.offset < 0 || member.bytes < 0 || member.offset + member.bytes > (int64_t)size))
            abort();
        if (steps > size / TAR_BLOCK + 1)
            abort();
    }
    return 0;
}
