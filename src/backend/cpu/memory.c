/* Memory, streams and events. Device memory is host memory; large blocks sit on huge-page borders with the advice to
 * use them. Everything is synchronous. Copies may come from any thread; alloc and release from one. */
#include "backend/synchronous.h"
#include "backend/cpu/cpu.h"

#include <string.h>
#include <sys/mman.h>

enum { LINE = 64, HUGE_PAGE = 2 << 20 };

struct cpu_block {
    struct cpu_block *next;
    void *pointer;
    size_t bytes;
};

static void *aligned_zeroed(size_t bytes)
{
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : LINE, whole = (bytes + align - 1) / align * align;
    void *pointer = aligned_alloc(align, whole);
    if (!pointer)
        return NULL;
    if (align == HUGE_PAGE)
        (void)madvise(pointer, whole, MADV_HUGEPAGE); /* only advice */
    memset(pointer, 0, whole);
    return pointer;
}

static vt_status memory_alloc(struct backend *be, enum memory_kind kind, size_t bytes, const char *what, void **pointer)
{
    struct cpu_backend *cpu = (struct cpu_backend *)be;
    struct cpu_block *block = calloc(1, sizeof *block);
    if (block)
        block->pointer = aligned_zeroed(bytes ? bytes : 1);
    if (!block || !block->pointer) {
        free(block);
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for %s: %zu bytes on top of %zu", what, bytes, be->allocated_bytes);
    }
    block->bytes = kind == MEMORY_DEVICE ? bytes : 0;
    block->next = cpu->blocks;
    cpu->blocks = block;
    be->allocated_bytes += block->bytes;
    *pointer = block->pointer;
    return VT_OK;
}

static void memory_release(struct backend *be, enum memory_kind kind, void *pointer)
{
    struct cpu_backend *cpu = (struct cpu_backend *)be;
    (void)kind;
    if (!pointer)
        return;
    struct cpu_block **link = &cpu->blocks;
    while (*link && (*link)->pointer != pointer)
        link = &(*link)->next;
    struct cpu_block *block = *link;
    VT_CHECKF(block != NULL, "released memory that was not allocated here");
    *link = block->next;
    be->allocated_bytes -= block->bytes;
    free(block->pointer);
    free(block);
}

static vt_status reserve_workspace(struct backend *be)
{
    struct cpu_backend *cpu = (struct cpu_backend *)be;
    if (cpu->workspace && cpu->workspace_reserved >= be->workspace_bytes)
        return VT_OK;
    free(cpu->workspace);
    cpu->workspace_reserved = 0;
    cpu->workspace = aligned_zeroed(be->workspace_bytes ? be->workspace_bytes : 1);
    if (!cpu->workspace)
        return VT_FAIL(VT_E_MEMORY, "cpu: no memory for a workspace of %zu bytes", be->workspace_bytes);
    cpu->workspace_reserved = be->workspace_bytes;
    return VT_OK;
}

static void upload(struct backend *be, enum stream stream, void *device, const void *host, size_t bytes)
{
    (void)be, (void)stream;
    if (bytes && device != host)
        memcpy(device, host, bytes);
}

static void download(struct backend *be, enum stream stream, void *host, const void *device, size_t bytes)
{
    upload(be, stream, host, device, bytes);
}

static void zero(struct backend *be, enum stream stream, void *device, size_t bytes)
{
    (void)be, (void)stream;
    if (bytes)
        memset(device, 0, bytes);
}

void cpu_memory_install(struct cpu_backend *cpu)
{
    struct backend *be = &cpu->base;
    be->alloc = memory_alloc;
    be->release = memory_release;
    be->reserve_workspace = reserve_workspace;
    be->upload = upload;
    be->download = download;
    be->zero = zero;
    backend_synchronous_install(be);
}

void cpu_memory_close(struct cpu_backend *cpu)
{
    while (cpu->blocks) {
        struct cpu_block *block = cpu->blocks;
        cpu->blocks = block->next;
        free(block->pointer);
        free(block);
    }
    free(cpu->workspace);
}
