#include <string.h>

#include "backend/backend.h"
#include "base/check.h"

enum { ARENA_ALIGN = 64 };

size_t device_arena_reserve(struct device_arena *arena, size_t bytes)
{
    VT_CHECKF(arena->memory == NULL, "reserved after commit");
    size_t offset = arena->bytes;
    arena->bytes += (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    return offset;
}

/* All bits one: NaN in every float type, -1 in every integer. */
static vt_status poison(struct device_arena *arena, struct backend *be)
{
    static unsigned char ones[1 << 16];
    memset(ones, 0xFF, sizeof ones);
    for (size_t done = 0; done < arena->bytes; done += sizeof ones) {
        size_t left = arena->bytes - done;
        be->upload(be, STREAM_COMPUTE, (char *)arena->memory + done, ones, left < sizeof ones ? left : sizeof ones);
    }
    return be->synchronise(be);
}

vt_status device_arena_commit(struct device_arena *arena, struct backend *be, const char *what)
{
    VT_CHECKF(arena->memory == NULL, "committed twice");
    if (arena->bytes == 0)
        return VT_OK;
    VT_TRY(be->alloc(be, MEMORY_DEVICE, arena->bytes, what, &arena->memory));
    if (be->poison)
        VT_TRY(poison(arena, be));
    return VT_OK;
}

void *device_arena_at(const struct device_arena *arena, size_t offset)
{
    VT_CHECK(arena->memory != NULL && offset <= arena->bytes);
    return (char *)arena->memory + offset;
}

void device_arena_close(struct device_arena *arena, struct backend *be)
{
    if (!arena)
        return;
    if (arena->memory)
        be->release(be, MEMORY_DEVICE, arena->memory);
    *arena = (struct device_arena){0};
}
