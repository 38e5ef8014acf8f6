/* Memory, streams and events of ref. Everything is synchronous, so streams and events hold nothing. In strict mode each
 * device allocation is its own mapping, inaccessible outside ops and copies, and ends at a guard page: a host peek or a
 * write past the end dies on the spot. */
#include "backend/synchronous.h"
#include "backend/ref/ref.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY_ALIGN = 64 };

struct ref_block {
    struct ref_block *next;
    void *pointer;
    char *mapping;       /* strict only */
    size_t bytes;        /* as asked for */
    size_t mapped_bytes; /* without the guard page */
};

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static void protect_all(struct ref_backend *ref, int protection)
{
    for (struct ref_block *block = ref->blocks; block; block = block->next)
        VT_CHECK(mprotect(block->mapping, block->mapped_bytes, protection) == 0);
}

void ref_enter(struct backend *be)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    if (!ref->strict)
        return;
    pthread_mutex_lock(&ref->lock);
    if (ref->open_count++ == 0)
        protect_all(ref, PROT_READ | PROT_WRITE);
    pthread_mutex_unlock(&ref->lock);
}

void ref_leave(struct backend *be)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    if (!ref->strict)
        return;
    pthread_mutex_lock(&ref->lock);
    if (--ref->open_count == 0)
        protect_all(ref, PROT_NONE);
    pthread_mutex_unlock(&ref->lock);
}

static bool map_strict(struct ref_block *block, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    block->mapped_bytes = round_up(bytes, page);
    block->mapping = mmap(NULL, block->mapped_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block->mapping == MAP_FAILED)
        return false;
    block->pointer = block->mapping + block->mapped_bytes - round_up(bytes, MEMORY_ALIGN);
    return true;
}

static bool map_block(const struct ref_backend *ref, enum memory_kind kind, struct ref_block *block, size_t bytes)
{
    if (ref->strict && kind == MEMORY_DEVICE)
        return map_strict(block, bytes);
    block->pointer = aligned_alloc(MEMORY_ALIGN, round_up(bytes, MEMORY_ALIGN));
    if (block->pointer)
        memset(block->pointer, 0, bytes);
    return block->pointer != NULL;
}

static vt_status memory_alloc(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    struct ref_block *block = calloc(1, sizeof *block);
    bytes = bytes ? bytes : 1;
    if (!block || !map_block(ref, kind, block, bytes)) {
        free(block);
        return VT_FAIL(VT_E_MEMORY, "ref: no memory for %s: %zu bytes on top of %zu", what, bytes, be->allocated_bytes);
    }
    block->bytes = bytes;
    *pointer = block->pointer;
    if (kind == MEMORY_HOST) {
        free(block);
        return VT_OK;
    }
    pthread_mutex_lock(&ref->lock);
    block->next = ref->blocks;
    ref->blocks = block;
    be->allocated_bytes += bytes;
    if (ref->strict && ref->open_count > 0)
        VT_CHECK(mprotect(block->mapping, block->mapped_bytes, PROT_READ | PROT_WRITE) == 0);
    pthread_mutex_unlock(&ref->lock);
    return VT_OK;
}

static void free_block(const struct ref_backend *ref, struct ref_block *block)
{
    if (ref->strict)
        munmap(block->mapping, block->mapped_bytes + (size_t)sysconf(_SC_PAGESIZE));
    else
        free(block->pointer);
    free(block);
}

static void memory_release(struct backend *be, enum memory_kind kind, void *pointer)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    if (!pointer)
        return;
    if (kind == MEMORY_HOST) {
        free(pointer);
        return;
    }
    pthread_mutex_lock(&ref->lock);
    struct ref_block **link = &ref->blocks;
    while (*link && (*link)->pointer != pointer)
        link = &(*link)->next;
    struct ref_block *block = *link;
    VT_CHECKF(block != NULL, "released memory that was not allocated here");
    *link = block->next;
    be->allocated_bytes -= block->bytes;
    pthread_mutex_unlock(&ref->lock);
    free_block(ref, block);
}

static vt_status reserve_workspace(struct backend *be)
{
    struct ref_backend *ref = (struct ref_backend *)be;
    free(ref->workspace);
    ref->workspace = NULL;
    size_t bytes = round_up(be->workspace_bytes ? be->workspace_bytes : 1, MEMORY_ALIGN);
    ref->workspace = aligned_alloc(MEMORY_ALIGN, bytes);
    if (!ref->workspace)
        return VT_FAIL(VT_E_MEMORY, "ref: no memory for a workspace of %zu bytes", bytes);
    memset(ref->workspace, 0xFF, bytes); /* NaN: no op may rely on what it finds */
    return VT_OK;
}

static void copy(struct backend *be, void *to, const void *from, size_t bytes)
{
    ref_enter(be);
    if (bytes)
        memcpy(to, from, bytes);
    ref_leave(be);
}

static void upload(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes)
{
    (void)stream;
    copy(be, device, host, bytes);
}

static void download(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes)
{
    (void)stream;
    copy(be, host, device, bytes);
}

static void zero(struct backend *be, enum stream stream, void *device, size_t bytes)
{
    (void)stream;
    ref_enter(be);
    if (bytes)
        memset(device, 0, bytes);
    ref_leave(be);
}

void ref_memory_install(struct ref_backend *ref)
{
    struct backend *be = &ref->base;
    pthread_mutex_init(&ref->lock, NULL);
    be->alloc = memory_alloc;
    be->release = memory_release;
    be->reserve_workspace = reserve_workspace;
    be->upload = upload;
    be->download = download;
    be->zero = zero;
    backend_synchronous_install(be);
}

void ref_memory_close(struct ref_backend *ref)
{
    while (ref->blocks) {
        struct ref_block *block = ref->blocks;
        ref->blocks = block->next;
        free_block(ref, block);
    }
    free(ref->workspace);
    pthread_mutex_destroy(&ref->lock);
}
